"""What an install profile may say: pure."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec

from ops_system.master.images.rules import MAX_NOTE_CHARS, NAME_WORDS, refuse
from ops_system.model.catalogue import WITHOUT_SYSTEM, check_method, find_release
from ops_system.model.layout_checks import layout_problems, network_problems
from ops_system.model.layouts import DiskLayout, NetworkConfig
from ops_system.model.packages import NAME
from ops_system.model.tasks import InstallMethod

MAX_TEMPLATE_CHARS, MAX_ARGS_CHARS, MAX_VALUES_CHARS = 64 * 1024, 1024, 16 * 1024
MAX_KEYS, MAX_PACKAGES, MAX_VALUES = 64, 500, 100


class NewProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a system is to be installed. `image`, `kernel`, `initrd`: `name` (the newest) or `name/version`.

    An empty `template` of an installer's method is the product's own. `values` fill `values.NAME` in the template.
    """

    name: str
    method: InstallMethod = "image"
    os_type: str = ""
    os_version: str = ""
    image: str = ""
    kernel: str = ""
    initrd: str = ""
    kernel_args: str = ""
    template: str = ""
    values: dict[str, str] = {}
    disk_layout: DiskLayout | None = None
    network: NetworkConfig | None = None
    packages: tuple[str, ...] = ()
    ssh_keys: tuple[str, ...] = ()
    hardware_tests: tuple[Literal["memory", "disk", "nic"], ...] = ()
    enrol: bool = True
    note: str = ""


class Profile(NewProfile, frozen=True, kw_only=True):
    """A profile as it stands: `version` counts its changes from 1."""

    version: int
    changed_at: datetime
    changed_by: str


class ProfileChange(NewProfile, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A profile anew. `if_version`: refused when somebody changed it since that version was read."""

    name: str = ""
    if_version: int = 0


class ProfileRollback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The version to return to; it becomes the newest again."""

    version: int


class ProfilePreview(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to render: `profile` (not saved yet) or `name`; for a machine, or a sample where none is named."""

    profile: NewProfile | None = None
    name: str = ""
    idc: str = ""
    sn: str = ""


class TextProblem(msgspec.Struct, frozen=True):
    """What is wrong; `line` of the template, 0 for the profile as a whole."""

    line: int
    message: str


class ProfileText(msgspec.Struct, frozen=True):
    """The text an installer would get, empty when it cannot be rendered; `is_sample`: no real machine."""

    text: str
    problems: tuple[TextProblem, ...]
    is_sample: bool


_KEY = re.compile(
    r"(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp(?:256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+(?: [^\r\n\x00]*)?"
)
_PACKAGE = re.compile(r"[@^A-Za-z0-9][A-Za-z0-9@^+._:/~=-]{0,127}")
_VALUE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_REFERENCE = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,63})?)?")
_SECRETS = (
    (re.compile(r"^\s*rootpw\s+(?!.*--(?:iscrypted|lock))\S", re.MULTILINE), "rootpw stands in clear"),
    (re.compile(r"passwd/(?:root|user)-password(?:-again)?\s+password\s+\S"), "a password stands in clear"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"), "a private key"),
    (re.compile(r"\b(?:opsj1\.|ops_[A-Za-z0-9]{20})"), "a token of this product"),
    (re.compile(r"^\s*(?:plain_text_passwd|chpasswd)\s*:", re.MULTILINE), "a password stands in clear"),
)


def check_profile(profile: NewProfile) -> NewProfile:
    """Return the profile with the release as the catalogue spells it. Raises Invalid with every problem."""
    problems = [] if NAME.match(profile.name) else [f"$.name: {NAME_WORDS}"]
    problems += [
        f"$.{field}: write the name of an image, or name/version"
        for field in ("image", "kernel", "initrd")
        if not _REFERENCE.fullmatch(getattr(profile, field))
    ]
    problems += [f"$.packages[{place}]: no name of a package" for place in _unfit(_PACKAGE, profile.packages)]
    problems += [f"$.ssh_keys[{place}]: no OpenSSH public key" for place in _unfit(_KEY, profile.ssh_keys)]
    problems += [f"$.values: {name!r} is no name" for name in profile.values if not _VALUE_NAME.fullmatch(name)]
    problems += _bounds(profile)
    problems += place_problems(profile.disk_layout, profile.network)
    problems += [f"$.template: {words}: whoever is on the boot network reads it (P11)" for words in secrets_in(profile)]
    if profile.method not in WITHOUT_SYSTEM and not profile.os_type:
        problems.append("$.os_type: which system does it install?")
    refuse(problems)
    if not profile.os_type:
        return profile
    release = find_release(profile.os_type, profile.os_version)
    check_method(release, profile.method)
    version = release.os_version or profile.os_version
    return msgspec.structs.replace(profile, os_type=release.os_type, os_version=version)


def place_problems(layout: DiskLayout | None, network: NetworkConfig | None) -> list[str]:
    """Return what is wrong with how disks and network are to look."""
    found = [*(layout_problems(layout) if layout else ()), *(network_problems(network) if network else ())]
    return [f"$.{problem}" for problem in found]


def network_with(own: NetworkConfig | None, profile: NetworkConfig | None) -> NetworkConfig | None:
    """Return the network a task says; name, cards and resolvers it leaves out are those of its profile."""
    if own is None or profile is None:
        return own or profile
    return NetworkConfig(own.hostname or profile.hostname, own.interfaces or profile.interfaces, own.dns or profile.dns)


def secrets_in(profile: NewProfile) -> list[str]:
    """Return in words what looks like a secret in the template or its values."""
    text = "\n".join([profile.template, *profile.values.values(), profile.kernel_args])
    return [words for pattern, words in _SECRETS if pattern.search(text)]


def _bounds(profile: NewProfile) -> list[str]:
    found = {
        "template": (len(profile.template), MAX_TEMPLATE_CHARS, "characters"),
        "note": (len(profile.note), MAX_NOTE_CHARS, "characters"),
        "kernel_args": (len(profile.kernel_args), MAX_ARGS_CHARS, "characters"),
        "packages": (len(profile.packages), MAX_PACKAGES, "names"),
        "ssh_keys": (len(profile.ssh_keys), MAX_KEYS, "keys"),
        "values": (sum(map(len, profile.values.values())), MAX_VALUES_CHARS, "characters in all"),
    }
    too_many = [f"$.{name}: at most {most} {what}" for name, (count, most, what) in found.items() if count > most]
    if len(profile.values) > MAX_VALUES:
        too_many.append(f"$.values: at most {MAX_VALUES}")
    if not profile.kernel_args.isprintable():
        too_many.append("$.kernel_args: one line of printable characters")
    return too_many


def _unfit(pattern: re.Pattern[str], texts: Iterable[str]) -> list[int]:
    return [place for place, text in enumerate(texts) if not pattern.fullmatch(text) or not text.isprintable()]

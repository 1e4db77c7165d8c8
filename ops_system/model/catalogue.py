"""The operating systems that can be installed: one list for console, API, templates and installer. Pure.

People write "Ubuntu 22.04", "ubuntu-22.04-lts", "Ubuntu" + "22.04" or "Ubuntu" + "jammy"; `find_release` knows
that they all mean the same release.
"""

import difflib
import re
from typing import Literal, get_args

import msgspec

from ops_system.model.errors import Invalid
from ops_system.model.tasks import InstallMethod, InstallSpec

Family = Literal["debian", "ubuntu", "redhat", "other"]
TemplateKind = Literal["kickstart", "preseed", "autoinstall"]
TEMPLATE_KINDS: tuple[TemplateKind, ...] = get_args(TemplateKind)
"""The methods by which a distribution's own installer does the work, told what to do by a text."""

_METHODS: dict[Family, tuple[InstallMethod, ...]] = {
    "debian": ("image", "debootstrap", "preseed"),
    "ubuntu": ("image", "debootstrap", "autoinstall"),
    "redhat": ("image", "kickstart"),
    "other": ("image",),
}
WITHOUT_SYSTEM: frozenset[InstallMethod] = frozenset({"hardware_test", "rescue"})
"""Methods that install nothing: every release can be named, or none."""


class Release(msgspec.Struct, frozen=True):
    """One version of an operating system. The first of `methods` is taken where nobody chose."""

    os_type: str
    os_version: str
    family: Family
    methods: tuple[InstallMethod, ...]
    codename: str = ""
    kernel_args: str = ""  # for the installed system's console; a profile may say others

    @property
    def name(self) -> str:
        """Return what people call it."""
        return f"{self.os_type} {self.os_version}" if self.os_version else self.os_type


def _release(os_type: str, os_version: str, family: Family, codename: str = "") -> Release:
    return Release(os_type, os_version, family, _METHODS[family], codename, "console=tty0 console=ttyS0,115200n8")


RELEASES: tuple[Release, ...] = (
    _release("AlmaLinux", "8", "redhat"),
    _release("AlmaLinux", "9", "redhat"),
    _release("AlmaLinux", "10", "redhat"),
    _release("CentOS", "7", "redhat"),
    _release("CentOS Stream", "9", "redhat"),
    _release("CentOS Stream", "10", "redhat"),
    _release("Debian", "11", "debian", "bullseye"),
    _release("Debian", "12", "debian", "bookworm"),
    _release("Debian", "13", "debian", "trixie"),
    _release("openEuler", "22.03", "redhat"),
    _release("openEuler", "24.03", "redhat"),
    _release("RHEL", "8", "redhat"),
    _release("RHEL", "9", "redhat"),
    _release("RHEL", "10", "redhat"),
    _release("Rocky Linux", "8", "redhat"),
    _release("Rocky Linux", "9", "redhat"),
    _release("Rocky Linux", "10", "redhat"),
    _release("Ubuntu", "20.04", "ubuntu", "focal"),
    _release("Ubuntu", "22.04", "ubuntu", "jammy"),
    _release("Ubuntu", "24.04", "ubuntu", "noble"),
    _release("Other", "", "other"),
)
"""`Other` is for whole images of systems that are not in the list."""

_ALIASES = {
    "alma": "AlmaLinux",
    "almalinux": "AlmaLinux",
    "centos": "CentOS",
    "centosstream": "CentOS Stream",
    "debian": "Debian",
    "openeuler": "openEuler",
    "other": "Other",
    "redhat": "RHEL",
    "redhatenterprise": "RHEL",
    "rhel": "RHEL",
    "rocky": "Rocky Linux",
    "rockylinux": "Rocky Linux",
    "ubuntu": "Ubuntu",
}
_CODENAMES = {release.codename: release.os_version for release in RELEASES if release.codename}
_NOISE = re.compile(r"\b(gnu|linux|server|lts|sp[0-9]+)\b")
_WORD = re.compile(r"[a-z]+|[0-9]+(?:\.[0-9]+)*")
_WHERE = "GET /api/v1/os-catalogue lists what can be installed"
_MAX_CHARS = 100


def find_release(os_type: str, os_version: str = "") -> Release:
    """Return the release that is meant. Raises Invalid that names the nearest one."""
    name, told = _split(os_type[:_MAX_CHARS])
    _, wanted = _split(os_version[:_MAX_CHARS])
    known = _ALIASES.get(name)
    if known is None:
        raise _unknown("os_type", os_type, f"{os_type} {os_version}".strip())
    told_version, wanted_version = (_canonical(known, text) for text in (told, wanted))
    if told and wanted and told_version != wanted_version:
        raise Invalid(
            f"os_version: {os_version!r} is not the version that os_type {os_type!r} names",
            problems=["$.os_version: another version than in os_type"],
            field="os_version",
        )
    release = _by_version(known, wanted_version or told_version)
    if release is None:
        raise _unknown_version(known, os_version or told)
    return release


def _split(text: str) -> tuple[str, str]:
    """Return the words without noise as one, and the version that stands among them (or the codename's)."""
    plain = text.lower().replace("_", "-")
    words = _WORD.findall(_NOISE.sub(" ", plain))
    versions = [word for word in words if word[0].isdigit()] + [
        _CODENAMES[word] for word in words if word in _CODENAMES
    ]
    name = "".join(word for word in words if not word[0].isdigit() and word not in _CODENAMES)
    return name, versions[0] if versions else ""


def _versions(os_type: str) -> list[str]:
    return [release.os_version for release in RELEASES if release.os_type == os_type]


def _canonical(os_type: str, version: str) -> str:
    """Return the release's version for a point release: 9 for 9.4, 22.04 for 22.04.3."""
    fitting = (known for known in _versions(os_type) if known and (version == known or version.startswith(f"{known}.")))
    return max(fitting, key=len, default=version)


def _by_version(os_type: str, version: str) -> Release | None:
    if os_type == "Other":
        version = ""
    return next((one for one in RELEASES if one.os_type == os_type and one.os_version == version), None)


def _unknown(field: str, given: str, whole: str) -> Invalid:
    nearest = nearest_release(whole)
    return Invalid(
        f'{field}: {given!r} is not in the catalogue; did you mean "{nearest}"? {_WHERE}',
        problems=[f"$.{field}: unknown"],
        field=field,
        nearest=nearest,
    )


def _unknown_version(os_type: str, version: str) -> Invalid:
    known = ", ".join(_versions(os_type))
    what = f"there is no {os_type} {version!r};" if version else f"which {os_type}?"
    nearest = difflib.get_close_matches(version, _versions(os_type), n=1, cutoff=0.0)[0]
    return Invalid(
        f"os_version: {what} the catalogue has {known}; the nearest is {nearest}",
        problems=["$.os_version: unknown"],
        field="os_version",
        nearest=f"{os_type} {nearest}",
    )


def nearest_release(text: str) -> str:
    """Return the name of the release that looks most like what was typed."""
    names = {release.name.lower(): release.name for release in RELEASES}
    return names[difflib.get_close_matches(text.lower(), list(names), n=1, cutoff=0.0)[0]]


def check_method(release: Release, method: InstallMethod) -> None:
    """Raise Invalid for a way of installing that this release does not have."""
    if method not in release.methods and method not in WITHOUT_SYSTEM:
        raise Invalid(
            f"method: {release.name} is not installed by {method}; use one of {', '.join(release.methods)}",
            problems=["$.method: not of this release"],
            field="method",
        )


def installer_args(method: InstallMethod, config_url: str) -> str:
    """Return what a distribution's installer is told on its kernel command line to find its text at `config_url`.

    Of autoinstall that is the folder that holds user-data and meta-data, with a slash at its end. Empty for methods
    that boot no installer. Sources: Anaconda's boot options, Debian's installation guide B.2, Ubuntu's autoinstall.
    """
    match method:
        case "kickstart":
            return f"inst.ks={config_url} inst.text inst.noninteractive ip=dhcp"
        case "preseed":
            return f"auto=true priority=critical preseed/url={config_url} netcfg/choose_interface=auto"
        case "autoinstall":
            return f"autoinstall ip=dhcp cloud-config-url=/dev/null ds=nocloud-net;s={config_url}"
        case _:
            return ""


def image_text(name: str, version: str, image_format: str, sha256: str, size_bytes: int) -> bytes:
    """Return the exact bytes a publisher signs with Ed25519: they name the file as it is served."""
    return f"ops-image-v1\n{name}\n{version}\n{image_format}\n{sha256}\n{size_bytes}\n".encode()


def missing_of(spec: InstallSpec) -> tuple[str, ...]:
    """Return in words what an installation still lacks: without an image it can be planned, and not be begun."""
    needed: dict[str, object] = {}
    match spec.method:
        case "image":
            needed = {"an image": spec.image}
        case "kickstart" | "preseed" | "autoinstall":
            needed = {"a template": spec.template, "the installer's kernel": spec.kernel, "its initrd": spec.initrd}
        case _:
            pass
    return tuple(words for words, found in needed.items() if not found)

"""What is known of a machine's BMC, what may be asked of it, and what one power order does next. Pure.

order ──> identify ──(not this machine)──> failed, nothing was touched
             │ fits
             v
          order ──> confirm ──(as wished)──> succeeded
             ^         │
             └─(again after REORDER_S: on and off only)
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, UnsetType

from ops_system.model.errors import Invalid
from ops_system.model.machines import Machine
from ops_system.model.operations import Operation

BmcKind = Literal["redfish", "ipmi", "manual"]
PowerState = Literal["on", "off", "unknown"]

KIND_PREFIX = "power."
STEPS = ("identify", "order", "confirm")
DEADLINE_S = 180.0
POLL_S = 1.0
REORDER_S = 20.0
IPMI_PORT = 623
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")
_SYSTEM = re.compile(r"[A-Za-z0-9._:-]{0,128}")
_MAX_CHARS = 256
_MAX_PORT = 65535


class PowerAction(StrEnum):
    """What can be ordered. `netboot`: boot from the network once, now; a machine that runs is restarted for it."""

    ON = "on"
    OFF = "off"
    CYCLE = "cycle"
    NETBOOT = "netboot"


HARSH = frozenset({PowerAction.OFF, PowerAction.CYCLE})
"""These end what runs on the machine: a browser session proves itself again."""


class BmcSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The way to a BMC, as it is typed.

    `address`: `https://HOST[:PORT]` for Redfish, `HOST[:PORT]` for IPMI, empty for manual. A `password` that is not
    given stays, unless it would go to another server than before. `certificate_sha256` pins the certificate of a BMC
    that signs itself; without it the system's authorities must know it.
    """

    kind: BmcKind
    address: str = ""
    username: str = ""
    password: str | UnsetType = UNSET
    certificate_sha256: str = ""
    allow_plain_http: bool = False
    system: str = ""  # Redfish: the id of the system, where one BMC looks after several


class Way(msgspec.Struct, frozen=True):
    """What is sealed: everything that decides where the password goes, bound to the machine it is for."""

    idc: str
    sn: str
    kind: BmcKind
    address: str = ""
    username: str = ""
    password: str = ""
    certificate_sha256: str = ""
    system: str = ""


class BmcRecord(msgspec.Struct, frozen=True):
    """The value of `/os/global/bmc/{idc}/{sn}`. What stands in clear is for people; only `sealed` is acted on."""

    kind: BmcKind
    address: str
    username: str
    certificate_sha256: str
    allow_plain_http: bool
    system: str
    updated_at: datetime
    updated_by: str
    sealed: str  # base64


class Bmc(msgspec.Struct, frozen=True):
    """A BMC as it is shown."""

    idc: str
    sn: str
    kind: BmcKind
    address: str
    username: str
    has_password: bool
    certificate_sha256: str
    allow_plain_http: bool
    system: str
    updated_at: datetime
    updated_by: str


class Identity(msgspec.Struct, frozen=True):
    """What a BMC says of the machine it is in. `uuids`: the readings a UUID has, for IPMI knows no order of bytes."""

    serials: tuple[str, ...] = ()
    uuids: tuple[str, ...] = ()
    vendor: str = ""
    product: str = ""


class PowerOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is wanted. `force`: also while an installation is at work on the machine."""

    action: PowerAction
    force: bool = False


class PowerWish(msgspec.Struct, frozen=True):
    """The value of `/os/global/power/{idc}/{sn}`: one order at a time, whichever master took it."""

    action: PowerAction
    operation: str  # its id, in the master that took it
    by: str
    until: datetime


class Power(msgspec.Struct, frozen=True):
    """The power of a machine as its BMC tells it now."""

    idc: str
    sn: str
    kind: BmcKind
    state: PowerState
    at: datetime
    identity: Identity
    is_this_machine: bool
    wish: PowerWish | None = None


class PowerAccepted(msgspec.Struct, frozen=True):
    """The order as an operation."""

    operation: Operation


def check_settings(settings: BmcSettings) -> None:
    """Raise Invalid with every fault."""
    problems = [*_faults_of_texts(settings), *_faults_of_address(settings)]
    if problems:
        raise Invalid(f"bmc: {problems[0]}", problems=problems)


def _faults_of_texts(settings: BmcSettings) -> list[str]:
    problems = []
    password = "" if settings.password is UNSET else settings.password
    for name, text in (("username", settings.username), ("password", password)):
        if len(text) > _MAX_CHARS or not text.isprintable():
            problems.append(f"$.{name}: at most {_MAX_CHARS} printable characters")
    if ":" in settings.username:
        problems.append("$.username: no colon; HTTP's Basic login cannot carry one")
    pin = settings.certificate_sha256
    if pin and not _SHA256.fullmatch(pin):
        problems.append("$.certificate_sha256: 64 hexadecimal digits in small letters, or nothing")
    if pin and settings.kind != "redfish":
        problems.append(f"$.certificate_sha256: {settings.kind} knows no certificates")
    if not _SYSTEM.fullmatch(settings.system):
        problems.append("$.system: the id of a Redfish system, such as 1 or System.Embedded.1")
    return problems


def _faults_of_address(settings: BmcSettings) -> list[str]:
    match settings.kind:
        case "manual":
            return ["$.address: a machine that is powered by hand has none"] if settings.address else []
        case "ipmi":
            return [] if split_host(settings.address) else ["$.address: write HOST or HOST:PORT"]
        case "redfish":
            return _faults_of_url(settings)


def _faults_of_url(settings: BmcSettings) -> list[str]:
    text = settings.address
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    is_bare = parts.path in {"", "/"} and not parts.query and not parts.fragment and "@" not in parts.netloc
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(host) or not is_bare or port == 0:
        return ["$.address: write https://HOST or https://HOST:PORT"]
    if parts.scheme == "http" and not settings.allow_plain_http:
        return ["$.address: http:// would carry the password in clear; write https://, or set allow_plain_http"]
    if parts.scheme == "http" and settings.certificate_sha256:
        return ["$.certificate_sha256: http:// shows no certificate"]
    return []


def split_host(text: str) -> tuple[str, int] | None:
    """Return host and port of `HOST`, `HOST:PORT` or `[IPV6]:PORT`; None when it is none."""
    host, bracket, rest = text.removeprefix("[").partition("]") if text.startswith("[") else ("", "", text)
    if bracket:
        port = rest.removeprefix(":") if rest.startswith(":") else ("" if not rest else "x")
    elif rest.count(":") > 1:
        host, port = rest, ""
    else:
        host, _, port = rest.partition(":")
    if not _HOST.fullmatch(host) or (port and not (port.isascii() and port.isdecimal())):
        return None
    number = int(port) if port else IPMI_PORT
    return (host, number) if 0 < number <= _MAX_PORT else None


def way_of(idc: str, sn: str, settings: BmcSettings, before: Way | None) -> Way:
    """Return what is to be sealed. Raises Invalid where the kept password would go to another server."""
    wanted = Way(
        idc=idc,
        sn=sn,
        kind=settings.kind,
        address=settings.address.rstrip("/"),
        username=settings.username,
        certificate_sha256=settings.certificate_sha256,
        system=settings.system,
    )
    if settings.password is not UNSET:
        return msgspec.structs.replace(wanted, password=settings.password)
    if before is None or not before.password or settings.kind == "manual":
        return wanted
    if (before.kind, before.address, before.certificate_sha256) != (
        wanted.kind,
        wanted.address,
        wanted.certificate_sha256,
    ):
        problem = "$.password: the kept password is not sent to another address or certificate; type it again"
        raise Invalid(f"bmc: {problem}", problems=[problem])
    return msgspec.structs.replace(wanted, password=before.password)


def fits(identity: Identity, sn: str, machine: Machine | None) -> bool:
    """Whether a BMC is that of this machine: its serial or its UUID says so."""
    if plain(sn) in {plain(serial) for serial in identity.serials if serial.strip()}:
        return True
    known = plain(machine.uuid) if machine is not None else ""
    return bool(known) and known in {plain(uuid) for uuid in identity.uuids}


def plain(text: str) -> str:
    """Return what is compared of a serial or UUID: letters and digits alone, whatever stood between them."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def wished_state(action: PowerAction) -> PowerState:
    """Return the state in which the machine is to be at the end."""
    return "off" if action is PowerAction.OFF else "on"


def may_repeat(action: PowerAction) -> bool:
    """Whether the order may be given again when nobody knows what became of it."""
    return action in {PowerAction.ON, PowerAction.OFF}


def title_of(action: PowerAction, idc: str, sn: str) -> str:
    """Return what the operation is called."""
    words = {
        PowerAction.ON: "switch on",
        PowerAction.OFF: "switch off",
        PowerAction.CYCLE: "restart",
        PowerAction.NETBOOT: "boot once from the network:",
    }
    return f"{words[action]} {sn} in {idc}"


def action_of(kind: str) -> PowerAction:
    """Return the action of an operation's kind."""
    return PowerAction(kind.removeprefix(KIND_PREFIX))

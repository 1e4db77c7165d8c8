"""What a machine asks (`DhcpQuestion`), what the region answers (`DhcpAnswer`), and which boot file suits it. Pure."""

from ipaddress import IPv4Address
from uuid import UUID

import msgspec

from ops_system.regional.dhcp.packet import (
    NOWHERE,
    MalformedMessageError,
    Message,
    MessageType,
    Option,
    read_options,
)

BIOS = 0
UEFI_X64 = frozenset({7, 9})
UEFI_ARM64 = frozenset({11})
HTTP_X64 = frozenset({15, 16})
HTTP_ARM64 = frozenset({19})
"""Client architectures (RFC 4578, and IANA's list of processor architecture types)."""

_MAC_BYTES, _ETHERNET = 6, 1
_ADDRESS_BYTES = 4
_KINDS = frozenset(MessageType)
_PRINTABLE = range(0x20, 0x7F)
_UUID_BYTES = 17  # a zero for its kind, then the UUID


class DhcpQuestion(msgspec.Struct, frozen=True):
    """One message of a machine, in the words of its options."""

    mac: str
    kind: MessageType
    arch: int | None = None  # option 93: BIOS, UEFI_X64, …; None: it does not want to boot
    uuid: str = ""  # option 97: SMBIOS UUID
    user_class: str = ""  # option 77: "iPXE"
    vendor_class: str = ""  # option 60: "PXEClient:Arch:00000:UNDI:002001", "HTTPClient:…", "udhcp 1.35.0"
    hostname: str = ""
    giaddr: IPv4Address | None = None  # the relay it came through
    requested: IPv4Address | None = None
    ciaddr: IPv4Address | None = None  # the address it has

    @property
    def is_ipxe(self) -> bool:
        """Whether this is iPXE, which takes a script and not a loader any more."""
        return self.user_class == "iPXE"

    @property
    def is_pxe(self) -> bool:
        """Whether a boot ROM asks (iPXE says so too)."""
        return self.vendor_class.startswith("PXEClient")

    @property
    def is_http(self) -> bool:
        """Whether UEFI's HTTP boot asks: it takes a URL, in an answer marked as such."""
        return self.vendor_class.startswith("HTTPClient")

    @property
    def is_uefi_x64(self) -> bool:
        """Whether a UEFI of the x86_64 kind boots, by whatever protocol."""
        return self.arch in UEFI_X64 | HTTP_X64


class DhcpAnswer(msgspec.Struct, frozen=True):
    """What a known machine is told. Neither `boot_file` nor `boot_url`: it boots from its disk.

    `address`: the one it must have; None: any of the pool. `next_server`: where `boot_file` lies (None: here).
    """

    address: IPv4Address | None = None
    boot_file: str = ""
    boot_url: str = ""
    next_server: IPv4Address | None = None
    hostname: str = ""

    @property
    def boots(self) -> bool:
        """Whether the machine is to boot from the network."""
        return bool(self.boot_file or self.boot_url)


class BootFiles(msgspec.Struct, frozen=True):
    """What each kind of firmware loads: names for TFTP, `http_url` before the names for HTTP boot, a script for iPXE.

    An empty name: machines of this kind are not booted from the network.
    """

    script_url: str
    http_url: str  # without a slash at its end
    bios: str = "undionly.kpxe"
    uefi_x64: str = "snponly.efi"
    uefi_arm64: str = "snponly-arm64.efi"


def boot_answer(question: DhcpQuestion, files: BootFiles) -> DhcpAnswer:
    """Return what makes a machine load iPXE, and iPXE its script. Empty for a kind without a file, and for a system."""
    if question.is_ipxe:
        return DhcpAnswer(boot_url=files.script_url)
    if question.is_http:
        name = _of_kind(question.arch, ((HTTP_X64, files.uefi_x64), (HTTP_ARM64, files.uefi_arm64)))
        return DhcpAnswer(boot_url=f"{files.http_url}/{name}" if name else "")
    if question.is_pxe:
        kinds = ((frozenset({BIOS}), files.bios), (UEFI_X64, files.uefi_x64), (UEFI_ARM64, files.uefi_arm64))
        return DhcpAnswer(boot_file=_of_kind(BIOS if question.arch is None else question.arch, kinds))
    return DhcpAnswer()


def _of_kind(arch: int | None, kinds: tuple[tuple[frozenset[int], str], ...]) -> str:
    return next((name for archs, name in kinds if arch in archs), "")


def question_of(message: Message) -> DhcpQuestion | None:
    """Return what a message asks; None for what no Ethernet machine can have sent, and for plain BOOTP."""
    kind = message.options.get(Option.MESSAGE_TYPE, b"")
    chaddr = message.chaddr
    if message.htype != _ETHERNET or len(chaddr) != _MAC_BYTES or chaddr[0] & 1 or not any(chaddr):
        return None
    if len(kind) != 1 or kind[0] not in _KINDS:
        return None
    options = message.options
    return DhcpQuestion(
        mac=chaddr.hex(":"),
        kind=MessageType(kind[0]),
        arch=_first_number(options.get(Option.ARCHITECTURE, b"")),
        uuid=_uuid(options.get(Option.MACHINE_UUID, b"")),
        user_class=_user_class(options.get(Option.USER_CLASS, b"")),
        vendor_class=_words(options.get(Option.VENDOR_CLASS, b"")),
        hostname=_words(options.get(Option.HOSTNAME, b"")),
        giaddr=None if message.giaddr == NOWHERE else message.giaddr,
        requested=address_in(options, Option.REQUESTED_ADDRESS),
        ciaddr=None if message.ciaddr == NOWHERE else message.ciaddr,
    )


def address_in(options: dict[int, bytes], code: int) -> IPv4Address | None:
    """Return the address an option holds; None when it is absent or no address."""
    value = options.get(code, b"")
    return IPv4Address(value) if len(value) == _ADDRESS_BYTES and any(value) else None


def sub_options(value: bytes) -> dict[int, bytes]:
    """Return the options inside an option; empty when they are broken."""
    try:
        return dict(read_options(value, "sub-options"))
    except MalformedMessageError:
        return {}


def _first_number(value: bytes) -> int | None:
    return int.from_bytes(value[:2], "big") if len(value) > 1 else None


def _uuid(value: bytes) -> str:
    """Return option 97 as SMBIOS tools show it: its first three fields travel with their low byte first."""
    return str(UUID(bytes_le=value[1:])) if len(value) == _UUID_BYTES and value[0] == 0 else ""


def _user_class(value: bytes) -> str:
    """Return the first class: iPXE writes bare text, RFC 3004 wants a length before each."""
    if value and 0 < value[0] < len(value) and value[0] not in _PRINTABLE:
        value = value[1 : 1 + value[0]]
    return _words(value)


def _words(value: bytes) -> str:
    """Return an option's text as printable ASCII: it goes into logs and lists."""
    return "".join(chr(byte) if byte in _PRINTABLE else "?" for byte in value.rstrip(b"\x00"))

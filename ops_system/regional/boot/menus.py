"""The words of each boot loader: iPXE, GRUB, pxelinux. Pure; what may boot is decided by `gate` alone.

Traps: on UEFI an iPXE script that ends with `exit` lands in the firmware's menu, `exit 1` goes on with the boot order.
There PXE by IPv6 and HTTP boot come before the disk, a minute each: a GRUB that starts the disk's loader is quicker.
iPXE writes `:` in a URL as `%3a`; GRUB and pxelinux name a card as `01-52-54-00-00-00-01`.
"""

import re

import msgspec

from ops_system.regional.boot.gate import Boots, Verdict

_UNSAFE = re.compile(r"[^\x21-\x7e]")
ARM_FOLDER = "arm64"
LOCAL_LOADER = "local.efi"
"""A GRUB in the boot root that holds `grub_local` and nothing else; packaging/initramfs.py makes it. For x86_64."""
_DISK_LOADERS = (
    *(f"/EFI/{name}/shimx64.efi" for name in ("debian", "ubuntu", "redhat", "centos", "rocky", "almalinux", "fedora")),
    "/EFI/debian/grubx64.efi",
    "/EFI/opensuse/grubx64.efi",
    "/EFI/Microsoft/Boot/bootmgfw.efi",
    "/EFI/BOOT/BOOTX64.EFI",
    "/EFI/BOOT/BOOTAA64.EFI",
)
"""Systems' own loaders first: the last two names are also on sticks and rescue disks."""
_ARM = frozenset({"arm64", "aarch64"})


class Place(msgspec.Struct, frozen=True):
    """Where things are: `url` is how machines reach this client, `kernel_args` what an operator adds.

    `standbys`: where the clients are that may take over while a machine is at work.
    """

    url: str
    kernel_args: str = ""
    standbys: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """HOST:PORT, as GRUB wants it."""
        return self.url.partition("://")[2]


def kernel_path(arch: str) -> str:
    """Return the kernel's path below `/static/` for an architecture as iPXE or GRUB names it."""
    return f"{ARM_FOLDER}/vmlinuz" if arch in _ARM else "vmlinuz"


def ramdisk_path(arch: str) -> str:
    """Return the agent's path below `/static/`."""
    return f"{ARM_FOLDER}/agent.cpio.zst" if arch in _ARM else "agent.cpio.zst"


def agent_words(place: Place, boots: Boots, mac: str, sn: str = "") -> str:
    """Return the agent's part of the kernel command line. Nothing secret ever stands here."""
    words = [f"ops.regional={place.url}", f"ops.mode={boots.value}"]
    if place.standbys:
        words.append(f"ops.standby={','.join(place.standbys)}")
    if mac:
        words.append(f"BOOTIF=01-{mac.replace(':', '-')}")
    if sn:
        words.append(f"ops.sn={sn}")
    text = " ".join([*words, *place.kernel_args.split()])
    return _UNSAFE.sub(" ", text)


# --- iPXE -------------------------------------------------------------------------------------------------------------
def ipxe_first(place: Place) -> str:
    """Return the script that every machine gets alike: it says who it is and asks again."""
    who = "serial=${serial:uristring}&uuid=${uuid}&arch=${buildarch}"
    return f"#!ipxe\nchain --replace --autofree {place.url}/boot/${{netX/mac:hexhyp}}.ipxe?{who} || goto local\n" + (
        ":local\n" + _ipxe_local_lines(place)
    )


def ipxe(place: Place, verdict: Verdict, mac: str, arch: str = "") -> str:
    """Return the script of one machine."""
    if verdict.is_local:
        return f"#!ipxe\necho {verdict.why}: this machine starts from its disk\n{_ipxe_local_lines(place)}"
    words = agent_words(place, verdict.boots, mac)
    return (
        "#!ipxe\n"
        f"kernel {place.url}/static/{kernel_path(arch)} initrd=agent.cpio.zst {words} || goto local\n"
        f"initrd --name agent.cpio.zst {place.url}/static/{ramdisk_path(arch)} || goto local\n"
        "boot || goto local\n"
        ":local\n"
        f"{_ipxe_local_lines(place)}"
    )


def _ipxe_local_lines(place: Place) -> str:
    """BIOS: the first disk. UEFI: its loader by way of ours; whatever comes of that, the firmware goes on."""
    return (
        "iseq ${platform} efi && goto efi ||\n"
        "sanboot --no-describe --drive 0x80 || exit 1\n"
        ":efi\n"
        f"iseq ${{buildarch}} x86_64 && chain --autofree {place.url}/static/{LOCAL_LOADER} ||\n"
        "exit 1\n"
    )


# --- GRUB -------------------------------------------------------------------------------------------------------------
def grub_first(place: Place) -> str:
    """Return the `grub.cfg` that every machine gets alike."""
    lines = (
        f"set ops=(http,{place.host})",
        "configfile $ops/grub/grub.cfg-$net_default_mac",
        *_grub_local_lines(),
    )
    return "\n".join(lines) + "\n"


def grub(place: Place, verdict: Verdict, mac: str, arch: str = "") -> str:
    """Return the `grub.cfg` of one machine."""
    if verdict.is_local:
        return "\n".join((f"echo '{verdict.why}: this machine starts from its disk'", *_grub_local_lines())) + "\n"
    ops = f"(http,{place.host})"
    lines = (
        "set timeout=0",
        "menuentry 'ops agent' {",
        f"  linux {ops}/static/{kernel_path(arch)} {_grub_quoted(agent_words(place, verdict.boots, mac))}",
        f"  initrd {ops}/static/{ramdisk_path(arch)}",
        "}",
    )
    return "\n".join(lines) + "\n"


def _grub_quoted(words: str) -> str:
    """GRUB would take `;`, `$`, `&` and the like for its own."""
    return " ".join(["'" + word.replace("'", "") + "'" for word in words.split()])


def grub_local() -> str:
    """Return the `grub.cfg` inside of `LOCAL_LOADER`: start the one loader there is.

    Where several partitions have one, the firmware knows which counts: back to it.
    """
    lines = (
        "for part in (hd*,gpt*) (hd*,msdos*); do",
        f"  for loader in {' '.join(_DISK_LOADERS)}; do",
        '    if [ -f "$part$loader" ]; then',
        '      if [ -z "$place" ]; then set place="$part"; set file="$loader"; fi',
        '      if [ "$place" != "$part" ]; then set place=several; fi',
        "    fi",
        "  done",
        "done",
        'if [ -n "$place" -a "$place" != several ]; then',
        '  echo "starting $place$file"',
        '  set root="$place"',
        '  chainloader "$file"',
        "  boot",
        "fi",
        'echo "no loader, or more than one: the firmware goes on"',
        "exit",
    )
    return "\n".join(lines) + "\n"


def _grub_local_lines() -> tuple[str, ...]:
    """UEFI: the loader on the disk, else back to the firmware. BIOS: the first disk's own boot sector."""
    loaders = " ".join(_DISK_LOADERS)
    return (
        'if [ "$grub_platform" = "efi" ]; then',
        f"  for loader in {loaders}; do",
        "    if search --no-floppy --file --set=root $loader; then chainloader $loader; boot; fi",
        "  done",
        "  exit 1",
        "fi",
        "set root=(hd0)",
        "chainloader +1",
        "boot",
    )


# --- pxelinux ---------------------------------------------------------------------------------------------------------
def pxelinux(place: Place, verdict: Verdict, mac: str) -> str:
    """Return the `pxelinux.cfg/01-MAC` of one machine; files come as pxelinux itself was loaded."""
    if verdict.is_local:
        return f"SAY {verdict.why}: this machine starts from its disk\nDEFAULT local\nLABEL local\n  LOCALBOOT 0\n"
    return (
        "DEFAULT agent\nPROMPT 0\nLABEL agent\n"
        f"  KERNEL {kernel_path('')}\n"
        f"  INITRD {ramdisk_path('')}\n"
        f"  APPEND {agent_words(place, verdict.boots, mac)}\n"
    )


PXELINUX_MAC = re.compile(r"(?:pxelinux|pxelinux\.cfg)?/?(?:pxelinux\.cfg/)?01-((?:[0-9a-f]{2}-){5}[0-9a-f]{2})")
GRUB_MAC = re.compile(r"(?:.*/)?grub\.cfg-(?:01-)?((?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2})")

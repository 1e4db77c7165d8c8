"""A bootable Debian on a raw disk, small and built here: what an operator's own image is to the product. Linux only.

GPT with a BIOS boot partition, an ESP and an ext4 root; GRUB for BIOS and UEFI; serial console; every card asks DHCP.
Built once per machine and recipe below build/osimage (about two minutes); nothing of it needs a loop device.
"""

import fcntl
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "osimage"
TOOLS = ("mmdebstrap", "mkfs.ext4", "sgdisk", "grub-mkimage", "mcopy", "mkfs.vfat", "zstd")
GRUB_FOLDERS = (Path("/usr/lib/grub/i386-pc"), Path("/usr/lib/grub/x86_64-efi"))

SECTOR = 512
MIB = 1024 * 1024
BIOS_BOOT_MIB, ESP_MIB, ROOT_MIB = 1, 8, 300
ROOT_FIRST_MIB = 1 + BIOS_BOOT_MIB + ESP_MIB
DISK_MIB = ROOT_FIRST_MIB + ROOT_MIB + 1
GRUB_MODULES = ("part_gpt", "ext2", "normal", "linux", "search", "search_label", "serial", "configfile", "echo", "test")

PACKAGES = "systemd-sysv,linux-image-cloud-amd64,tiny-initramfs,iproute2,udev,kmod,dbus"
OPTIONS = (
    "--variant=minbase",
    f"--include={PACKAGES}",
    '--aptopt=Acquire::Languages "none"',
    "--aptopt=APT::Install-Recommends false",
    "--dpkgopt=force-unsafe-io",  # each flush of one of thousands of files holds up the whole disk
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "bash-completion")),
)
ROOT_UUID = "0b5e55ed-0000-4000-8000-000000000001"
INITRAMFS = {"etc/tiny-initramfs/tiny-initramfs.conf": "AUTO_MODULES=no\nINCLUDE_MODULES=virtio_pci,virtio_blk\n"}
FILES = {
    "etc/fstab": f"UUID={ROOT_UUID} / ext4 rw,noatime 0 1\n",
    "etc/hostname": "image\n",
    # What the system says is seen by who looks at the serial port.
    "etc/systemd/journald.conf.d/console.conf": "[Journal]\nForwardToConsole=yes\nTTYPath=/dev/ttyS0\nStorage=volatile\n",
    "etc/systemd/network/20-wired.network": "[Match]\nType=ether\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n",
    "boot/grub/grub.cfg": (
        f"linux /vmlinuz root=UUID={ROOT_UUID} ro console=ttyS0 quiet\ninitrd /initrd.img\necho booting from disk\nboot\n"
    ),
}
EMBEDDED = "serial\nterminal_output serial console\nsearch.fs_label ops-root root\nset prefix=($root)/boot/grub\n"
TRIM = """
cd "$1"
find lib/modules -name '*.ko' | grep -vE '/(drivers/virtio|fs/(autofs|fat|nls|efivarfs))/|virtio|failover' | xargs rm -f
chroot . depmod -a "$(ls lib/modules)"
rm -rf var/lib/apt/lists/* var/cache/apt/* var/cache/debconf/*-old var/log/*.log boot/System.map* usr/share/info \
    usr/lib/x86_64-linux-gnu/gconv usr/share/i18n usr/share/zoneinfo/[A-Z]*/* etc/resolv.conf
: >etc/machine-id
du -xsm . >&2
"""
# A plain bind shows the tree without the /proc, /sys and /dev that are mounted into it while hooks run.
PACK = (
    """exec unshare --mount sh -ec 'mount --bind "$1" /mnt; exec """
    f"""mkfs.ext4 -q -F -L ops-root -U {ROOT_UUID} -m 0 -d /mnt {{target}} {ROOT_MIB}M' sh "$1"\n"""
)
MASKED = (
    "systemd-timesyncd.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
)


class OsImage(NamedTuple):
    """A built image: the file that is uploaded, and the disk it becomes."""

    path: Path  # raw.zst
    size_bytes: int
    content_bytes: int
    content_sha256: str


def why_not() -> str:
    """Return why no image can be built here, empty when one can."""
    if not sys.platform.startswith("linux"):
        return "a Debian image is built on Linux only"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=_path()) is None]
    missing += [str(folder) for folder in GRUB_FOLDERS if not folder.is_dir()]
    return f"not here: {', '.join(missing)}" if missing else ""


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def image() -> OsImage:
    """Return the image, building it when its recipe is a new one."""
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    folder = CACHE / recipe
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "facts.json").is_file():
            for old in CACHE.iterdir():
                if old.is_dir():
                    shutil.rmtree(old)
            _build(folder)
    facts = json.loads((folder / "facts.json").read_text())
    return OsImage(folder / "debian.raw.zst", **facts)


def _build(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)  # where the build runs as another user's root
    disk = folder / "debian.raw"
    with disk.open("wb") as file:
        file.truncate(DISK_MIB * MIB)
    _partition(disk)
    _write_at(disk, _root_filesystem(folder), ROOT_FIRST_MIB * MIB)
    _write_at(disk, _esp(folder), (1 + BIOS_BOOT_MIB) * MIB)
    _install_bios_grub(folder, disk)
    with disk.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    packed = folder / "debian.raw.zst"
    _run("zstd", "-q", "-T0", "-9", "-f", disk, "-o", packed)
    facts = {
        "size_bytes": packed.stat().st_size,
        "content_bytes": disk.stat().st_size,
        "content_sha256": content,
    }
    for left in (disk, *folder.glob("*.img")):
        left.unlink()
    (folder / "facts.json").write_text(json.dumps(facts))


def _run(*command: str | Path, stdin: bytes = b"") -> None:
    done = subprocess.run(command, input=stdin, capture_output=True, env={**os.environ, "PATH": _path()})
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.stdout.decode()}{done.stderr.decode()}")


def _partition(disk: Path) -> None:
    first = 1
    words = []
    for number, (size, kind, name) in enumerate(
        ((BIOS_BOOT_MIB, "ef02", "bios"), (ESP_MIB, "ef00", "esp"), (ROOT_MIB, "8304", "root")), 1
    ):
        words += [
            f"--new={number}:{first}MiB:+{size}MiB",
            f"--typecode={number}:{kind}",
            f"--change-name={number}:{name}",
        ]
        first += size
    _run("sgdisk", *words, disk)


def _root_filesystem(folder: Path) -> Path:
    """Build Debian and lay it into an ext4 file while its owners are who they should be."""
    target = folder / "root.img"
    early = _lay_out(
        folder / "early", {**INITRAMFS, "trim": TRIM, "pack": PACK.format(target=target)}
    )  # read while the kernel is installed
    prepared = _lay_out(folder / "files", FILES)
    hooks = [
        f"--setup-hook=mkdir -p $1/etc && cp -r {early}/etc/. $1/etc/",
        f"--customize-hook=cp -r {prepared}/. $1/",
        "--customize-hook=chroot $1 systemctl -q enable systemd-networkd serial-getty@ttyS0",
        f"--customize-hook=chroot $1 systemctl -q mask {' '.join(MASKED)}",
        f"--customize-hook=sh -e {early}/trim $1",
        f"--customize-hook=sh -e {early}/pack $1",
    ]
    build = ["mmdebstrap", *OPTIONS, *hooks, "--format=null", "bookworm", "-", *map(str, _sources())]
    _run(*(["unshare", "--mount"] if os.geteuid() == 0 else []), *build)
    shutil.rmtree(early)
    shutil.rmtree(prepared)
    return target


def _lay_out(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def _sources() -> list[Path]:
    """Return where this machine itself gets Debian from."""
    folder = Path("/etc/apt/sources.list.d")
    found = [Path("/etc/apt/sources.list"), *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))]
    return [path for path in found if path.is_file() and "debian" in path.read_text()]


def _esp(folder: Path) -> Path:
    """Return a FAT file system with GRUB where every UEFI firmware looks without being told."""
    loader = _grub(folder, "x86_64-efi", ("fat",))
    target = folder / "esp.img"
    with target.open("wb") as file:
        file.truncate(ESP_MIB * MIB)
    _run("mkfs.vfat", "-n", "ESP", target)
    _run("mmd", "-i", target, "::/EFI", "::/EFI/BOOT")
    _run("mcopy", "-i", target, loader, "::/EFI/BOOT/BOOTX64.EFI")
    return target


def _grub(folder: Path, platform: str, modules: tuple[str, ...]) -> Path:
    """Make a GRUB that finds the root by its label and goes on with the configuration there."""
    config = folder / "embedded.cfg"
    config.write_text(EMBEDDED)
    target = folder / f"grub-{platform}.img"
    words = ["-O", platform, "-c", config, "-p", "/boot/grub", "-o", target]
    _run("grub-mkimage", *words, *GRUB_MODULES, *modules)
    config.unlink()
    return target


def _install_bios_grub(folder: Path, disk: Path) -> None:
    """Do what `grub-install` does to a disk: boot.img into the MBR, core.img into the BIOS boot partition."""
    core = bytearray(_grub(folder, "i386-pc", ("biosdisk",)).read_bytes())
    at = MIB // SECTOR
    struct.pack_into("<Q", core, 0x1F4, at + 1)  # diskboot.img: where the rest of core.img begins
    boot = bytearray((GRUB_FOLDERS[0] / "boot.img").read_bytes())
    struct.pack_into("<Q", boot, 0x5C, at)  # boot.img: where core.img begins
    boot[0x66:0x68] = b"\x90\x90"  # the drive is the one the firmware says
    with disk.open("r+b") as file:
        file.write(boot[:0x1B8])  # behind it lies the partition table
        file.seek(MIB)
        file.write(core)


def _write_at(disk: Path, part: Path, offset: int) -> None:
    """Copy a file into the disk; zeros stay holes."""
    with part.open("rb") as source, disk.open("r+b") as file:
        for number in range(0, part.stat().st_size, MIB):
            block = source.read(MIB)
            if block.strip(b"\0"):
                file.seek(offset + number)
                file.write(block)

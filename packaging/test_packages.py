"""Install the Debian packages the tests need (`bench`: the peers of the benchmarks), or say what will be skipped.

Installs when root on a Debian-like system.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

# program (or file, by its full name) that proves it is there -> package
PACKAGES = {
    "chromium": "chromium",
    "cloud-init": "cloud-init",
    "fc-list": "fontconfig",
    "xfs_io": "xfsprogs",
    "mkfs.ext4": "e2fsprogs",
    "strace": "strace",
    "faketime": "faketime",
    "ip": "iproute2",
    "nft": "nftables",
    "aiosmtpd": "python3-aiosmtpd",
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "javac": "default-jdk-headless",
    "prometheus": "prometheus",
    "etcd": "etcd-server",
    "htop": "htop",
    "vim.tiny": "vim-tiny",
    "wrk": "wrk",
    "zsh": "zsh",
    "fish": "fish",
    # network boot: clients and rivals of the regional client's servers
    "busybox": "busybox-static",
    "dnsmasq": "dnsmasq-base",
    "atftp": "atftp",
    "sysctl": "procps",
    "/usr/lib/ipxe/snponly.efi": "ipxe",
    # machines without an operating system: QEMU, its firmware, and what makes a disk bootable
    "qemu-system-x86_64": "qemu-system-x86",
    "/usr/lib/ipxe/qemu/pxe-virtio.rom": "ipxe-qemu",
    "/usr/share/OVMF/OVMF_CODE_4M.fd": "ovmf",
    "cpio": "cpio",
    "sfdisk": "fdisk",
    "curl": "curl",
    "zstd": "zstd",
    "sgdisk": "gdisk",
    "mcopy": "mtools",
    "mkfs.vfat": "dosfstools",
    "grub-mkimage": "grub-common",
    "/usr/lib/grub/i386-pc/boot.img": "grub-pc-bin",
    "/usr/lib/grub/x86_64-efi/moddep.lst": "grub-efi-amd64-bin",
}
BENCH_PACKAGES = {
    "s6-svscan": "s6",
    "runsvdir": "runit",
    "supervisord": "supervisor",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "atftpd": "atftpd",
}
FONT_PACKAGE = "fonts-noto-cjk"
FONT_FILE = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"


def missing_packages(wanted: dict[str, str]) -> list[str]:
    """Return the packages whose program is not on this machine."""
    return [package for proof, package in wanted.items() if not is_here(proof)]


def is_here(proof: str) -> bool:
    """Whether a program is on PATH, or the file of that full name exists."""
    return Path(proof).exists() if proof.startswith("/") else shutil.which(proof, path=search_path()) is not None


def search_path() -> str:
    """Return PATH with the sbin folders, which a normal user's PATH lacks."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def apt(*arguments: str) -> None:
    """Run apt-get without questions."""
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.run(
        ["apt-get", "-qq", "-o=Dpkg::Use-Pty=0", *arguments], check=True, env=environment, stdout=subprocess.DEVNULL
    )


def main(argv: list[str]) -> int:
    """Install what is missing or name it."""
    is_bench = argv == ["bench"]
    missing = missing_packages(BENCH_PACKAGES if is_bench else PACKAGES)
    if not is_bench and not Path(FONT_FILE).exists():
        missing.append(FONT_PACKAGE)
    return install(missing, "benchmarks" if is_bench else "tests", must_update=not is_bench)


def install(missing: list[str], who: str, *, must_update: bool) -> int:
    """Install packages for `who`, where that can be done."""
    if not sys.platform.startswith("linux") or shutil.which("apt-get") is None:
        print(f"no apt-get here; {who} that need these are skipped:", " ".join(missing) or "none")
        return 0
    if os.geteuid() != 0:
        print(f"not root; {who} that need these are skipped:", " ".join(missing) or "none")
        return 0
    # The lists are needed also by the tests that package Debian's own software.
    try:
        if must_update or missing:
            apt("update")
        if missing:
            print(f"installing for the {who}:", " ".join(missing))
            apt("install", "-y", "--no-install-recommends", *missing)
    except subprocess.CalledProcessError as error:
        print(f"apt-get failed ({error.returncode}); {who} that need these are skipped:", " ".join(missing) or "none")
        return int(must_update)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The files of a Debian as a tar, for layouts that the agent makes itself: with mdadm, LVM and GRUB inside. Linux only.

Built once per machine and recipe below build/ostree (two to three minutes).
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "ostree"
TOOLS = ("mmdebstrap", "zstd")
PACKAGES = (
    "systemd-sysv,linux-image-cloud-amd64,initramfs-tools,udev,kmod,dbus,iproute2,mdadm,lvm2,"
    "grub-pc-bin,grub-efi-amd64-bin,grub2-common,e2fsprogs,xfsprogs"
)
OPTIONS = (
    "--variant=minbase",
    f"--include={PACKAGES}",
    '--aptopt=Acquire::Languages "none"',
    "--aptopt=APT::Install-Recommends false",
    "--dpkgopt=force-unsafe-io",
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "bash-completion")),
)
MODULES = "virtio_pci\nvirtio_blk\nmd_mod\nraid1\nraid0\ndm_mod\next4\nxfs\n"
FILES = {
    "etc/hostname": "tree\n",
    "etc/initramfs-tools/conf.d/small": "MODULES=list\n",
    "etc/initramfs-tools/modules": MODULES,
    "etc/default/grub": 'GRUB_TIMEOUT=0\nGRUB_CMDLINE_LINUX="console=ttyS0"\nGRUB_TERMINAL=serial\n',
    "etc/systemd/network/20-wired.network": "[Match]\nType=ether\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n",
}
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "systemd-timesyncd.service",
)


def why_not() -> str:
    """Return why no tree can be built here, empty when one can."""
    missing = [name for name in TOOLS if shutil.which(name) is None]
    return f"missing: {', '.join(missing)}" if missing else ""


def tree() -> Path:
    """Return debian.tar.zst, building it when its recipe is a new one."""
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    made = CACHE / f"debian-{recipe}.tar.zst"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.is_file():
            for old in CACHE.glob("debian-*"):
                old.unlink()
            _build(made)
    return made


def _build(made: Path) -> None:
    files = CACHE / "files"
    shutil.rmtree(files, ignore_errors=True)
    for path, text in FILES.items():
        (files / path).parent.mkdir(parents=True, exist_ok=True)
        (files / path).write_text(text)
    plain, beside = made.with_suffix(""), made.with_suffix(".new")
    hooks = [
        f"--essential-hook=copy-in {' '.join(str(path) for path in sorted(files.iterdir()))} /",
        f'--customize-hook=chroot "$1" systemctl mask {" ".join(MASKED)} >/dev/null',
        '--customize-hook=chroot "$1" systemctl enable systemd-networkd >/dev/null',
        '--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/etc/resolv.conf; : >"$1"/etc/machine-id',
    ]
    subprocess.run(
        ["mmdebstrap", *OPTIONS, *hooks, "bookworm", str(plain)],
        check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
    )  # fmt: skip
    subprocess.run(["zstd", "-q", "-T0", "-6", "-f", str(plain), "-o", str(beside)], check=True)
    plain.unlink()
    shutil.rmtree(files)
    beside.replace(made)

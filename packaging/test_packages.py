"""Install the Debian packages the tests need when root on a Debian-like system; otherwise say what will be skipped."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

# program that proves it is there -> package
PACKAGES = {
    "chromium": "chromium",
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
}
FONT_PACKAGE = "fonts-noto-cjk"
FONT_FILE = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"


def missing_packages() -> list[str]:
    """Return the packages whose program or file is not on this machine."""
    missing = [package for program, package in PACKAGES.items() if shutil.which(program, path=search_path()) is None]
    if not Path(FONT_FILE).exists():
        missing.append(FONT_PACKAGE)
    return missing


def search_path() -> str:
    """Return PATH with the sbin folders, which a normal user's PATH lacks."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def apt(*arguments: str) -> None:
    """Run apt-get without questions."""
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.run(
        ["apt-get", "-qq", "-o=Dpkg::Use-Pty=0", *arguments], check=True, env=environment, stdout=subprocess.DEVNULL
    )


def main() -> int:
    """Install what is missing or name it."""
    missing = missing_packages()
    if not sys.platform.startswith("linux") or shutil.which("apt-get") is None:
        print("no apt-get here; tests that need these are skipped:", " ".join(missing) or "none")
        return 0
    if os.geteuid() != 0:
        print("not root; tests that need these are skipped:", " ".join(missing) or "none")
        return 0
    # The lists are needed also by the tests that package Debian's own software.
    apt("update")
    if missing:
        print("installing for the tests:", " ".join(missing))
        apt("install", "-y", "--no-install-recommends", *missing)
    return 0


if __name__ == "__main__":
    sys.exit(main())

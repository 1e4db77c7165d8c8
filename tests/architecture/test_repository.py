"""What must never be in the tree: addresses of registries, paths of one machine, very large files."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = re.compile(r'"resolved": "[h]ttp|-[-](extra-)?index-url|registry\.npmjs|files\.pythonhosted')


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listing.split("\0") if name]


def test_lock_files_name_no_host():
    locks = [
        path for path in tracked_files() if path.name.startswith("requirements") or path.name == "package-lock.json"
    ]
    assert locks
    assert [path.name for path in locks if FORBIDDEN.search(path.read_text())] == []


def test_every_locked_python_package_has_a_hash():
    for lock in ROOT.glob("requirements*.lock"):
        blocks = re.split(r"\n(?=[a-z0-9])", lock.read_text())
        assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_no_tracked_file_is_over_2_mib():
    assert [path for path in tracked_files() if path.is_file() and path.stat().st_size > 2 * 1024 * 1024] == []

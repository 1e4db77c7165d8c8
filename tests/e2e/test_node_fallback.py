"""Where Node is too old (Debian 12 has 18), the pinned one from PyPI builds the console."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_an_old_node_is_replaced_by_the_pinned_one(tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    for name, text in (("node", "#!/bin/sh\necho v18.20.4\n"), ("npm", "#!/bin/sh\nexit 1\n")):
        (old / name).write_text(text)
        (old / name).chmod(0o755)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    path = f"{old}:/usr/bin:/bin"
    command = [
        tmp_path / "venv/bin/python",
        ROOT / "packaging/ensure_node.py",
        tmp_path / "node",
        ROOT / "requirements-node.lock",
    ]
    said = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True).stdout
    assert "18.20.4" in said
    environment = {**os.environ, "PATH": f"{tmp_path / 'node/bin'}:{path}"}
    for program in ("node", "npm"):
        version = subprocess.run(
            [program, "--version"], env=environment, capture_output=True, text=True, check=True
        ).stdout
        assert int(version.lstrip("v").split(".")[0]) >= 10
    node = subprocess.run(["node", "--version"], env=environment, capture_output=True, text=True, check=True).stdout
    assert node.startswith("v24.")


def test_a_good_node_is_left_alone(tmp_path):
    good = tmp_path / "good"
    good.mkdir()
    for name in ("node", "npm"):
        (good / name).write_text("#!/bin/sh\necho v22.1.0\n")
        (good / name).chmod(0o755)
    command = [sys.executable, ROOT / "packaging/ensure_node.py", tmp_path / "node", ROOT / "requirements-node.lock"]
    subprocess.run(command, env={**os.environ, "PATH": f"{good}:/usr/bin:/bin"}, check=True)
    assert not (tmp_path / "node").exists()

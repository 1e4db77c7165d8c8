"""A damaged or missing file in the data folder of a master that was set up: it refuses to start, says which file and
which backup, and never asks for a first administrator again. The real programs are run."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.fleet import Fleet

PROGRAM = Path(sys.executable).with_name("ops-master")
PASSWORD = "correct horse battery"


def run(data: Path, *words: str, given: str = "") -> subprocess.CompletedProcess:
    command = [PROGRAM, *words, "-data_dir", data]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)


def start(data: Path) -> subprocess.CompletedProcess:
    return run(data, "-port", "0", "-tls_port", "0", "-listen", "127.0.0.1", "-open_browser", "0")


@pytest.fixture(scope="module")
def used(tmp_path_factory) -> Path:
    """A data folder after setup, with a package of everything in it."""
    folder = tmp_path_factory.mktemp("used")
    with Fleet(folder) as fleet:
        fleet.start_master()
        fleet.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    return folder / "data"


def database_of(data: Path) -> Path:
    return data / "ops.db"


def damage_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = b"\xa5" * min(4096, len(content) - middle)
    path.write_bytes(content)


DAMAGE = {
    "master_key_gone": ("master.key", Path.unlink),
    "master_key_short": ("master.key", lambda path: path.write_bytes(b"x")),
    "master_key_empty": ("master.key", lambda path: path.write_bytes(b"")),
    "signing_key_gone": ("signing.key", Path.unlink),
    "signing_key_damaged": ("signing.key", lambda path: path.write_bytes(b"-----BEGIN NONSENSE-----\n")),
    "ca_key_gone": ("ca/ca.key", Path.unlink),
    "ca_key_damaged": ("ca/ca.key", lambda path: path.write_bytes(b"\0" * 200)),
    "ca_gone": ("ca/ca.pem", Path.unlink),
    "ca_damaged": ("ca/ca.pem", lambda path: path.write_text("no certificate")),
    "database_gone": ("ops.db", Path.unlink),
    "database_empty": ("ops.db", lambda path: path.write_bytes(b"")),
    "database_noise": ("ops.db", lambda path: path.write_bytes(b"this was a database" * 1000)),
    "database_middle": ("ops.db", damage_middle),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_exit_3_and_named(used, tmp_path, name):
    data = tmp_path / "data"
    shutil.copytree(used, data)
    place, hurt = DAMAGE[name]
    path = data / place
    for beside in data.glob(f"{path.name}-*"):
        beside.unlink()
    hurt(path)
    kept = path.read_bytes() if path.exists() else None
    done = start(data)
    assert done.returncode == 3, done.stderr
    assert str(path) in done.stderr
    assert "backup" in done.stderr
    assert "setup" not in (done.stdout + done.stderr).lower()
    assert not (data / "setup-code").exists()
    assert (path.read_bytes() if path.exists() else None) == kept  # the original is left as it was
    doctor = run(data, "doctor")
    assert doctor.returncode == 1
    assert [line for line in doctor.stdout.splitlines() if line.startswith("FAIL") and str(path) in line], doctor.stdout


def test_commands_on_damaged_data_make_no_administrator(used, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(used, data)
    for path in data.glob("*.db*"):
        path.unlink()
    made = run(data, "user", "create", "evil", "--role", "admin", "--password-stdin", given=f"{PASSWORD}\n")
    assert made.returncode == 3, made.stderr
    assert run(data, "token", "create", "evil", "--role", "admin").returncode == 3
    assert not list(data.glob("*.db"))


def test_the_untouched_folder_starts_without_setup(used, tmp_path):
    shutil.copytree(used, tmp_path / "data")
    with Fleet(tmp_path) as fleet:
        with contextlib.suppress(FileNotFoundError):
            (tmp_path / "data" / "setup-code").unlink()
        fleet.start_master()
        assert fleet.get("/setup") == {"required": False}

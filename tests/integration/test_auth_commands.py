"""Commands about trust on the data folder, as the program itself."""

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(sys.executable).parent / "ops-master"


def run(data: Path, *words: str) -> subprocess.CompletedProcess:
    command = [PROGRAM, *words, "-data_dir", data]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_the_audit_command_names_the_first_bad_row(tmp_path: Path) -> None:
    data = tmp_path / "data"
    nothing = run(data, "audit", "verify")
    assert (nothing.returncode, data.exists()) == (2, False)
    assert "-data_dir" in nothing.stderr
    for name in ("one", "two", "three"):
        assert run(data, "token", "create", name, "--role", "viewer").returncode == 0
    good = run(data, "audit", "verify")
    assert (good.returncode, good.stdout) == (0, "3 rows: the chain holds\n")
    with contextlib.closing(sqlite3.connect(data / "ops.db")) as database, database:
        database.execute("DROP TRIGGER audit_is_never_changed")
        database.execute("UPDATE audit SET actor_name = 'eve' WHERE seq = 2")
    bad = run(data, "audit", "verify")
    assert bad.returncode == 1
    assert bad.stdout.startswith("row 2 does not fit")

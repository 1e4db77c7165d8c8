"""Commands about trust on the data folder, as the program itself."""

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).parent / "ops-master"


def run(data: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess:
    command = [PROGRAM, *words, "-data_dir", data]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=False)


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


def views(data: Path, table: str) -> dict[str, tuple]:
    columns = {"users": "role, grants, scope", "api_tokens": "role, permissions, scope"}[table]
    with contextlib.closing(sqlite3.connect(data / "ops.db")) as database:
        return {row[0]: row[1:] for row in database.execute(f"SELECT name, {columns} FROM {table}")}


def test_grants_and_scope_from_the_command_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    reach = ("--grants", "exec,terminal", "--scope", "env=test,rack=r1")
    made = run(
        data, "user", "create", "ada", "--role", "operator", "--password-stdin", *reach, stdin="a long password\n"
    )
    assert (made.returncode, made.stdout) == (0, "created operator ada\n"), made.stderr
    assert views(data, "users")["ada"] == ("operator", '["exec","terminal"]', '{"env":"test","rack":"r1"}')
    for name, words in (
        ("ci", ("--role", "operator", *reach)),
        ("all", ("--role", "admin")),
        ("few", ("--role", "admin", "--grants", "exec")),
        ("none", ("--role", "admin", "--grants", "")),
    ):
        assert run(data, "token", "create", name, *words).returncode == 0
    tokens = views(data, "api_tokens")
    assert tokens["ci"] == ("operator", '["exec","operate","self","terminal","view"]', '{"env":"test","rack":"r1"}')
    grants = ("exec", "secrets", "takeover", "terminal", "wipe.approve")
    given = {name: [grant for grant in grants if f'"{grant}"' in tokens[name][1]] for name in ("all", "few", "none")}
    assert given == {"all": list(grants), "few": ["exec"], "none": []}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--grants", "exce", "--role", "operator"), 'did you mean "exec"'),
        (("--grants", "admin", "--role", "operator"), "is none of exec, secrets, takeover, terminal, wipe.approve"),
        (("--grants", "exec", "--role", "viewer"), "role viewer carries none; use operator"),
        (("--scope", "env", "--role", "operator"), "KEY=VALUE"),
        (("--scope", "a b=c", "--role", "operator"), "scope: a b"),
    ],
)
@pytest.mark.parametrize("what", ["user", "token"])
def test_a_wrong_grant_or_scope_is_named_and_nothing_is_made(tmp_path: Path, what: str, words, said: str) -> None:
    data = tmp_path / "data"
    extra = ("--password-stdin",) if what == "user" else ()
    refused = run(data, what, "create", "ada", *words, *extra, stdin="a long password\n")
    assert refused.returncode in {1, 2}
    assert said in refused.stderr, refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (data / "ops.db").exists() or views(data, "users") == views(data, "api_tokens") == {}

import contextlib
import sqlite3
from pathlib import Path

from ops_system.storage.migrations import load_migrations, migrate

STEPS = load_migrations("ops_system.master")
BEFORE = tuple(step for step in STEPS if step.number < 32)
PEOPLE = """
    INSERT INTO users (id, name, role, password_hash, created_ms, created_by) VALUES ('usr_a', 'ada', 'admin', '', 1, 'setup');
    INSERT INTO sessions VALUES ('ses_1', x'01', 'csrf in clear', 'usr_a', '', '', 1, 1, 1);
"""
TOKEN = """
    INSERT INTO api_tokens (id, name, secret_hash, role, permissions, scope, created_ms, created_by)
    VALUES ('{0}', '{0}', CAST('{0}' AS BLOB), 'admin', '[]', '{{}}', 1, 'x');
    INSERT INTO audit (at_ms, actor_kind, actor_id, actor_name, action, target, outcome, details, hash)
    VALUES (1, '{1}', '{2}', 'x', 'token.create', 'token:{0}', 'done', '{{}}', x'00');
"""
MAKERS = {"of_ada": ("user", "usr_a"), "of_gone": ("user", "usr_gone"), "of_data": ("local", "local")}


def test_tokens_find_their_owners_and_sessions_lose_what_stood_in_clear(tmp_path: Path) -> None:
    path = tmp_path / "ops.db"
    migrate(path, BEFORE, 1)
    script = PEOPLE + "".join(TOKEN.format(name, *maker) for name, maker in MAKERS.items())
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(script)
    migrate(path, STEPS, 2)
    with contextlib.closing(sqlite3.connect(path)) as database:
        owners = dict(database.execute("SELECT id, owner_id FROM api_tokens"))
        columns = [row[1] for row in database.execute("PRAGMA table_info(sessions)")]
        kept = database.execute("SELECT id FROM sessions").fetchall()
    assert owners == {"of_ada": "usr_a", "of_data": None}
    assert "csrf_token" not in columns
    assert kept == [("ses_1",)]

import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops_system.master.audit.api import routes
from ops_system.master.audit.rules import HIDDEN, AuditQuery, redact
from ops_system.master.audit.service import Audit
from ops_system.master.web.route import Principal
from ops_system.model.errors import Forbidden
from ops_system.runtime.clock import SystemClock
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations

ADA = Principal("user", "usr_1", "ada")
BOB = Principal("token", "tok_1", "bob")


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(DataFolder(tmp_path), load_migrations("ops_system.master"))
    yield database
    await database.close()


@pytest.fixture
def audit(db: Database) -> Audit:
    return Audit(db, SystemClock())


async def fill(audit: Audit, count: int) -> None:
    for number in range(count):
        await audit.record_alone(ADA if number % 2 else BOB, "thing.touch", f"thing:{number}", "done", {"n": number})


def tamper(db: Database, sql: str) -> None:
    raw = sqlite3.connect(db.path)
    raw.execute("DROP TRIGGER audit_is_never_changed")
    raw.execute("DROP TRIGGER audit_is_never_cut")
    raw.execute(sql)
    raw.commit()
    raw.close()


async def test_an_untouched_chain_holds(audit: Audit) -> None:
    assert (await audit.verify()).ok
    await fill(audit, 1203)
    verdict = await audit.verify()
    assert (verdict.ok, verdict.rows, verdict.first_bad) == (True, 1203, None)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit SET outcome = 'denied' WHERE seq = 7",
        "UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 7",
        "UPDATE audit SET actor_name = 'eve' WHERE seq = 7",
        "UPDATE audit SET details = '{}' WHERE seq = 7",
        "UPDATE audit SET hash = zeroblob(32) WHERE seq = 7",
        "DELETE FROM audit WHERE seq = 6",
    ],
)
async def test_any_change_is_found(audit: Audit, db: Database, sql: str) -> None:
    await fill(audit, 12)
    tamper(db, sql)
    verdict = await audit.verify()
    assert not verdict.ok
    assert verdict.first_bad == 7


async def test_rows_can_be_neither_changed_nor_removed(audit: Audit, db: Database) -> None:
    await fill(audit, 1)
    for sql in ("UPDATE audit SET outcome = 'x'", "DELETE FROM audit"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            async with db.transaction() as tx:
                await tx.execute(sql)


async def test_a_row_goes_with_the_act_it_records(audit: Audit, db: Database) -> None:
    with pytest.raises(LookupError):  # noqa: PT012 - the row is written before the act fails
        async with db.transaction() as tx:
            await audit.record(tx, ADA, "thing.touch", "thing:1")
            raise LookupError
    assert (await audit.list_page(AuditQuery())).total == 0


async def test_filters_and_pages(audit: Audit) -> None:
    await fill(audit, 10)
    await audit.record_denied(BOB, "delete_thing", "/things/1", Forbidden("no", permission="admin"))
    assert [row.seq for row in (await audit.list_page(AuditQuery(limit=3, offset=1))).items] == [10, 9, 8]
    assert (await audit.list_page(AuditQuery(actor="ada"))).total == 5
    assert (await audit.list_page(AuditQuery(action="thing."))).total == 10
    assert (await audit.list_page(AuditQuery(q="thing:3"))).total == 1
    assert (await audit.list_page(AuditQuery(to_at=datetime(2001, 1, 1, tzinfo=UTC)))).total == 0
    (denied,) = (await audit.list_page(AuditQuery(outcome="denied"))).items
    assert denied.details == {"reason": "forbidden", "permission": "admin"}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"password": "x"}, {"password": HIDDEN}),
        ({"old_password": "x", "user": "ada"}, {"old_password": HIDDEN, "user": "ada"}),
        ({"env": {"DB_PASSWORD": "x", "PORT": "1"}}, {"env": {"DB_PASSWORD": HIDDEN, "PORT": "1"}}),
        ({"list": [{"secret": ["a", "b"]}]}, {"list": [{"secret": HIDDEN}]}),
        ({"token_id": "tok_1", "exit_code": 7, "api_key": ""}, {"token_id": "tok_1", "exit_code": 7, "api_key": ""}),
        ({"argv": ["x", "--password=hunter2"]}, {"argv": ["x", f"--password={HIDDEN}"]}),
        ({"note": "use ops_0123456789abcdefXYZ now"}, {"note": f"use ops_{HIDDEN} now"}),
    ],
)
def test_secrets_are_hidden(given: dict, shown: dict) -> None:
    assert redact(given) == shown


def test_the_log_is_read_by_administrators(audit: Audit) -> None:
    assert {route.permission.value for route in routes(audit)} == {"admin"}

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from ops_system.master.backups.copies import Copies
from ops_system.master.backups.rules import is_due, name_of, superfluous, time_of
from ops_system.model.errors import OpsError
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations
from tests.fakes.clock import FakeClock

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_names_tell_the_time_and_strangers_have_none():
    assert name_of(NOW) == "ops-20260301T120000Z.db"
    assert time_of(name_of(NOW)) == NOW
    assert time_of("notes.txt") is None


def test_a_copy_is_due_after_an_hour_and_one_from_the_future_does_not_count():
    assert is_due([], NOW)
    assert not is_due([name_of(NOW - timedelta(minutes=59))], NOW)
    assert is_due([name_of(NOW - timedelta(hours=1))], NOW)
    assert is_due([name_of(NOW + timedelta(days=3))], NOW)


def test_only_our_own_oldest_copies_go():
    names = [name_of(NOW - timedelta(hours=hour)) for hour in range(5)] + ["keep-me.db"]
    assert superfluous(names, keep=3) == [name_of(NOW - timedelta(hours=3)), name_of(NOW - timedelta(hours=4))]


@pytest.fixture
async def database(tmp_path):
    folder = DataFolder(tmp_path / "data")
    folder.create()
    opened = await Database.open(folder, load_migrations("ops_system.master"))
    yield opened
    await opened.close()


async def test_a_copy_holds_what_was_acknowledged_and_old_copies_go(database, tmp_path):
    clock = FakeClock(NOW)
    backups = Copies(database, tmp_path / "copies", clock)
    for hour in range(26):
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (f"hour-{hour}", "x"))
        newest = await backups.make()
        clock.advance(3600)
    kept = sorted(path.name for path in (tmp_path / "copies").iterdir())
    assert len(kept) == 24
    assert newest.name == kept[-1]
    assert newest.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(newest) as copy:
        assert copy.execute("SELECT count(*) FROM meta WHERE key LIKE 'hour-%'").fetchone() == (26,)
    copy.close()


async def test_a_copy_that_cannot_be_written_leaves_nothing(database, tmp_path):
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "copy.part").mkdir()
    with pytest.raises((OpsError, OSError)):
        await Copies(database, tmp_path / "copies", FakeClock(NOW)).make()
    assert not list((tmp_path / "copies").glob("ops-*"))

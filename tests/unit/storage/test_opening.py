import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ops_system.model.errors import SafetyRefusal
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.lock import acquire
from ops_system.storage.migrations import Migration, load_migrations, split_statements

ROWS = Migration(1, "rows", "CREATE TABLE rows (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);")
MORE = Migration(2, "more", "ALTER TABLE rows ADD COLUMN note TEXT; CREATE TABLE extra (id INTEGER);")


async def fill(folder: DataFolder) -> None:
    db = await Database.open(folder, (ROWS,))
    async with db.transaction() as tx:
        await tx.execute_many("INSERT INTO rows (name) VALUES (?)", [(f"{n:0500}",) for n in range(200)])
    await db.close()
    folder.mark_initialized()


async def test_the_folder_and_what_stands_in_it_are_private(folder: DataFolder) -> None:
    await fill(folder)
    assert folder.root.stat().st_mode & 0o777 == 0o700
    assert folder.database.stat().st_mode & 0o077 == 0


def test_a_folder_of_others_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    DataFolder(tmp_path).create()
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    tmp_path.chmod(0o755)
    (tmp_path / "holiday.jpg").touch()
    DataFolder(tmp_path).create()
    assert tmp_path.stat().st_mode & 0o777 == 0o755


async def test_a_migration_runs_once_with_a_copy_of_the_file_before(folder: DataFolder) -> None:
    await fill(folder)
    for _ in range(2):
        db = await Database.open(folder, (ROWS, MORE))
        assert len(await db.fetch_all("SELECT note FROM rows")) == 200
        await db.close()
    (copy,) = folder.backups_found()
    old = sqlite3.connect(copy)
    assert [row[1] for row in old.execute("PRAGMA table_info(rows)")] == ["id", "name"]
    assert old.execute("SELECT count(*) FROM rows").fetchone() == (200,)
    old.close()


async def test_a_failing_step_is_undone_and_the_copy_is_named(folder: DataFolder) -> None:
    await fill(folder)
    broken = Migration(2, "broken", "CREATE TABLE half (id INTEGER); INSERT INTO nowhere VALUES (1);")
    with pytest.raises(SafetyRefusal, match=r"0002_broken failed and was undone.*before-0002"):
        await Database.open(folder, (ROWS, broken))
    db = await Database.open(folder, (ROWS,))
    assert await db.fetch_all("SELECT 1 FROM sqlite_master WHERE name = 'half'") == []
    await db.close()


async def test_a_newer_database_is_refused(folder: DataFolder) -> None:
    await (await Database.open(folder, (ROWS, MORE))).close()
    with pytest.raises(SafetyRefusal, match=r"newer version.*0002"):
        await Database.open(folder, (ROWS,))


def test_a_trigger_is_one_statement_and_comments_are_none() -> None:
    script = "-- a; comment\nCREATE TABLE t (a);\nCREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; SELECT ';'; END;\n-- end"
    assert len(list(split_statements(script))) == 2
    with pytest.raises(ValueError, match="does not end"):
        list(split_statements("CREATE TABLE t (a"))


def test_the_masters_own_migrations_apply() -> None:
    raw = sqlite3.connect(":memory:")
    for migration in load_migrations("ops_system.master"):
        for statement in split_statements(migration.sql):
            raw.execute(statement)
    raw.close()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xa5" * 3 * 4096)


def overwrite_the_head(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0" * 100)


def put_an_empty_database(path: Path) -> None:
    path.unlink()
    raw = sqlite3.connect(path)
    raw.execute("VACUUM")
    raw.execute("PRAGMA user_version = 1")
    raw.close()


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        overwrite_the_middle,
        overwrite_the_head,
        Path.unlink,
        lambda p: os.truncate(p, 0),
        put_an_empty_database,
    ],
)
async def test_a_damaged_or_missing_database_is_refused_kept_and_copies_are_offered(folder: DataFolder, damage) -> None:
    await fill(folder)
    (folder.root / "backups").mkdir()
    copy = folder.root / "backups" / "hourly.db"
    shutil.copy(folder.database, copy)
    damage(folder.database)
    before = folder.database.read_bytes() if folder.database.exists() else None
    with pytest.raises(SafetyRefusal) as refused:
        await Database.open(folder, (ROWS, MORE))
    assert str(folder.database) in refused.value.message
    assert str(copy) in refused.value.message
    assert (folder.database.read_bytes() if folder.database.exists() else None) == before
    shutil.copy(copy, folder.database)
    await (await Database.open(folder, (ROWS,))).close()


async def test_the_old_files_beside_a_lost_database_are_named(folder: DataFolder) -> None:
    await fill(folder)
    folder.database.unlink()
    wal = folder.root / "ops.db-wal"
    wal.write_bytes(b"left behind")
    with pytest.raises(SafetyRefusal, match=f"take {wal} away"):
        await Database.open(folder, (ROWS,))
    assert wal.read_bytes() == b"left behind"


async def test_rubbish_in_a_new_folder_is_not_overwritten(folder: DataFolder) -> None:
    folder.database.write_bytes(b"my diary" * 1000)
    with pytest.raises(SafetyRefusal, match="not a database"):
        await Database.open(folder, (ROWS,))
    assert folder.database.read_bytes() == b"my diary" * 1000


async def test_a_crashed_database_opens_with_its_wal(folder: DataFolder, tmp_path: Path) -> None:
    db = await Database.open(folder, (ROWS,))
    folder.mark_initialized()
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO rows (name) VALUES ('in the wal')")
    crashed = DataFolder(tmp_path / "crashed")
    shutil.copytree(folder.root, crashed.root)
    (crashed.root / "ops.db-shm").unlink()
    await db.close()
    again = await Database.open(crashed, (ROWS,))
    assert len(await again.fetch_all("SELECT * FROM rows")) == 1
    await again.close()


async def test_backup_while_it_is_written(folder: DataFolder, tmp_path: Path) -> None:
    db = await Database.open(folder, (ROWS,))
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO rows (name) VALUES ('open')")
        await db.backup(tmp_path / "one.db")
    await db.backup(tmp_path / "two.db")
    await db.close()
    counts = []
    for name in ("one.db", "two.db"):
        raw = sqlite3.connect(tmp_path / name)
        counts.append(raw.execute("SELECT count(*) FROM rows").fetchone()[0])
        raw.close()
    assert counts == [0, 1]
    assert sorted(path.name for path in tmp_path.glob("*.db*")) == ["one.db", "two.db"]


def test_one_master_per_folder_also_across_processes(folder: DataFolder) -> None:
    held = acquire(folder.lock)
    with pytest.raises(SafetyRefusal, match=f"pid {os.getpid()}"):
        acquire(folder.lock)
    code = (
        "import sys; from pathlib import Path; from ops_system.storage.lock import acquire; acquire(Path(sys.argv[1]))"
    )
    argv = [sys.executable, "-c", code, str(folder.lock)]
    refused = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert "already running" in refused.stderr
    held.release()
    assert subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode == 0
    acquire(folder.lock).release()

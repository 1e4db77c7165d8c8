import asyncio
import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_system.model.errors import Conflict, Unavailable
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import Migration

ROWS = Migration(1, "rows", "CREATE TABLE rows (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);")
INSERT = "INSERT INTO rows (name) VALUES (?)"


async def names(db: Database) -> list[str]:
    return [row["name"] for row in await db.fetch_all("SELECT name FROM rows ORDER BY id")]


async def add(db: Database, name: str) -> None:
    async with db.transaction() as tx:
        await tx.execute(INSERT, (name,))


async def test_a_transaction_is_seen_after_it_returns_and_not_before(db: Database) -> None:
    async with db.transaction() as tx:
        assert await tx.execute(INSERT, ("a",)) == 1
        assert await names(db) == []
        assert (await tx.fetch_one("SELECT name FROM rows"))["name"] == "a"
    assert await names(db) == ["a"]


async def test_settings_are_durable_and_strict(db: Database) -> None:
    async with db.transaction() as tx:
        assert (await tx.fetch_one("PRAGMA synchronous"))[0] == 2
        assert (await tx.fetch_one("PRAGMA journal_mode"))[0] == "wal"
        assert (await tx.fetch_one("PRAGMA foreign_keys"))[0] == 1


async def test_a_reader_cannot_write(db: Database) -> None:
    with pytest.raises(Unavailable, match="readonly"):
        await db.fetch_all("DELETE FROM rows RETURNING name")


async def test_a_failing_block_undoes_itself_alone(db: Database) -> None:
    first_is_in, may_end = asyncio.Event(), asyncio.Event()

    async def hold_the_writer() -> None:
        async with db.transaction() as tx:
            await tx.execute(INSERT, ("held",))
            first_is_in.set()
            await may_end.wait()

    async def fail() -> None:
        async with db.transaction() as tx:
            await tx.execute(INSERT, ("failed",))
            raise LookupError

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        held = group.create_task(hold_the_writer())
        await first_is_in.wait()
        failed = group.create_task(swallow(fail))
        good = group.create_task(add(db, "good"))
        may_end.set()
        await held
        await good
        assert isinstance(await failed, LookupError)
    assert await names(db) == ["held", "good"]


async def swallow(function, *args) -> BaseException | None:
    try:
        await function(*args)
    except BaseException as error:  # noqa: BLE001 - the test looks at it
        return error
    return None


async def test_a_taken_key_is_a_conflict_and_the_block_may_go_on(db: Database) -> None:
    await add(db, "a")
    async with db.transaction() as tx:
        with pytest.raises(Conflict, match=r"rows\.name"):
            await tx.execute(INSERT, ("a",))
        await tx.execute(INSERT, ("b",))
    assert await names(db) == ["a", "b"]


async def test_a_bug_in_sql_stays_a_bug(db: Database) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await db.fetch_all("SELECT 1 FROM nowhere")
    with pytest.raises(sqlite3.IntegrityError):
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO rows (name) VALUES (NULL)")


async def test_nested_use_is_refused_and_harmless(db: Database) -> None:
    async with db.transaction() as tx:
        with pytest.raises(RuntimeError, match="already open"):
            await add(db, "inner")
        await tx.execute(INSERT, ("outer",))
    assert await names(db) == ["outer"]


async def test_a_transaction_that_is_over_refuses_work(db: Database) -> None:
    async with db.transaction() as tx:
        pass
    with pytest.raises(RuntimeError, match="is over"):
        await tx.execute(INSERT, ("late",))


async def test_a_read_is_one_snapshot(db: Database) -> None:
    await add(db, "a")
    async with db.read() as reader:
        before = await reader.fetch_all("SELECT name FROM rows")
        await add(db, "b")
        assert await reader.fetch_all("SELECT name FROM rows") == before
    assert await names(db) == ["a", "b"]


async def test_a_failing_commit_fails_every_member_and_the_writer_goes_on(folder: DataFolder) -> None:
    deferred = Migration(
        2,
        "child",
        "CREATE TABLE child (row_id INTEGER REFERENCES rows (id) DEFERRABLE INITIALLY DEFERRED);",
    )
    db = await Database.open(folder, (ROWS, deferred))
    first_is_in, may_end = asyncio.Event(), asyncio.Event()

    async def orphan() -> None:
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO child VALUES (99)")
            first_is_in.set()
            await may_end.wait()

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        first = group.create_task(swallow(orphan))
        await first_is_in.wait()
        second = group.create_task(swallow(add, db, "innocent"))
        await asyncio.sleep(0)
        may_end.set()
    assert isinstance(first.result(), sqlite3.IntegrityError)
    assert isinstance(second.result(), sqlite3.IntegrityError)
    assert await names(db) == []
    await add(db, "after")
    assert await names(db) == ["after"]
    await db.close()


async def test_many_callers_share_commits(db: Database) -> None:
    commits = 0
    original = db._writer._commit_group

    def count() -> None:
        nonlocal commits
        commits += 1
        original()

    db._writer._commit_group = count
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(add(db, str(number)))
    assert len(await names(db)) == 200
    assert commits < 100


async def test_another_process_may_write_too(db: Database) -> None:
    other = sqlite3.connect(db.path)
    with other:
        other.execute(INSERT, ("theirs",))
    other.close()
    await add(db, "ours")
    assert await names(db) == ["theirs", "ours"]


async def test_closing_refuses_those_who_wait_behind_it(folder: DataFolder) -> None:
    db = await Database.open(folder, (ROWS,))
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        async with db.transaction() as tx:
            closing = group.create_task(db.close())
            await asyncio.sleep(0)
            late = group.create_task(swallow(add, db, "late"))
            await asyncio.sleep(0)
            await tx.execute(INSERT, ("in time",))
        await closing
    assert isinstance(late.result(), Unavailable)
    again = await Database.open(folder, (ROWS,))
    assert await names(again) == ["in time"]
    await again.close()


@pytest.mark.parametrize("step", range(1, 9))
@pytest.mark.parametrize("is_before", [True, False])
async def test_cancelled_at_each_step_of_the_writer(db: Database, step: int, is_before: bool) -> None:
    """The victim is cancelled at the `step`th piece of work that anybody gives the writer's thread."""
    await add(db, "first")
    connection, count = db._writer._connection, 0
    tasks: list[asyncio.Task] = []

    def counted(give):
        def wrapper(work):
            nonlocal count
            count += 1
            if count == step and is_before:
                tasks[1].cancel()
            given = give(work)
            if count == step and not is_before:
                tasks[1].cancel()
            return given

        return wrapper

    connection.submit, connection.post = counted(connection.submit), counted(connection.post)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        tasks += [group.create_task(swallow(add, db, name)) for name in ("before", "victim", "after")]
    await add(db, "last")
    assert count >= step
    assert {"before", "after", "last"} <= set(await names(db))
    assert tasks[0].result() is tasks[2].result() is None
    assert tasks[1].cancelled() or tasks[1].result() is not None or "victim" in await names(db)


async def test_cancelled_when_the_turn_was_just_given_it_is_handed_on(db: Database) -> None:
    tasks: list[asyncio.Task] = []
    wake_next = db._writer._wake_next

    def wake_and_cancel() -> bool:
        is_awake = wake_next()
        if is_awake and not tasks[1].done():
            tasks[1].cancel()
        return is_awake

    db._writer._wake_next = wake_and_cancel
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        tasks += [group.create_task(swallow(add, db, name)) for name in ("before", "victim", "after")]
    assert await names(db) == ["before", "after"]


async def test_a_reader_cancelled_in_a_long_query_is_given_back(folder: DataFolder) -> None:
    db = await Database.open(folder, (ROWS,), readers=1)
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT max(i) FROM n"
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        query = group.create_task(swallow(db.fetch_all, slow))
        await asyncio.sleep(0)
        query.cancel()
        await add(db, "a")
        assert await names(db) == ["a"]
    await db.close()


async def test_a_closed_database_says_so(folder: DataFolder) -> None:
    db = await Database.open(folder, (ROWS,), readers=1)
    await db.close()
    for _ in range(3):
        with pytest.raises(Unavailable):
            await names(db)
        with pytest.raises(Unavailable):
            await add(db, "late")


PLAN = st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["ok", "raise", "cancel"])), min_size=1, max_size=25)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PLAN)
def test_cancellation_at_any_step_never_blocks_or_mixes_transactions(tmp_path_factory, plan) -> None:
    asyncio.run(storm(DataFolder(tmp_path_factory.mktemp("storm")), plan))


async def storm(folder: DataFolder, plan: list[tuple[int, str]]) -> None:
    """Each planned caller adds two rows; some raise between them, some are cancelled after N turns of the loop."""
    db = await Database.open(folder, (ROWS,), readers=1)
    acknowledged: set[str] = set()

    async def caller(name: str, fate: str) -> None:
        async with db.transaction() as tx:
            await tx.execute(INSERT, (f"{name}-1",))
            if fate == "raise":
                raise LookupError
            await tx.execute(INSERT, (f"{name}-2",))
        acknowledged.add(name)

    async with asyncio.timeout(60):
        tasks = []
        async with asyncio.TaskGroup() as group:
            for number, (turns, fate) in enumerate(plan):
                tasks.append(group.create_task(swallow(caller, str(number), fate)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                if fate == "cancel":
                    tasks[-1].cancel()
        await add(db, "the-writer-lives")
    stored = set(await names(db))
    await db.close()
    for number, (_turns, fate) in enumerate(plan):
        halves = {f"{number}-1", f"{number}-2"} & stored
        assert len(halves) in {0, 2}
        assert fate != "raise" or not halves
        assert str(number) not in acknowledged or len(halves) == 2
        assert fate != "ok" or str(number) in acknowledged
    assert "the-writer-lives" in stored

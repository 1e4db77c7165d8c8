import asyncio

import pytest

from ops_system.master.bus import Bus, Changed
from ops_system.master.operations.rules import OperationQuery, TargetEnd
from ops_system.master.operations.service import Operations
from ops_system.master.web.route import Principal
from ops_system.model.errors import Invalid, NotAllowed, NotFound
from ops_system.model.operations import OperationState, OperationTarget
from ops_system.model.reasons import Reason
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations
from tests.fakes.clock import FakeClock

ANN = Principal(kind="user", id="usr_1", name="ann")


@pytest.fixture
async def database(tmp_path):
    folder = DataFolder(tmp_path / "data")
    folder.create()
    database = await Database.open(folder, load_migrations("ops_system.master"))
    yield database
    await database.close()


class Book:
    """The service and what it published."""

    def __init__(self, database):
        self.bus = Bus()
        self.database = database
        self.clock = FakeClock()
        self.service = Operations(database, self.bus, self.clock)
        self.seen = []
        self.news = asyncio.Event()
        self.bus.subscribe(Changed, self.note)

    def note(self, event):
        self.seen.append(event.data)
        self.news.set()

    async def create(self, *ids, kind="test.run", title="Run"):
        targets = [OperationTarget("thing", name, name, None, OperationState.PENDING) for name in ids]
        async with self.database.transaction() as tx:
            operation = await self.service.create(
                tx, kind, title=title, actor=ANN, targets=targets, steps=("one", "two")
            )
        self.service.publish(operation)
        return operation

    async def finish(self, operation, target, state, reason=None):
        async with self.database.transaction() as tx:
            changed = await self.service.finish_target(tx, operation.id, target, TargetEnd(state, reason))
        self.service.publish(changed)
        return changed


@pytest.fixture
def book(database):
    return Book(database)


async def test_an_operation_lives_in_the_database(book):
    operation = await book.create("a", "b")
    assert operation.state is OperationState.PENDING
    async with book.database.transaction() as tx:
        begun = await book.service.begin_target(tx, operation.id, "a", "one")
    assert begun.state is OperationState.RUNNING
    why = Reason("broken", "it broke")
    await book.finish(operation, "a", OperationState.FAILED, why)
    ended = await book.finish(operation, "b", OperationState.SUCCEEDED)
    assert (ended.state, ended.error) == (OperationState.FAILED, why)
    assert await book.service.get(operation.id) == ended
    assert book.seen[-1] == ended
    late = await book.finish(operation, "a", OperationState.SUCCEEDED)
    assert late.state is OperationState.FAILED


async def test_an_undone_transaction_leaves_no_operation(book):
    async def break_off():
        async with book.database.transaction() as tx:
            await book.service.create(tx, "test.run", title="t", actor=ANN, targets=[], steps=())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await break_off()
    assert (await book.service.list_page(OperationQuery())).total == 0


async def test_progress_is_shown_at_most_four_times_a_second_and_its_last_word_comes(book):
    operation = await book.create("a")
    async with book.database.transaction() as tx:
        book.service.publish(await book.service.begin_target(tx, operation.id, "a", "one"))
    book.seen.clear()
    for done in range(1, 101):
        book.service.advance(operation.id, "a", "one", done, 100)
    assert len(book.seen) == 1
    book.news.clear()
    async with asyncio.timeout(30):
        await book.news.wait()
    assert len(book.seen) == 2
    assert book.seen[-1].targets[0].bytes_done == 100
    assert (await book.service.list_page(OperationQuery())).items[0].targets[0].bytes_done == 100
    ended = await book.finish(operation, "a", OperationState.SUCCEEDED)
    book.service.advance(operation.id, "a", "two", 1, 1)
    assert book.seen[-1] == ended


async def test_open_operations_are_taken_up_again(book):
    operation = await book.create("a")
    async with book.database.transaction() as tx:
        await book.service.begin_target(tx, operation.id, "a", "one")
    done = await book.create("b")
    await book.finish(done, "b", OperationState.SUCCEEDED)
    again = Book(book.database)
    await again.service.load()
    assert [one.id for one in again.service.list_open()] == [operation.id]
    again.service.advance(operation.id, "a", "two")
    assert (await again.service.get(operation.id)).targets[0].step == "two"


async def test_what_ended_long_ago_is_forgotten_at_a_start(book):
    old, waiting = await book.create("a"), await book.create("b")
    await book.finish(old, "a", OperationState.SUCCEEDED)
    book.clock.advance(89 * 86400)
    await book.service.load()
    assert (await book.service.list_page(OperationQuery())).total == 2
    book.clock.advance(2 * 86400)
    await book.service.load()
    assert [one.id for one in (await book.service.list_page(OperationQuery())).items] == [waiting.id]


async def test_the_list_is_filtered_by_the_server(book):
    first = await book.create("a", kind="instance.start", title="Start web")
    book.clock.advance(1)
    second = await book.create("b", kind="system.deploy", title="Deploy shop")
    await book.finish(first, "a", OperationState.SUCCEEDED)

    async def ids(**filters):
        return [one.id for one in (await book.service.list_page(OperationQuery(**filters))).items]

    assert await ids() == [second.id, first.id]
    assert await ids(state="succeeded,failed") == [first.id]
    assert await ids(kind="system.") == [second.id]
    assert await ids(target="a") == [first.id]
    assert await ids(q="shop") == [second.id]
    assert await ids(q="%") == []
    assert await ids(limit=1, offset=1) == [first.id]
    assert await ids(sort="title") == [second.id, first.id]
    with pytest.raises(Invalid):
        await ids(sort="nothing")


async def test_what_cannot_be_done_to_an_operation_says_why(book):
    operation = await book.create("a")
    with pytest.raises(NotAllowed, match="cannot be cancelled"):
        await book.service.cancel(operation.id, ANN)
    with pytest.raises(NotAllowed, match="only a failed"):
        await book.service.retry(operation.id, ANN)
    with pytest.raises(NotAllowed, match="paused"):
        await book.service.pause(operation.id, ANN)
    for act in (book.service.cancel, book.service.retry):
        with pytest.raises(NotFound):
            await act("op_nothing", ANN)

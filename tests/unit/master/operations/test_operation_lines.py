"""The log of an operation, the rates and times left of its targets."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.master.operations import lines
from ops_system.master.operations.lines import Pace, pace_after, time_left_s
from ops_system.master.web.route import ListQuery
from ops_system.model.errors import NotFound
from ops_system.model.operations import OperationState
from ops_system.model.reasons import Reason
from tests.unit.master.operations.test_operations_service import ANN, Book, database

__all__ = ["database"]  # the fixture
AT = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def test_a_rate_follows_what_is_and_begins_anew_with_a_step():
    pace = None
    for second in range(10):
        pace = pace_after(pace, "fetch", second * 1000, float(second))
    assert pace.bytes_per_s == pytest.approx(1000)
    for second in range(10, 40):
        pace = pace_after(pace, "fetch", 9000 + (second - 9) * 10, float(second))
    assert pace.bytes_per_s == pytest.approx(10, rel=0.3)
    assert pace_after(pace, "unpack", 5, 41.0) == Pace("unpack", 41.0, 5)
    assert pace_after(pace, "fetch", 5, 41.0) == Pace("fetch", 41.0, 5)
    assert pace_after(pace, "fetch", pace.bytes_done, 99.0) == pace


@given(st.lists(st.tuples(st.integers(0, 10**12), st.floats(0, 1e6)), max_size=30))
def test_no_rate_is_ever_negative(news):
    pace, now_s = None, 0.0
    for bytes_done, later_s in news:
        now_s += later_s
        pace = pace_after(pace, "fetch", bytes_done, now_s)
        assert pace.bytes_per_s >= 0


def test_time_left_is_known_only_while_bytes_move():
    assert time_left_s(50, 150, 10.0) == pytest.approx(10.0)
    assert time_left_s(50, 150, 0.0) is None
    assert time_left_s(50, 0, 10.0) is None
    assert time_left_s(200, 150, 10.0) == 0


def told(page):
    return [(line.target_name, line.state.value, line.step) for line in reversed(page.items)]


async def test_the_log_tells_every_change_in_order(database):
    book = Book(database)
    operation = await book.create("a", "b")
    async with book.database.transaction() as tx:
        begun = await book.service.begin_target(tx, operation.id, "a", "one")
    book.service.publish(begun)
    book.service.advance(operation.id, "a", "one", 10, 100)
    book.service.advance(operation.id, "a", "two", 0, 100)
    book.service.advance(operation.id, "a", "two", 50, 100)
    assert (await book.service.list_log(operation.id, ListQuery(limit=1), ANN)).items[0].step == "two"
    async with book.database.transaction() as tx:
        now = await book.service.read(tx, operation.id)
        book.service.publish(await book.service.mark(tx, now, is_paused=True))
    await book.finish(operation, "a", OperationState.SUCCEEDED)
    await book.finish(operation, "b", OperationState.FAILED, Reason("exited", "exited with code 7"))
    page = await book.service.list_log(operation.id, ListQuery(), ANN)
    assert told(page) == [
        ("", "pending", ""),
        ("a", "running", "one"),
        ("", "running", ""),
        ("a", "running", "two"),
        ("", "paused", ""),
        ("a", "succeeded", "two"),
        ("b", "failed", ""),
        ("", "failed", ""),
    ]
    assert page.items[0].reason.message == "exited with code 7"
    with pytest.raises(NotFound):
        await book.service.list_log("op_none", ListQuery(), ANN)


async def test_the_log_outlives_a_restart_and_is_bounded(database, monkeypatch):
    monkeypatch.setattr("ops_system.master.operations.store.LOG_LINES", 5)
    book = Book(database)
    operation = await book.create(*"abcdefgh")
    for name in "abcdefgh":
        await book.finish(operation, name, OperationState.SUCCEEDED)
    again = Book(database)
    await again.service.load()
    page = await again.service.list_log(operation.id, ListQuery(), ANN)
    assert page.total == 5
    assert told(page)[-2:] == [("h", "succeeded", ""), ("", "succeeded", "")]
    second = await again.service.list_log(operation.id, ListQuery(limit=2, offset=3), ANN)
    assert told(second) == told(page)[:2]


async def test_bytes_have_a_rate_and_a_time_left_until_the_target_ends(database):
    book = Book(database)
    operation = await book.create("a")
    async with book.database.transaction() as tx:
        book.service.publish(await book.service.begin_target(tx, operation.id, "a", "one"))
    for done in (0, 200, 400):
        book.service.advance(operation.id, "a", "one", done, 1000)
        book.clock.advance(2)
    (target,) = (await book.service.get(operation.id)).targets
    assert (target.bytes_per_s, target.eta_s) == (pytest.approx(100), pytest.approx(6))
    ended = await book.finish(operation, "a", OperationState.SUCCEEDED)
    assert (ended.targets[0].bytes_per_s, ended.targets[0].eta_s) == (0, None)


def test_the_bound_is_what_the_description_says():
    assert lines.LOG_LINES == 2000

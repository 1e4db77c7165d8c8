"""Tasks in the store: one transaction per change, whoever else writes."""

import asyncio

import pytest

from ops_system.kv.base import KeyValue, RangeRequest, WatchRequest
from ops_system.kv.embedded import Embedded
from ops_system.kv.follow import list_all
from ops_system.model.errors import Conflict, Invalid, NotAllowed, NotFound, Unauthenticated
from ops_system.model.tasks import ApproveCall, Server, TaskStatus
from ops_system.provision import rules
from ops_system.provision.agents import AgentBook
from ops_system.provision.approvals import approve
from ops_system.provision.documents import LOG_CHUNKS_KEPT, decode
from ops_system.provision.keys import MachineKeys, installing_prefix
from ops_system.provision.regions import RegionSettings
from ops_system.runtime.tasks import running
from tests.fakes.clock import FakeClock
from tests.fakes.provision import IDC, SN, a_report, a_task, begins, completes, ends, session, tells

KEYS = MachineKeys(IDC, SN)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def book(tmp_path, clock):
    engine = await Embedded.open(tmp_path / "store.db", clock)
    async with running(engine.run(), "store"):
        yield AgentBook(engine, clock)
    await engine.close()


async def one(book, key: bytes) -> KeyValue | None:
    found = (await book.store.range(RangeRequest(key))).kvs
    return found[0] if found else None


async def reports(book, sn=SN, boot="boot-1", **facts):
    lease = await book.store.grant(30)
    return await book.report(IDC, a_report(sn, boot=boot, **facts), session(boot), lease.id)


async def approves(book, sn=SN, disks=("DISK1",)):
    def rule(task, machine):
        made = approve(task, machine, ApproveCall(disks), RegionSettings(), by="bob", at=book.clock.now())
        return made, machine

    return await book.change_machine(IDC, sn, rule)


async def installs(book, sn=SN, boot="boot-1", **facts):
    await book.create(a_task(sn, **facts))
    await reports(book, sn, boot)
    await approves(book, sn)
    return await book.take_fence(IDC, sn, boot, 20)


async def test_the_whole_road_of_a_machine(book):
    await book.create(a_task())
    assert (await book.boot(IDC, SN, by="region:dc1")).status is TaskStatus.BOOTING
    assert (await reports(book)).task.status is TaskStatus.PENDING_APPROVAL
    assert (await approves(book)).status is TaskStatus.APPROVED
    task = await book.take_fence(IDC, SN, "boot-1", 20)
    assert (task.status, task.fence) == (TaskStatus.INSTALLING, 1)
    assert (await book.agent(IDC, SN)).fence == 1
    await book.begin(IDC, begins(task))
    await book.progress(IDC, tells(task, percent=42.0, lines=("writing",)))
    await book.complete(IDC, completes(task))
    done = await book.finish(IDC, ends(task))
    assert done.status is TaskStatus.COMPLETED
    assert done.status not in rules.BOOTS_AGENT
    assert [change.status.value for change in done.status_history] == [
        "pending", "booting", "pending_approval", "approved", "installing", "completed"
    ]  # fmt: skip
    assert done.logs == ("writing",)
    assert done.intents[0].done_at is not None
    assert await book.get(IDC, SN) == done
    assert await book.by_id(done.task_id) == done


async def test_the_status_stands_beside_the_task_in_the_same_transaction(book):
    await book.create(a_task())
    task, server = await one(book, KEYS.task), await one(book, KEYS.server)
    assert task.mod_revision == server.mod_revision
    await reports(book)
    task, server = await one(book, KEYS.task), await one(book, KEYS.server)
    assert decode(server, Server).status is TaskStatus.PENDING_APPROVAL
    assert task.mod_revision == server.mod_revision
    await book.progress(IDC, tells(await book.get(IDC, SN)))
    assert (await one(book, KEYS.server)).mod_revision == server.mod_revision, "progress is no change of the queue"


async def test_an_unfinished_task_is_in_the_way_and_a_finished_one_is_not(book):
    first = await installs(book)
    with pytest.raises(Conflict) as refused:
        await book.create(a_task(number=2))
    assert refused.value.details["reason"] == "task_exists"
    await book.finish(IDC, ends(first, "failed"))
    second = await book.create(a_task(number=2))
    assert second.fence == first.fence, "a fence never falls"
    with pytest.raises(NotFound):
        await book.by_id(first.task_id)


@pytest.mark.parametrize(("idc", "sn"), [("install", SN), ("DC1", SN), ("dc1", "a/b"), ("dc1", "")])
async def test_names_that_break_keys_are_refused(book, idc, sn):
    with pytest.raises(Invalid):
        await book.create(a_task(sn, idc))
    assert not (await list_all(book.store, b"/os/")).kvs


async def test_a_machine_that_reported_before_its_task_waits_for_approval_at_once(book):
    assert (await reports(book)).task is None
    assert [machine.sn for machine in await book.unmatched(IDC)] == [SN]
    task = await book.create(a_task(mac="00:00:00:00:00:01"))
    assert task.status is TaskStatus.PENDING_APPROVAL
    assert task.reported_mac == "00:1a:2b:3c:4d:5e"
    assert await book.unmatched() == []
    assert (await book.machine(IDC, SN)).hardware is not None


async def test_a_machine_that_was_switched_off_again_is_waited_for(book):
    await reports(book)
    await book.release(IDC, SN, session("boot-1"))
    assert (await book.create(a_task())).status is TaskStatus.PENDING


async def test_fifty_writers_on_one_task_lose_nothing(book):
    task = await installs(book)

    async def write(number: int) -> None:
        await book.progress(IDC, tells(task, f"step-{number}", float(number)))

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(write(number))
    kept = {each.step: each.percent for each in (await book.get(IDC, SN)).progress}
    assert kept == {f"step-{number}": float(number) for number in range(50)}


async def test_the_log_is_a_bounded_tail_and_chunks(book):
    task = await installs(book)
    lines = [f"line {number} " + "x" * 90 for number in range(1_000)]
    for start in range(0, 1_000, 100):
        await book.progress(IDC, tells(task, lines=tuple(lines[start : start + 100])))
    task = await book.get(IDC, SN)
    assert len(task.logs) <= 100
    assert sum(map(len, task.logs)) <= 16_384
    assert await book.log(task) == lines
    await book.finish(IDC, ends(task, "failed"))
    await book.create(a_task(number=2))
    assert not (await list_all(book.store, KEYS.log_prefix(task.task_id))).kvs


async def test_a_log_without_end_loses_its_oldest_chunks(book):
    task = await installs(book)
    for number in range(LOG_CHUNKS_KEPT + 3):
        await book.progress(IDC, tells(task, lines=tuple([f"{number} {each}" for each in range(101)])))
    listed = await list_all(book.store, KEYS.log_prefix(task.task_id))
    assert len(listed.kvs) == LOG_CHUNKS_KEPT


async def test_no_more_machines_than_allowed_are_installed_at_once(book):
    serials = [f"sn-{number}" for number in range(8)]
    for sn in serials:
        await book.create(a_task(sn))
        await reports(book, sn, f"boot-{sn}")
        await approves(book, sn)
    refused = []

    async def begin(sn: str) -> None:
        try:
            await book.take_fence(IDC, sn, f"boot-{sn}", 3)
        except NotAllowed as error:
            refused.append(error.details["reason"])

    async with asyncio.TaskGroup() as group:
        for sn in serials:
            group.create_task(begin(sn))
    assert refused == ["max_installs"] * 5
    assert len((await list_all(book.store, installing_prefix(IDC))).kvs) == 3
    busy = [sn for sn, server in (await book.servers(IDC)).items() if server.status is TaskStatus.INSTALLING]
    await book.finish(IDC, ends(await book.get(IDC, busy[0])))
    free = next(sn for sn in serials if sn not in busy)
    assert (await book.take_fence(IDC, free, f"boot-{free}", 3)).status is TaskStatus.INSTALLING


async def test_a_fence_that_was_followed_is_refused_everywhere(book):
    old = await installs(book)
    newer = await book.take_fence(IDC, SN, "boot-1", 20)
    assert newer.fence == old.fence + 1
    for act in (
        book.begin(IDC, begins(old)),
        book.progress(IDC, tells(old)),
        book.complete(IDC, completes(old)),
        book.finish(IDC, ends(old)),
    ):
        with pytest.raises(Conflict) as refused:
            await act
        assert refused.value.details["reason"] == "stale_fence"
    assert await book.get(IDC, SN) == newer


async def test_a_second_agent_waits_and_takes_over_when_the_first_is_gone(book, clock):
    await book.create(a_task())
    await reports(book)
    with pytest.raises(Conflict) as refused:
        await reports(book, boot="boot-2")
    assert refused.value.details["reason"] == "two_agents"
    clock.advance(31)
    async with asyncio.timeout(30), book.store.watch(WatchRequest(KEYS.lease)) as watch:
        if await book.agent(IDC, SN) is not None:
            assert (await watch.next()).events[0].is_delete
    assert (await reports(book, boot="boot-2")).task.status is TaskStatus.PENDING_APPROVAL
    with pytest.raises(Unauthenticated):
        await book.renew(IDC, SN, session("boot-1"))


async def test_two_agents_alive_with_one_serial_are_both_quarantined(book):
    task = await installs(book)
    with pytest.raises(Conflict):
        await reports(book, boot="boot-2", uuid="U-2")
    with pytest.raises(Conflict):
        await book.take_fence(IDC, SN, "boot-1", 20)
    with pytest.raises(NotAllowed) as refused:
        await book.renew(IDC, SN, session("boot-1"))
    assert refused.value.details["why"] == "two_agents"
    assert (await book.get(IDC, SN)).status is TaskStatus.NEEDS_OPERATOR
    for boot in ("boot-1", "boot-2"):
        with pytest.raises(NotAllowed) as refused:
            await reports(book, boot=boot)
        assert refused.value.details["reason"] == "quarantined"
    with pytest.raises(NotAllowed):
        await book.begin(IDC, begins(task))
    assert (await book.retry(IDC, SN, by="bob")).attempt == 2
    assert (await reports(book, boot="boot-3")).task.status is TaskStatus.PENDING_APPROVAL


async def test_a_new_task_ends_a_quarantine(book):
    await installs(book)
    with pytest.raises(Conflict):
        await reports(book, boot="boot-2")
    with pytest.raises(NotAllowed):
        await book.renew(IDC, SN, session("boot-1"))
    await book.change(IDC, SN, lambda task: rules.ask_cancel(task, by="bob", at=book.clock.now()))
    assert (await book.create(a_task(number=2))).status is TaskStatus.PENDING
    assert (await reports(book, boot="boot-3")).task.status is TaskStatus.PENDING_APPROVAL


async def test_only_the_agent_itself_renews_its_lease(book):
    task = await installs(book)
    renewed = await book.renew(IDC, SN, session("boot-1"))
    assert (renewed.ttl_s, renewed.fence, renewed.is_cancel_asked) == (30.0, task.fence, False)
    await book.begin(IDC, begins(task))
    await book.change(IDC, SN, lambda each: rules.ask_cancel(each, by="bob", at=book.clock.now()))
    assert (await book.renew(IDC, SN, session("boot-1"))).is_cancel_asked
    with pytest.raises(Unauthenticated):
        await book.check_session(IDC, SN, session("forged"))
    await book.release(IDC, SN, session("forged"))
    assert await book.agent(IDC, SN) is not None
    await book.release(IDC, SN, session("boot-1"))
    with pytest.raises(Conflict) as refused:
        await book.renew(IDC, SN, session("boot-1"))
    assert refused.value.details["reason"] == "lease_lost"


async def test_a_report_said_twice_by_one_boot_is_one_report(book):
    await book.create(a_task())
    first = await reports(book)
    again = await reports(book)
    assert again.task == first.task
    assert len(again.task.status_history) == 2


async def test_a_task_that_may_be_at_work_is_not_removed(book):
    task = await installs(book)
    with pytest.raises(NotAllowed):
        await book.delete(IDC, SN)
    await book.finish(IDC, ends(task, "failed"))
    await book.delete(IDC, SN)
    left = {kv.key for kv in (await list_all(book.store, b"/os/dc1/")).kvs}
    assert left == {KEYS.meta, KEYS.lease}
    assert (await book.create(a_task(number=2))).fence == task.fence
    with pytest.raises(NotFound):
        await book.delete(IDC, "other")


async def test_a_settings_change_keeps_what_it_does_not_name(book):
    await book.change_settings(IDC, lambda before: RegionSettings(name="North", discovery=before.discovery))
    assert await book.settings(IDC) == RegionSettings(name="North")
    assert await book.exists(IDC)
    assert not await book.exists("dc2")

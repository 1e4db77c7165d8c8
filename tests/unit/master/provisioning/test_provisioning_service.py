"""The control plane of installations: approvals, rules, deadlines, silence, enrolments, scope."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from ops_system.master.provisioning.shapes import (
    ApprovalRulePatch,
    BulkOrder,
    DryRunBody,
    NewApprovalRule,
    SettingsPatch,
    TaskOrder,
    TaskQuery,
    WhyBody,
)
from ops_system.master.web.route import ListQuery
from ops_system.model.errors import Conflict, Forbidden, Invalid, NotAllowed, NotFound, OpsError
from ops_system.model.machines import DiskInfo
from ops_system.model.tasks import INSTALLER_S, ApproveCall, TaskStatus
from tests.fakes.agents import PlayedAgent, a_region
from tests.fakes.control import ALICE, BOB, KEY, NORTH, Control, control_rig
from tests.fakes.provision import CEPH, DATA, DISK, IDC, MAC, SN, begins, completes

ORDER = TaskOrder(IDC, SN, "00-1A-2B-3C-4D-5E", "Debian 12", "12")
CALL = ApproveCall(("DISK1",))
S = TaskStatus


@pytest.fixture
async def rig(tmp_path) -> AsyncIterator[Control]:
    async with control_rig(tmp_path) as control:
        yield control


def agent_of(rig: Control, sn: str = SN, **facts: object) -> PlayedAgent:
    return PlayedAgent(rig.agents, sn, **facts)


async def reported(rig: Control, sn: str = SN, order: TaskOrder = ORDER, **facts: object) -> PlayedAgent:
    await rig.tasks.create(msgspec.structs.replace(order, sn=sn), ALICE)
    agent = agent_of(rig, sn, **facts)
    await agent.report()
    return agent


async def approved(rig: Control, **facts: object) -> PlayedAgent:
    agent = await reported(rig, **facts)
    await rig.tasks.approve(KEY, CALL, ALICE)
    return agent


def reason_of(error: pytest.ExceptionInfo[OpsError]) -> object:
    return error.value.details.get("reason")


# --- approval ---------------------------------------------------------------------------------------------------------
NOT_TO_BE_WRITTEN = [
    ((DISK,), ApproveCall(("sda",)), "disk_unknown"),
    ((DISK,), ApproveCall(("vda",)), "disk_unknown"),
    ((DISK,), ApproveCall(), "disks_missing"),
    ((DISK, DATA), ApproveCall(("DISK2", "0x5000c5001")), "disk_twice"),
    ((DISK,), ApproveCall(("DISK1",), "stale"), "inventory_changed"),
    ((CEPH,), ApproveCall(("DISK3",)), "disk_foreign"),
    ((DiskInfo("vda", 8 * 2**30, serial="KEEP"),), ApproveCall(("KEEP",)), "disk_protected"),
    ((DISK, msgspec.structs.replace(DISK, name="vdb")), CALL, "disk_ambiguous"),
    ((DiskInfo("vda", 8 * 2**30, serial="RO", is_read_only=True),), ApproveCall(("RO",)), "disk_read_only"),
    ((DiskInfo("vda", 2**30, serial="SMALL"),), ApproveCall(("SMALL",)), "disk_too_small"),
]


async def test_no_approval_for_what_must_not_be_written(rig):
    await rig.sites.change_settings(IDC, SettingsPatch(protected_serials=("KEEP",)), ALICE)
    for number, (disks, call, reason) in enumerate(NOT_TO_BE_WRITTEN):
        key = (IDC, f"sn-{number}")
        await reported(rig, key[1], boot=f"boot-{number}", disks=disks)
        with pytest.raises(OpsError) as refused:
            await rig.tasks.approve(key, call, ALICE)
        assert reason_of(refused) == reason
        assert (await rig.task(key)).status is S.PENDING_APPROVAL
    assert (await rig.tokens.list_page(ListQuery())).total == 0
    assert not [action for action in await rig.actions() if action.startswith("task.approve")]


async def test_a_foreign_signature_is_named_to_be_overwritten(rig):
    await reported(rig, disks=(CEPH,))
    done = await rig.tasks.approve(KEY, ApproveCall(("DISK3",), overwrite_foreign=("DISK3",)), ALICE)
    assert done.approval.overwrite_foreign == ("DISK3",)


async def test_two_people_approve_where_that_is_wanted(rig):
    await rig.sites.change_settings(IDC, SettingsPatch(needs_second_approval=True), ALICE)
    agent = await reported(rig)
    assert (await rig.tasks.approve(KEY, CALL, ALICE)).status is S.PENDING_APPROVAL
    with pytest.raises(NotAllowed) as refused:
        await rig.tasks.approve(KEY, CALL, ALICE)
    assert reason_of(refused) == "second_person"
    with pytest.raises(NotAllowed):
        await agent.begin()
    with pytest.raises(Conflict) as refused:
        await rig.tasks.approve(KEY, ApproveCall(("DISK2",)), BOB)
    assert reason_of(refused) == "approvals_differ"
    both = await rig.tasks.approve(KEY, CALL, BOB)
    assert (both.status, both.approval.by, both.approval.second_by) == (S.APPROVED, "alice", "bob")


async def test_half_an_approval_is_void_when_the_hardware_changes_or_time_passes(rig):
    await rig.sites.change_settings(IDC, SettingsPatch(needs_second_approval=True), ALICE)
    agent = await reported(rig)
    await rig.tasks.approve(KEY, CALL, ALICE)
    await agent.leave()
    await agent_of(rig, boot="boot-2", disks=(DISK,)).report()
    assert (await rig.task()).approval is None
    await rig.tasks.approve(KEY, CALL, ALICE)
    rig.clock.advance(1801)
    again = await rig.tasks.approve(KEY, CALL, BOB)
    assert (again.status, again.approval.by) == (S.PENDING_APPROVAL, "bob")


async def test_an_approval_is_void_when_the_hardware_changes(rig):
    agent = await approved(rig)
    await agent.leave()
    back = agent_of(rig, boot="boot-2", disks=(DISK,))
    assert (await back.report()).task.status is S.PENDING_APPROVAL
    with pytest.raises(NotAllowed):
        await back.begin()


async def test_an_approval_runs_out_and_is_used_once(rig):
    agent = await approved(rig)
    rig.clock.advance(1801)
    with pytest.raises(NotAllowed) as refused:
        await agent.begin()
    assert reason_of(refused) == "approval_expired"
    await rig.settle()
    task = await rig.task()
    assert (task.status, task.approval, task.reason.code) == (S.PENDING_APPROVAL, None, "approval_expired")
    await rig.settle()
    assert (await rig.tokens.list_page(ListQuery())).total == 0, "and its enrolment is worth nothing"


async def test_of_many_approvals_at_once_one_counts(rig):
    await reported(rig)

    async def one(actor) -> bool:
        try:
            await rig.tasks.approve(KEY, CALL, actor)
        except NotAllowed:
            return False
        return True

    async with asyncio.TaskGroup() as group:
        tried = [group.create_task(one(actor)) for actor in (ALICE, BOB) * 3]
    assert [task.result() for task in tried].count(True) == 1
    assert (await rig.tokens.list_page(ListQuery())).total == 1


# --- rules ------------------------------------------------------------------------------------------------------------
async def test_a_rule_approves_as_many_as_it_may(rig):
    order = msgspec.structs.replace(ORDER, tags={"rack": "a1"})
    rule = await rig.approvals.create_rule(NewApprovalRule("rack", 2, IDC, {"rack": "a1"}), ALICE, "r1")
    await reported(rig, "sn-0", msgspec.structs.replace(ORDER, tags={"rack": "b2"}), boot="boot-0")
    for number in range(1, 4):
        await reported(rig, f"sn-{number}", order, boot=f"boot-{number}")
    await rig.settle()
    rows = {row.sn: row for row in (await rig.tasks.list_page(TaskQuery(), ALICE)).items}
    assert sorted(row.status for row in rows.values()) == [S.APPROVED] * 2 + [S.PENDING_APPROVAL] * 2
    assert rows["sn-0"].status is S.PENDING_APPROVAL, "another rack"
    assert {row.approval.rule for row in rows.values() if row.approval} == {"rack"}
    assert (await rig.approvals.get_rule(rule.id)).used == 2
    await rig.approvals.change_rule(rule.id, ApprovalRulePatch(max_uses=3), ALICE)
    await rig.settle()
    assert (await rig.approvals.get_rule(rule.id)).used == 3
    await rig.approvals.delete_rule(rule.id, ALICE)
    with pytest.raises(NotFound):
        await rig.approvals.get_rule(rule.id)


async def test_a_rule_that_does_not_match_approves_nothing(rig):
    rules = [
        NewApprovalRule("off", 9, is_enabled=False),
        NewApprovalRule("elsewhere", 9, "dc2"),
        NewApprovalRule("other model", 9, model="PowerEdge"),
        NewApprovalRule("three disks", 9, disk_count=3),
        NewApprovalRule("tagged", 9, tags={"rack": "a1"}),
    ]
    for number, rule in enumerate(rules):
        await rig.approvals.create_rule(rule, ALICE, f"r{number}")
    await reported(rig)
    await rig.settle()
    assert (await rig.task()).status is S.PENDING_APPROVAL


async def test_no_rule_writes_over_what_a_person_must_name(rig):
    await rig.approvals.create_rule(NewApprovalRule("all", 9), ALICE, "r1")
    await reported(rig, disks=(CEPH,))
    await rig.settle()
    assert (await rig.task()).status is S.PENDING_APPROVAL
    assert (await rig.approvals.get_rule("r1")).used == 0


async def test_rules_that_cannot_be_are_refused(rig):
    for body in (NewApprovalRule("", 1), NewApprovalRule("x", 0), NewApprovalRule("x", 1, "DC!")):
        with pytest.raises(Invalid):
            await rig.approvals.create_rule(body, ALICE, "r1")


# --- what happens by itself -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "seconds", "after", "code"),
    [
        (S.PENDING, 7 * 86_400 + 1, S.NEEDS_OPERATOR, "deadline_pending"),
        (S.BOOTING, 901, S.NEEDS_OPERATOR, "deadline_booting"),
        (S.PENDING_APPROVAL, 86_401, S.NEEDS_OPERATOR, "deadline_pending_approval"),
        (S.INSTALLING, 901, S.NEEDS_OPERATOR, "deadline_installing"),
        (S.COMPLETED, 901, S.NEEDS_OPERATOR, "no_call_home"),
    ],
)
async def test_every_status_has_a_deadline(rig, status, seconds, after, code):
    await rig.store.grant(600)
    async with a_region(rig.store, clock=rig.clock) as region:
        await rig.tasks.create(ORDER, ALICE)
        await rig.agents.boot(*KEY, by="region:dc1") if status is not S.PENDING else None
        agent = agent_of(rig)
        if status not in {S.PENDING, S.BOOTING}:
            await agent.report()
        if status in {S.INSTALLING, S.COMPLETED}:
            await rig.tasks.approve(KEY, CALL, ALICE)
            task = await agent.begin()
            await agent.end(task) if status is S.COMPLETED else None
        assert (await rig.task()).status is status
        rig.clock.jump(seconds - 2)
        await region.beat()
        await rig.settle()
        assert (await rig.task()).status is status
        rig.clock.jump(3)
        rig.clock._monotonic_s += 31  # the region is heard for a while
        await region.beat()
        await rig.settle()
    task = await rig.task()
    assert (task.status, task.reason.code) == (after, code)


async def test_an_agent_that_goes_silent_in_the_middle_calls_an_operator(rig):
    async with a_region(rig.store, clock=rig.clock) as region:
        agent = await approved(rig)
        await rig.agents.begin(IDC, begins(await agent.begin()))
        rig.clock.advance(1)
        await agent.leave()
        await rig.settle()
        assert (await rig.task()).status is S.INSTALLING, "its region may be going, too"
        await region.beat()
        await rig.settle()
    assert (await rig.task()).reason.code == "agent_gone"
    assert (await rig.task()).status is S.NEEDS_OPERATOR


async def test_an_agent_that_gave_its_machine_to_an_installer_may_go(rig):
    async with a_region(rig.store, clock=rig.clock) as region:
        agent = await approved(rig)
        task = await agent.begin()
        await rig.agents.begin(IDC, begins(task, "start-installer"))
        await rig.agents.complete(IDC, completes(task, "start-installer", hands_over=True))
        rig.clock.advance(1)
        await agent.leave()
        await region.beat()
        await rig.settle()
        task = await rig.task()
        assert (task.status, task.reason, task.handed_over_at) == (S.INSTALLING, None, task.updated_at)
        rig.clock.jump(INSTALLER_S + 1)
        rig.clock._monotonic_s += 31  # the region is heard for a while
        await region.beat()
        await rig.settle()
    assert (await rig.task()).reason.code == "installer_silent"


async def test_an_agent_that_goes_silent_before_it_wrote_is_waited_for(rig):
    async with a_region(rig.store, clock=rig.clock) as region:
        agent = await approved(rig)
        await agent.begin()
        rig.clock.advance(1)
        await agent.leave()
        await region.beat()
        await rig.settle()
        task = await rig.task()
        assert (task.status, task.reason.code) == (S.INSTALLING, "agent_silent")
        back = agent_of(rig, boot="boot-2")
        assert (await back.report()).task.reason is None
        await rig.settle()
        assert (await back.begin()).fence == 2


@pytest.mark.parametrize("journal_entries", [None, 3])
async def test_a_region_that_is_not_heard_or_still_has_to_tell_keeps_its_tasks(rig, journal_entries):
    async with a_region(rig.store, clock=rig.clock) as region:
        agent = await approved(rig)
        await rig.agents.begin(IDC, begins(await agent.begin()))
        rig.clock.advance(1)
        if journal_entries is None:
            await region.fall_silent()
        await agent.leave()
        if journal_entries:
            await region.beat(journal_entries)
        rig.clock.jump(10_000)
        rig.clock._monotonic_s += 100
        await rig.settle()
        assert (await rig.task()).status is S.INSTALLING
        assert (await rig.sites.list_idcs(ListQuery(), ALICE)).items[0].is_alive is (journal_entries is not None)


async def test_what_a_cut_off_region_tells_later_is_taken(rig):
    async with a_region(rig.store, clock=rig.clock) as region:
        agent = await approved(rig)
        task = await agent.begin()
        await region.fall_silent()
        await agent.leave()
        rig.clock.jump(10_000)
        await rig.settle()
        await agent.write(task)
        assert (await agent.end(task)).status is S.COMPLETED


# --- enrolments -------------------------------------------------------------------------------------------------------
async def test_the_enrolment_is_sealed_to_the_boot_that_was_approved(rig):
    agent = await approved(rig)
    task = await agent.begin()
    enrolment = agent.open_enrolment(task)
    assert (enrolment.master_url, enrolment.labels) == ("https://m:8443", {"idc": IDC, "sn": SN})
    assert enrolment.join_token.split(".")[2] == task.enrolment_id
    assert enrolment.join_token not in msgspec.json.encode(task).decode()
    with pytest.raises(Invalid):
        agent_of(rig).open_enrolment(task)
    shown = msgspec.json.encode(await rig.tasks.get(KEY, ALICE)).decode()
    assert "sealed" not in shown


async def test_it_is_sealed_anew_for_the_next_boot(rig):
    first = await approved(rig)
    old = first.open_enrolment(await rig.task())
    await first.leave()
    second = agent_of(rig, boot="boot-2")
    assert (await second.report()).task.sealed_enrolment == ""
    with pytest.raises(NotAllowed) as refused:
        await second.begin()
    assert reason_of(refused) == "not_sealed"
    await rig.settle()
    assert second.open_enrolment(await second.begin()).join_token != old.join_token
    await rig.settle()
    assert (await rig.tokens.list_page(ListQuery())).total == 1


@pytest.mark.parametrize("how", ["failed", "cancelled", "deleted"])
async def test_an_ended_installation_leaves_no_way_in(rig, how):
    agent = await approved(rig)
    if how == "failed":
        await agent.end(await agent.begin(), "failed")
    else:
        await rig.tasks.cancel(KEY, WhyBody(), ALICE)
    if how == "deleted":
        await rig.tasks.delete(KEY, ALICE)
    await rig.settle()
    await rig.settle()
    assert (await rig.tokens.list_page(ListQuery())).total == 0


async def test_the_new_system_is_known_when_it_calls_home(rig):
    agent = await approved(rig)
    task = await agent.end(await agent.begin())
    rig.enrolled[task.enrolment_id] = "node_1"
    await rig.settle()
    home = await rig.task()
    assert (home.node_id, home.deadline_at, home.status) == ("node_1", None, S.COMPLETED)
    rig.clock.jump(10_000)
    await rig.settle()
    assert (await rig.task()).status is S.COMPLETED


# --- acts, lists, scope -----------------------------------------------------------------------------------------------
async def test_an_act_is_recorded_and_a_refused_one_changes_nothing(rig):
    await rig.tasks.create(ORDER, ALICE)
    before = await rig.task()
    for act in (rig.tasks.reject, rig.tasks.retry):
        with pytest.raises(NotAllowed):
            await act(KEY, WhyBody(), ALICE)
    with pytest.raises(NotAllowed):
        await rig.tasks.approve(KEY, CALL, ALICE)
    with pytest.raises(Conflict):
        await rig.tasks.create(ORDER, ALICE)
    assert await rig.task() == before
    await agent_of(rig).report()
    assert (await rig.tasks.reject(KEY, WhyBody("not this one"), ALICE)).reason.message == "not this one"
    assert (await rig.tasks.retry(KEY, WhyBody(), ALICE)).attempt == 2
    await rig.tasks.cancel(KEY, WhyBody(), ALICE)
    await rig.tasks.delete(KEY, ALICE)
    with pytest.raises(NotFound):
        await rig.tasks.get(KEY, ALICE)
    acts = ["create", "reject", "retry", "cancel", "delete"]
    assert await rig.actions() == [f"task.{act} done" for act in acts]


async def test_a_cancel_in_the_middle_waits_for_the_agent(rig):
    agent = await approved(rig)
    task = await agent.begin()
    await rig.agents.begin(IDC, begins(task))
    asked = await rig.tasks.cancel(KEY, WhyBody(), ALICE)
    assert (asked.status, asked.is_cancel_asked) == (S.INSTALLING, True)
    await rig.agents.complete(IDC, completes(task))
    with pytest.raises(NotAllowed):
        await rig.agents.begin(IDC, begins(task, "next"))
    assert (await agent.end(task, "cancelled")).status is S.CANCELLED


async def test_a_dry_run_tells_the_steps_and_does_nothing(rig):
    await reported(rig)
    before = await rig.task()
    shown = await rig.tasks.dry_run(KEY, DryRunBody(), ALICE)
    assert shown.disks == ("DISK1",)
    assert any(step.is_destructive and step.disks == ("DISK1",) for step in shown.steps)
    assert await rig.task() == before


async def test_many_orders_are_taken_whole_or_not_at_all(rig):
    rows = [{"idc": IDC, "sn": f"sn-{n}", "mac": f"00:1a:2b:00:00:0{n}", "os_type": "Debian 12"} for n in range(3)]
    bad = {"idc": IDC, "sn": "sn-9", "mac": "zz", "os_type": "Debian 12"}
    looked = await rig.tasks.create_many(BulkOrder([*rows, bad], dry_run=True), ALICE)
    assert (looked.created, [(one.row, one.field) for one in looked.problems]) == (3, [(4, "mac")])
    with pytest.raises(Invalid):
        await rig.tasks.create_many(BulkOrder([*rows, bad]), ALICE)
    assert (await rig.tasks.list_page(TaskQuery(), ALICE)).total == 0
    assert (await rig.tasks.create_many(BulkOrder(rows), ALICE)).created == 3
    assert (await rig.sites.list_servers(IDC, ListQuery(), ALICE)).total == 3
    again = await rig.tasks.create_many(BulkOrder(rows, dry_run=True), ALICE)
    assert [fault.row for fault in again.problems] == [1, 2, 3]


async def test_lists_are_sorted_searched_and_cut(rig):
    for number, idc in enumerate((IDC, IDC, "dc2")):
        await rig.tasks.create(msgspec.structs.replace(ORDER, idc=idc, sn=f"sn-{number}"), ALICE)
    page = await rig.tasks.list_page(TaskQuery(sort="-sn", limit=2), ALICE)
    assert ([row.sn for row in page.items], page.total) == (["sn-2", "sn-1"], 3)
    assert (await rig.tasks.list_page(TaskQuery(q="SN-1"), ALICE)).total == 1
    assert (await rig.tasks.list_page(TaskQuery(idc="dc2", status="pending,failed"), ALICE)).total == 1
    for query in (TaskQuery(sort="nothing"), TaskQuery(status="asleep")):
        with pytest.raises(Invalid):
            await rig.tasks.list_page(query, ALICE)
    stats = await rig.sites.all_stats(ALICE)
    assert (stats.pending, stats.total, stats.idcs["dc2"].pending) == (3, 3, 1)


async def test_a_scope_sees_its_own_data_centre(rig):
    await rig.tasks.create(ORDER, ALICE)
    await rig.tasks.create(msgspec.structs.replace(ORDER, idc="dc2"), NORTH)
    assert [row.idc for row in (await rig.tasks.list_page(TaskQuery(), NORTH)).items] == ["dc2"]
    assert [view.idc for view in (await rig.sites.list_idcs(ListQuery(), NORTH)).items] == ["dc2"]
    assert list((await rig.sites.all_stats(NORTH)).idcs) == ["dc2"]
    with pytest.raises(Forbidden):
        await rig.tasks.create(msgspec.structs.replace(ORDER, sn="sn-2"), NORTH)
    for look in (
        rig.tasks.get(KEY, NORTH),
        rig.tasks.cancel(KEY, WhyBody(), NORTH),
        rig.tasks.approve(KEY, CALL, NORTH),
        rig.sites.list_servers(IDC, ListQuery(), NORTH),
        rig.sites.get_machine(IDC, SN, NORTH),
        rig.sites.stats(IDC, NORTH),
        rig.sites.change_settings(IDC, SettingsPatch(name="x"), NORTH),
    ):
        with pytest.raises(NotFound):
            await look


async def test_unmatched_machines_wait_and_are_forgotten(rig):
    await agent_of(rig).report()
    await rig.settle()
    found = (await rig.sites.list_unmatched("", ListQuery(), ALICE)).items
    assert [(one.sn, one.macs, one.is_agent_alive) for one in found] == [(SN, (MAC,), True)]
    await rig.sites.forget_unmatched(IDC, SN, ALICE)
    await rig.settle()
    assert (await rig.sites.list_unmatched(IDC, ListQuery(), ALICE)).total == 0


async def test_settings_that_cannot_be_are_refused(rig):
    bad = (SettingsPatch(max_installs=-1), SettingsPatch(master_url="ftp://x"), SettingsPatch(protected_serials=("",)))
    for patch in bad:
        with pytest.raises(Invalid):
            await rig.sites.change_settings(IDC, patch, ALICE)

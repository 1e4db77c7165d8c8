"""What goes wrong while machines are installed: processes killed, a store that is away, machines that are not what they
were. Real programs, played machines; every write to a disk is counted outside the product (trust P2 to P8, P12)."""

import contextlib
import json
import random
import signal
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from tests.fakes.etcd import NEEDS_ETCD, make_members, words_of
from tests.fakes.fleet import ApiError, until
from tests.fakes.played import SLOW, PlayedSite, why_not

pytestmark = [pytest.mark.skipif(bool(why_not()), reason=why_not()), pytest.mark.timeout(300)]
ROAD = ["pending", "pending_approval", "approved", "installing", "completed"]
STEPS = ["wipe", "write-image", "grow-root"]
LEASE_IS_OVER_S = 60.0  # 30 s, and the time until somebody notices


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """One data centre for faults that concern a single machine."""
    with PlayedSite(tmp_path_factory.mktemp("site")) as running:
        running.start()
        yield running


def check_ended_right(machine):
    """One attempt, one approval, each step begun and done once, each byte written once."""
    machine.check_written_once()
    task = machine.task()
    assert [change["status"] for change in task["status_history"] if change["status"] != "booting"] == ROAD
    assert (task["attempt"], task["fence"]) == (1, 1)
    assert [intent["step"] for intent in task["intents"]] == STEPS
    moments = [moment_of(intent[name]) for intent in task["intents"] for name in ("begun_at", "done_at")]
    assert moments == sorted(moments)
    told = {step["step"]: step["percent"] for step in task["progress"] if step["step"] != "begin"}
    assert set(told.values()) == {100.0}
    begun = [line.split(":")[0].removeprefix("== ") for line in machine.log() if line.startswith("== ")]
    assert list(dict.fromkeys(begun)) == list(told)  # a line may be told twice
    return task


def moment_of(text):
    return datetime.fromisoformat(text)


# --- the store is away ------------------------------------------------------------------------------------------------
def store_goes_away(folder, away_s):
    """Kill the master, and the store with it, in the middle of an installation; bring it back after `away_s`."""
    with PlayedSite(folder) as site:
        site.start()
        machine, other = site.order("SN-AWAY"), site.order("SN-LATE")
        machine.power_on()
        machine.wait("pending_approval")
        site.vip.bytes_per_s = SLOW
        machine.approve()
        machine.wait_writing()
        site.stop("master", signal.SIGKILL)
        killed_s = time.monotonic()
        site.wait_role("cut_off")
        other.power_on()
        site.vip.bytes_per_s = 0
        until(machine.has_restarted, "the approved installation ends without the store", 30)
        assert site.health()["journal_entries"] > 0
        until(lambda: time.monotonic() - killed_s > away_s, f"{away_s} s are over", away_s + 1)
        other.check_never_written()
        back_at = datetime.now(UTC)
        site.start_master()
        machine.wait("completed")
        task = check_ended_right(machine)
        assert max(moment_of(intent["done_at"]) for intent in task["intents"]) < back_at
        until(lambda: site.health()["journal_entries"] == 0, "everything is told")
        assert site.health()["journal_refused"] == 0
        other.wait("pending_approval")


def test_an_approved_installation_ends_while_the_store_is_away_and_is_told_in_order(tmp_path):
    store_goes_away(tmp_path, 5.0)


@pytest.mark.long
def test_a_minute_without_the_store_outlasts_every_lease(tmp_path):
    store_goes_away(tmp_path, 60.0)


@pytest.mark.long
def test_the_active_client_is_killed_where_each_has_an_address_of_its_own(tmp_path):
    """The machine booted by the first one's address alone: of the second it hears while it is at work."""
    with PlayedSite(tmp_path, is_shared=False) as site:
        site.start("one", "two")
        machine = site.approved("SN-TWO-HOSTS")
        for vip in site.vips.values():
            vip.bytes_per_s = SLOW
        machine.wait_writing()
        site.stop("one", signal.SIGKILL)
        site.wait_role("active", name="two")
        for vip in site.vips.values():
            vip.bytes_per_s = 0
        machine.wait("completed")
        check_ended_right(machine)
        until(machine.has_restarted, "the machine restarts by what the second one said", 30)
        assert f"{site.vips['one'].url} is not heard: {site.vips['two'].url} is asked now" in site.log(machine.program)


# --- the store is a cluster -------------------------------------------------------------------------------------------
def leader_of(members):
    """Return the member that leads now."""

    def leader():
        for member in members:
            if member.process is not None and (status := status_of(member)) and status["leader"] == status["id"]:
                return member
        return None

    return until(leader, "the cluster has a leader")


def status_of(member):
    request = urllib.request.Request(f"{member.url}/v3/maintenance/status", data=b"{}", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            told = json.load(answer)
    except OSError:
        return None
    return {"leader": told.get("leader"), "id": told["header"]["member_id"]}


@contextlib.contextmanager
def cluster(folder):
    members = make_members(folder, 3)
    with contextlib.ExitStack() as stack:
        for member in members:
            stack.callback(member.kill)
            member.start(words_of(members))
        for member in members:
            member.wait_ready()
        yield members


def approve_until_done(machine):
    """Approve as somebody does who asks again while nobody answers; return how often that was."""
    for tries in range(1, 100):
        with contextlib.suppress(ApiError, OSError):
            machine.approve()
        with contextlib.suppress(ApiError, OSError):
            if machine.task()["status"] != "pending_approval":
                return tries
        time.sleep(0.1)
    raise AssertionError(f"nobody takes the approval of {machine.sn}")


@pytest.mark.long
@NEEDS_ETCD
def test_the_leader_of_the_store_is_killed_in_the_middle_of_an_installation_and_of_approvals(tmp_path):
    dice = random.Random(17)
    with (
        cluster(tmp_path) as members,
        PlayedSite(tmp_path, [member.url for member in members]) as site,
        ThreadPoolExecutor(1) as somebody,
    ):
        site.start()
        machines = [site.order(f"SN-{number}") for number in range(5)]
        for machine in machines:
            machine.power_on()
        for machine in machines:
            machine.wait("pending_approval")
        site.vip.bytes_per_s = SLOW // 8
        machines[0].approve()
        machines[0].wait_writing()
        for machine in machines[1:]:
            killed = leader_of(members)
            approving = somebody.submit(approve_until_done, machine)
            time.sleep(dice.uniform(0.0, 0.04))
            killed.kill()
            approving.result(60)
            machine.wait("approved", "installing")
            killed.start(words_of(members))
            killed.wait_ready()
        assert machines[0].task()["status"] == "installing"
        site.vip.bytes_per_s = 0
        for machine in machines:
            machine.wait("completed")
            task = check_ended_right(machine)
            until(lambda machine=machine: machine.task()["node_id"], f"{task['sn']} called home")


# --- the regional client is killed ------------------------------------------------------------------------------------
@pytest.mark.long
def test_a_client_killed_at_ten_moments_is_taken_over_each_time_and_nothing_is_lost(tmp_path):
    dice, names = random.Random(23), ["region-a", "region-b"]
    with PlayedSite(tmp_path) as site, ThreadPoolExecutor(1) as killer:
        site.start(*names)
        machines = [site.order(f"SN-{number}") for number in range(3)]
        epoch = site.health(names[0])["epoch"]

        def kill_again_and_again():
            for turn in range(10):
                active, standby = names if turn % 2 == 0 else names[::-1]
                time.sleep(dice.uniform(0.0, 2.5))
                site.stop(active, signal.SIGKILL)
                site.vip.target = site.regions[standby]
                site.wait_role("active", name=standby)
                site.start_region(active)
                site.wait_role("standby", name=active)

        site.vip.bytes_per_s = SLOW // 16
        killing = killer.submit(kill_again_and_again)
        for machine in machines:
            machine.power_on()
        for machine in machines:
            machine.wait("pending_approval")
            machine.approve()
        killing.result(240)
        assert {machine.task()["status"] for machine in machines} == {"installing"}
        site.vip.bytes_per_s = 0
        for machine in machines:
            machine.wait("completed")
            check_ended_right(machine)
            until(lambda machine=machine: machine.task()["node_id"], f"{machine.sn} called home")
        last = site.health(names[0])
        assert (last["epoch"], last["journal_entries"], last["journal_refused"]) == (epoch + 10, 0, 0)


# --- machines that are not what they were -----------------------------------------------------------------------------
def refused(machine, *disks, **body):
    with pytest.raises(ApiError) as told:
        machine.approve(*disks, **body)
    return told.value.status, told.value.body["details"]["reason"]


@pytest.mark.long
def test_other_disks_than_the_machine_has_are_never_approved(site):
    machine = site.order("SN-WRONG")
    machine.power_on()
    machine.wait("pending_approval")
    assert refused(machine, "SN-OTHER-sda") == (422, "disk_unknown")
    assert refused(machine, "sda") == (422, "disk_unknown")
    assert refused(machine, inventory_hash="0" * 64) == (409, "inventory_changed")
    assert machine.task()["status"] == "pending_approval"
    machine.check_never_written()
    machine.cut_power()


@pytest.mark.long
def test_a_disk_that_changed_between_approval_and_installation_is_looked_at_anew(site):
    machine = site.order("SN-CHANGED")
    machine.power_on()
    machine.wait("pending_approval")
    looked_at = machine.machine()["inventory_hash"]
    machine.cut_power()
    site.stop("region")  # else what the dead agent asked last is answered: install
    machine.approve(inventory_hash=looked_at)
    site.start_region()
    machine.power_on("128MiB")
    task = machine.wait("pending_approval", within_s=LEASE_IS_OVER_S)
    assert (task["reason"]["code"], task["approval"]) == ("inventory_changed", None)
    assert refused(machine, inventory_hash=looked_at) == (409, "inventory_changed")
    machine.check_never_written()
    machine.cut_power()


@pytest.mark.long
def test_two_machines_of_one_serial_number_are_both_kept_from_their_disks(site):
    waiting, writing = site.order("SN-TWO-W"), site.order("SN-TWO-I")
    for machine in (waiting, writing):
        machine.power_on()
        machine.wait("pending_approval")
    site.vip.bytes_per_s = SLOW // 8
    try:
        writing.approve()
        writing.wait_writing()
        twins = [site.twin(machine) for machine in (waiting, writing)]
        for twin in twins:
            twin.power_on()
        for machine in (waiting, writing):
            task = machine.wait("needs_operator")
            assert task["reason"]["code"] == "two_agents"
            assert machine.machine()["quarantined"] == "two_agents"
        until(lambda: "!! " in site.log(writing.program), "the writer stops")
        written = writing.writes()
        for machine in (waiting, writing):
            assert refused(machine) == (409, "quarantined")
    finally:
        site.vip.bytes_per_s = 0
    assert writing.writes() == written
    waiting.check_never_written()
    for twin in twins:
        twin.check_never_written()
    for machine in (waiting, writing, *twins):
        machine.cut_power()


@pytest.mark.long
def test_an_agent_killed_between_intent_and_done_leaves_it_to_an_operator(site):
    silent, returning = site.order("SN-SILENT"), site.order("SN-RETURNS")
    for machine in (silent, returning):
        machine.power_on()
        machine.wait("pending_approval")
    site.vip.bytes_per_s = SLOW // 2
    try:
        for machine in (silent, returning):
            machine.approve()
        for machine in (silent, returning):
            machine.wait_writing()
            machine.cut_power()
    finally:
        site.vip.bytes_per_s = 0
    returning.power_on()
    for machine, code in ((silent, "agent_gone"), (returning, "interrupted")):
        task = machine.wait("needs_operator", within_s=LEASE_IS_OVER_S)
        assert task["reason"]["code"] in {code, "agent_gone"}
        assert [intent["step"] for intent in task["intents"] if not intent.get("done_at")] == ["write-image"]
    silent.power_on()
    for machine in (silent, returning):
        until(lambda machine=machine: reported(site, machine), f"{machine.sn} reported again", LEASE_IS_OVER_S)
        assert machine.writes(boot=2) == []
        assert machine.task()["status"] == "needs_operator"
        machine.cut_power()


def reported(site, machine):
    """Whether its second boot was listened to."""
    return site.log(machine.program).count("reported as") >= 2

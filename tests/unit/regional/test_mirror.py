"""The picture of a data centre."""

import asyncio

import msgspec

from ops_system.kv.base import KeyValue
from ops_system.model.machines import AgentLease, Machine
from ops_system.model.tasks import TaskStatus
from ops_system.provision.keys import MachineKeys
from ops_system.provision.regions import RegionSettings
from ops_system.regional.boot.gate import Asks
from ops_system.regional.mirror import KEPT_TOGETHER, Mirror
from tests.fakes.provision import MAC, SN, a_task

KEYS = MachineKeys("dc1", SN)


def kv(key, value, revision=1, lease=0):
    return KeyValue(key, revision, revision, 1, msgspec.json.encode(value), lease)


def a_mirror():
    mirror = Mirror("dc1")
    machine = Machine("dc1", SN, uuid="ABC", macs=("02:00:00:00:00:09",))
    mirror.replace_all(1, [kv(KEYS.task, a_task()), kv(KEYS.meta, machine)])
    return mirror


def test_a_machine_is_found_by_serial_number_uuid_and_every_card():
    mirror = a_mirror()
    for asks in (Asks(sn=SN), Asks(uuid="abc"), Asks(mac=MAC), Asks(mac="02:00:00:00:00:09")):
        assert mirror.find(asks).sn == SN
    assert mirror.find(Asks(mac="02:00:00:00:00:01")).sn == "" == mirror.find(Asks(sn="other")).sn


def test_what_is_older_than_what_is_known_is_ignored():
    mirror = a_mirror()
    done = msgspec.structs.replace(a_task(), status=TaskStatus.COMPLETED)
    mirror.see(kv(KEYS.task, done, 5))
    mirror.see(kv(KEYS.task, a_task(), 4))
    assert mirror.task(SN).status is TaskStatus.COMPLETED
    mirror.see(KeyValue(KEYS.task, mod_revision=6), is_delete=True)
    mirror.see(kv(KEYS.task, done, 5))
    assert mirror.task(SN) is None


def test_what_is_told_of_our_own_write_is_not_read_and_what_others_wrote_after_it_is():
    mirror = a_mirror()
    ours = msgspec.structs.replace(a_task(), status=TaskStatus.COMPLETED)
    theirs = msgspec.structs.replace(a_task(), status=TaskStatus.FAILED)
    with mirror.holding([KEYS.task]):
        mirror.see(KeyValue(KEYS.task, 1, 5, 1, b"cannot be read"))
        assert mirror.task(SN).status is TaskStatus.PENDING
        mirror.see_task(ours, 5)
    assert mirror.task(SN) is ours
    with mirror.holding([KEYS.task]):
        mirror.see(kv(KEYS.task, ours, 6))
        mirror.see(kv(KEYS.task, theirs, 7))
        mirror.see_task(ours, 6)
    assert mirror.task(SN).status is TaskStatus.FAILED
    with mirror.holding([KEYS.task]):
        mirror.see(KeyValue(KEYS.task, mod_revision=8), is_delete=True)
    assert mirror.task(SN) is None, "our write lost; what was told meanwhile counts"


def test_a_new_list_forgets_what_is_not_in_it():
    mirror = a_mirror()
    mirror.replace_all(9, [])
    assert mirror.task(SN) is None
    assert mirror.find(Asks(mac=MAC)).sn == ""


def test_what_cannot_be_read_is_no_task():
    mirror = a_mirror()
    mirror.see(KeyValue(KEYS.task, 1, 7, 1, b"{}"))
    assert mirror.task(SN) is None


def test_keys_of_others_are_none_of_ours():
    mirror = a_mirror()
    mirror.see(kv(MachineKeys("dc2", "other").task, a_task("other", "dc2"), 3))
    assert mirror.task("other") is None


def test_what_was_done_here_stands_above_until_the_store_knows():
    mirror = a_mirror()
    mirror.set_local(msgspec.structs.replace(a_task(), status=TaskStatus.COMPLETED))
    assert mirror.find(Asks(mac=MAC)).task.status is TaskStatus.COMPLETED
    mirror.drop_local(SN)
    assert mirror.task(SN).status is TaskStatus.PENDING


async def test_only_who_waits_for_a_machine_is_woken():
    mirror = a_mirror()
    here, there = mirror.news_of(SN), mirror.news_of("other")
    mirror.see(kv(KEYS.lease, AgentLease("boot", "ab"), 3, 77))
    assert here.is_set()
    assert not there.is_set()
    assert mirror.seat(SN).lease_id == 77
    async with asyncio.timeout(1):
        mirror.set_settings(None)
        await there.wait()


def test_the_picture_on_the_disk_is_what_boots_an_agent():
    mirror = a_mirror()
    kept = list(mirror.keep())
    later = Mirror("dc1")
    later.load(kept)
    assert later.find(Asks(uuid="abc")).task.task_id == a_task().task_id
    mirror.see(kv(KEYS.task, msgspec.structs.replace(a_task(), status=TaskStatus.COMPLETED), 5))
    assert [part.tasks for part in mirror.keep()] == [()]


def test_a_large_picture_is_kept_in_parts():
    mirror, later = Mirror("dc1"), Mirror("dc1")
    names = [f"sn-{number}" for number in range(2 * KEPT_TOGETHER + 1)]
    mirror.replace_all(1, [kv(MachineKeys("dc1", sn).task, a_task(sn)) for sn in names])
    mirror.set_settings(msgspec.json.encode(RegionSettings(max_installs=7)))
    parts = list(mirror.keep())
    assert [len(part.tasks) for part in parts] == [KEPT_TOGETHER, KEPT_TOGETHER, 1]
    later.load(parts)
    assert {task.sn for task in later.tasks()} == set(names)
    assert later.settings.max_installs == 7


def test_an_own_write_is_no_news_when_the_watch_tells_it():
    mirror = a_mirror()
    moved = msgspec.structs.replace(a_task(), status=TaskStatus.BOOTING)
    mirror.see_task(moved, 7)
    news = mirror.news_of(SN)
    mirror.see(kv(KEYS.task, moved, 7))
    assert mirror.task(SN) is moved
    assert not news.is_set()
    mirror.see_task(a_task(), 6)
    assert mirror.task(SN) is moved

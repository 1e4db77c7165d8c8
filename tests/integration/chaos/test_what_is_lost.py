"""State, disk, boot and process numbers taken from under the worker: no second copy, no foreign process touched."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from ops_system.model.instances import Desired, State
from tests.fakes.chaos import NOTE, STEADY, open_node
from tests.fakes.worker import eventually

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and process numbers are root's to give")


async def until_started(node, spec, count=1):
    await eventually(lambda: len(node.starts(spec)) >= count)
    assert len(node.starts(spec)) == count
    return node.starts(spec)[-1]


async def test_with_the_state_folder_gone_what_runs_is_found_again(tmp_path):
    async with open_node(tmp_path) as node:
        await node.start()
        services = [node.service(f"s{number}") for number in range(3)]
        for spec in services:
            node.tell(spec)
        await node.settle()
        pids = [await until_started(node, spec) for spec in services]
        await node.kill()
        shutil.rmtree(node.work_dir / "state")
        node.master.events.clear()
        await node.start()
        await node.settle()
        node.check_picture()
        assert [node.master.reports[spec.instance_id].pid for spec in services] == pids
        await node.wish(node.again(services[0], Desired.STOPPED))
        await node.wish(node.again(services[1], is_restart=True))
        await until_started(node, services[1], 2)
        node.check_picture()
    assert [len(node.starts(spec)) for spec in services] == [1, 2, 1]


async def test_with_the_keeper_gone_services_go_on_and_are_watched(tmp_path):
    async with open_node(tmp_path) as node:
        await node.start()
        spec = node.service("web")
        await node.wish(spec)
        pid = await until_started(node, spec)
        (keeper,) = node.keepers()
        os.kill(keeper, signal.SIGKILL)
        await node.kill()
        await node.start()
        await node.settle()
        assert node.master.reports[spec.instance_id].pid == pid
        assert node.starts(spec) == [pid]
        os.kill(pid, signal.SIGKILL)
        assert await until_started(node, spec, 2) != pid


@pytest.mark.root
@needs_root
async def test_a_full_disk_starts_nothing_twice_and_heals_by_itself(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        async with open_node(tmp_path) as node:
            node.work_dir = disk / "w"
            await node.start()
            steady, busy = node.service("steady"), node.service("busy")
            for spec in (steady, busy):
                await node.wish(spec)
            before = [await until_started(node, spec) for spec in (steady, busy)]
            fill(disk / "ballast")
            await node.kill()
            await node.start()
            await node.settle()
            assert [node.master.reports[spec.instance_id].pid for spec in (steady, busy)] == before
            node.tell(node.again(busy, is_restart=True))
            fresh = node.service("fresh")
            node.tell(fresh)
            await node.master.until(lambda: reason_of(node, fresh) == "storage_full")
            os.kill(before[0], signal.SIGKILL)  # restarts go on without the disk
            await until_started(node, steady, 2)
            (disk / "ballast").unlink()
            await node.settle()
            for spec, count in ((steady, 2), (busy, 2), (fresh, 1)):
                await until_started(node, spec, count)
            node.check_picture()


@contextlib.contextmanager
def small_disk(folder):
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path):
    with path.open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(64 * 1024))
        except OSError:
            return


def reason_of(node, spec):
    report = node.master.reports.get(spec.instance_id)
    return report.reason.code if report and report.reason else None


@pytest.mark.root
@needs_root
async def test_another_boot_id_over_living_processes_makes_no_second_copy(tmp_path):
    async with open_node(tmp_path) as node:
        await node.start()
        spec = node.service("web")
        await node.wish(spec)
        pid = await until_started(node, spec)
        await node.kill()
        node.prefix = other_boot(tmp_path)
        await node.start()
        await node.settle()
        assert node.master.reports[spec.instance_id].pid == pid
        await node.wish(node.again(spec, Desired.STOPPED))
        assert node.alive(spec) == []
    assert node.starts(spec) == [pid]


@pytest.mark.root
@needs_root
async def test_after_a_boot_with_the_master_away_everything_comes_up_once_and_in_order(tmp_path):
    """The database takes its time, the application fails without it, an old service stays stopped."""
    db_up = tmp_path / "db-up"
    slow = f"#!/bin/sh\n{NOTE}sleep 0.5\ntouch {db_up}\nexec sleep 1000\n"
    needy = f"#!/bin/sh\ntest -e {db_up} || exit 3\n{NOTE}exec sleep 1000\n"
    is_up = {"type": "command", "target": f"/usr/bin/test -e {db_up}", "interval": "100ms"}
    async with open_node(tmp_path) as node:
        await node.start()
        db = node.service("db", slow, health=is_up, start_order=50)
        app = node.service("app", needy, depends_on=(db.instance_id,), start_order=10)
        old = node.service("old", STEADY)
        for spec in (db, app, old):
            await node.wish(spec)
        await node.wish(node.again(old, Desired.STOPPED))
        await until_started(node, app)
        await node.end_everything()
        db_up.unlink()
        port = node.master.port
        await node.master.stop()
        node.prefix = other_boot(tmp_path)
        await node.start(is_linked=False)
        for spec in (db, app):
            await until_started(node, spec, 2)
        assert node.order()[-2:] == ["db", "app"]
        assert len(node.starts(old)) == 1

        node.master.port = port
        await node.master.start()
        await node.master.until(lambda: len(node.master.snapshots) > 1, 30)
        await node.settle()
        await node.master.until(lambda: "waiting_for_dependency" in told_of(node, app), 30)
        node.check_picture(gaps=1)
        assert "exited" not in told_of(node, app)


def told_of(node, spec):
    return [event.reason.code for event in node.master.events if event.instance_id == spec.instance_id and event.reason]


def other_boot(folder: Path) -> tuple[str, ...]:
    """Return what to put before a program so that it sees another boot id (in a mount namespace of its own)."""
    fake = folder / "boot_id"
    fake.write_text("11111111-2222-3333-4444-555555555555\n")
    bind = f'mount --bind {fake} /proc/sys/kernel/random/boot_id && exec "$@"'
    return ("unshare", "-m", "sh", "-c", bind, "sh")


@pytest.mark.root
@needs_root
async def test_a_stranger_with_the_number_of_a_dead_service_is_left_alone(tmp_path):
    async with open_node(tmp_path) as node:
        await node.start()
        spec = node.service("web")
        await node.wish(spec)
        pid = await until_started(node, spec)
        await node.end_everything()
        for note in (node.work_dir / "state").rglob("exit"):
            note.unlink()  # only the identity is left to tell by
        with take_pid(pid) as stranger:
            await node.start()
            await node.settle()
            await until_started(node, spec, 2)
            assert node.master.reports[spec.instance_id].pid not in {pid, None}
            await node.wish(node.again(spec, Desired.STOPPED))
            assert node.master.reports[spec.instance_id].state is State.STOPPED
            assert stranger.poll() is None
            stranger.kill()


def take_pid(pid: int) -> subprocess.Popen:
    """Start a process that gets exactly this number (`ns_last_pid`, as CRIU does); others may be quicker, so try on."""
    for _ in range(500):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        taken = subprocess.Popen(["/bin/sleep", "1000"])
        if taken.pid == pid:
            return taken
        taken.kill()
        taken.wait()
    raise AssertionError(f"number {pid} could not be had")

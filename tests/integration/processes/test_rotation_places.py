"""Rotation on real file systems: those that can collapse, those that only punch, a full one, and under a flood."""

import asyncio
import contextlib
import importlib
import os
import random
import subprocess
import sys
import threading
import time

import pytest

from ops_system.model.ids import InstanceId
from ops_system.processes.logstate import backups
from ops_system.processes.rotate import OutputLog, RotateRules
from ops_system.runtime.tasks import running
from ops_system.worker.logs import InstanceLogs
from tests.fakes.logs import follow
from tests.fakes.outputs import everything, numbers_in, start_writer

MB = 1_000_000
ID = InstanceId("i1")


def run(*argv):
    subprocess.run(argv, check=True, capture_output=True)


@contextlib.contextmanager
def mounted(kind, folder, size_mb=400):
    """Mount a fresh file system at `folder`."""
    folder.mkdir()
    if kind == "tmpfs":
        run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "none", str(folder))
    else:
        image = folder.with_suffix(".img")
        with image.open("wb") as file:
            file.truncate(size_mb * MB)
        run(
            "mkfs.xfs" if kind == "xfs" else "mkfs.ext4",
            *(["-q", "-b", "1024"] if kind == "ext4" else ["-q"]),
            str(image),
        )
        run("mount", "-o", "loop", str(image), str(folder))
    try:
        yield folder
    finally:
        run("umount", str(folder))


needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.mark.root
@needs_mount
@pytest.mark.parametrize("kind", ["ext4", "xfs", "tmpfs"])
async def test_every_line_once_on(tmp_path, kind):
    with mounted(kind, tmp_path / "place") as place:
        path, count = place / "stdout.log", 200_000
        log = OutputLog(path)
        rules = RotateRules(max_size_bytes=MB // 2, max_backups=100, flood_factor=1000)
        followed = bytearray()

        async def follow_all():
            async for data in follow(log, 0):
                followed.extend(data)

        async with running(follow_all(), "follower"):
            writer = start_writer(path, count)
            done = await asyncio.to_thread(rotate_until_ended, log, rules, writer)
            async with asyncio.timeout(20):
                while len(followed) < count * 25:  # noqa: ASYNC110 - the follower has no end to wait for
                    await asyncio.sleep(0.01)
        assert len(done) >= 5
        assert not any(rotation.is_lossy for rotation in done)
        assert numbers_in(bytes(followed)) == list(range(count))
        assert numbers_in(everything(path)) == list(range(count))
        live_bytes = log.spans()[-1][1] - sum(rotation.archived_bytes for rotation in done)
        assert path.stat().st_blocks * 512 <= live_bytes + 64 * 1024
        assert (path.stat().st_size <= live_bytes + 64 * 1024) == (kind != "tmpfs")


def rotate_until_ended(log, rules, writer):
    """Rotate without a pause until the writer has ended and nothing is left to do."""
    pause, done = threading.Event(), []
    while writer.poll() is None:
        done.append(log.rotate(rules))
        pause.wait(0.002)
    while (rotation := log.rotate(rules)).archived_bytes:
        done.append(rotation)
    return [rotation for rotation in done if rotation.archived_bytes]


@pytest.mark.root
@needs_mount
def test_a_full_disk_costs_no_line_that_was_written(tmp_path):
    """The archive does not fit beside the file; once there is room again, rotation goes on."""
    with mounted("tmpfs", tmp_path / "place", size_mb=4) as place:
        path = place / "stdout.log"
        rules = RotateRules(max_size_bytes=MB, max_backups=3, compress=False)
        count = MB // 25
        assert start_writer(path, count).wait() == 0
        ballast = place / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        log = OutputLog(path)
        with pytest.raises(OSError, match="No space"):
            log.rotate(rules)
        assert numbers_in(path.read_bytes()) == list(range(count))
        assert backups(path) == []
        ballast.unlink()
        assert log.rotate(rules).archived_bytes == MB
        assert numbers_in(everything(path)) == list(range(count))


ROTATOR = """
import sys
from pathlib import Path
from ops_system.processes.rotate import OutputLog, RotateRules
log = OutputLog(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    log.rotate(RotateRules(max_size_bytes=100_000, max_backups=10_000, flood_factor=100_000))
"""


def killed_rotator(path, after_s):
    """Run a rotator and kill it by SIGKILL, `after_s` after it has begun."""
    rotator = subprocess.Popen([sys.executable, "-c", ROTATOR, str(path)], stdout=subprocess.PIPE)
    assert rotator.stdout.readline() == b"ready\n"
    time.sleep(after_s)
    rotator.kill()
    rotator.wait()
    rotator.stdout.close()


@pytest.mark.parametrize(("rounds", "count"), [(8, 30_000), pytest.param(60, 10_000, marks=pytest.mark.long)])
def test_workers_killed_at_any_moment_neither_lose_nor_double_a_line(tmp_path, rounds, count):
    path = tmp_path / "stdout.log"
    dice = random.Random(rounds)
    for number in range(rounds):
        writer = start_writer(path, count, first=number * count)
        killed_rotator(path, dice.uniform(0.0, 0.05))
        assert writer.wait() == 0
    log = OutputLog(path)
    assert log.spans() == [(0, rounds * count * 25)]
    rotate_until_done(log, RotateRules(max_size_bytes=100_000, max_backups=10_000, flood_factor=100_000))
    assert len(backups(path)) > rounds
    assert numbers_in(everything(path)) == list(range(rounds * count))


class PowerCut(BaseException):
    """Nothing that follows may run."""


@pytest.mark.root
@needs_mount
@pytest.mark.parametrize("step", ["rotate.save", "rotate._shift", "rotate.sync_dir", "holes.punch", "holes.collapse"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_power_cut_neither_loses_nor_doubles_a_line(tmp_path, monkeypatch, step, nth):
    """The power goes right after the step; what had reached the disk before is there once, in order."""
    with mounted("ext4", tmp_path / "place", size_mb=50) as place:
        path, count = place / "stdout.log", 40_000
        rules = RotateRules(max_size_bytes=MB // 4, max_backups=10, flood_factor=100)
        assert start_writer(path, count).wait() == 0
        run("sync", "-f", str(place))
        module, _, name = f"ops_system.processes.{step}".rpartition(".")
        real, calls = getattr(importlib.import_module(module), name), []

        def cutting(*args):
            result = real(*args)
            calls.append(args)
            if len(calls) == nth:
                run("xfs_io", "-x", "-c", "shutdown", str(place))
                raise PowerCut
            return result

        with monkeypatch.context() as patched:
            patched.setattr(f"{module}.{name}", cutting)
            with pytest.raises(PowerCut):
                rotate_until_done(OutputLog(path), rules)
        run("umount", str(place))
        run("mount", "-o", "loop", str(place.with_suffix(".img")), str(place))
        log = OutputLog(path)
        assert log.spans() == [(0, count * 25)]
        rotate_until_done(log, rules)
        assert log.spans() == [(0, count * 25)]
        assert numbers_in(everything(path)) == list(range(count))


def rotate_until_done(log, rules):
    while log.rotate(rules).archived_bytes:
        pass


FLOOD = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
block = b"".join(b"%09d and some words\\n" % number for number in range(40_000))
until = time.monotonic() + float(sys.argv[2])
total = 0
while time.monotonic() < until:
    started = time.monotonic()
    os.write(fd, block)
    total += len(block)
    time.sleep(max(0.0, len(block) / 200e6 - (time.monotonic() - started)))
print(total)
"""


def start_flood(path, seconds):
    return subprocess.Popen([sys.executable, "-c", FLOOD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True)


async def test_a_flood_stays_bounded_and_other_work_goes_on(tmp_path):
    """200 MB/s for three seconds: far more than is kept, and more than can be packed."""
    folder = tmp_path / "logs" / ID
    folder.mkdir(parents=True)
    said, most_bytes = [], 0
    logs = InstanceLogs(tmp_path, lambda _id: None, lambda _id, reason: said.append(reason.code))
    rules = RotateRules(max_size_bytes=20 * MB, max_backups=3)

    async def rotate():
        while True:
            await logs.rotate([ID], rules)
            await asyncio.sleep(0.1)

    flood = start_flood(folder / "stdout.log", 3)
    async with running(rotate(), "rotator"):
        while flood.poll() is None:
            async with asyncio.timeout(20.0):  # another service starts meanwhile; how soon is measured by bench_logs
                other = await asyncio.create_subprocess_exec("/bin/true")
                await other.wait()
            most_bytes = max(most_bytes, disk_bytes(folder))
            await asyncio.sleep(0.02)
    written_bytes = int(flood.communicate()[0])
    bound_bytes = (2 + rules.max_backups + 1) * rules.max_size_bytes
    assert written_bytes > 2 * bound_bytes
    assert most_bytes <= bound_bytes
    assert said == ["log_dropped"]
    lines = everything(folder / "stdout.log").splitlines()
    assert any(b"were dropped here" in line for line in lines)


def disk_bytes(folder):
    """Return what all files take; some go while one looks."""
    total = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_blocks * 512
    return total

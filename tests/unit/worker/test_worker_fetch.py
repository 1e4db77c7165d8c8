import asyncio
import contextlib
import errno
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import msgspec
import pytest

from ops_system.model.packages import PackageRef
from ops_system.processes.spec import PrepareFailed
from ops_system.runtime import archives
from ops_system.worker import cache, fetch
from ops_system.worker.config import PackagesConfig
from ops_system.worker.fetch import DEFAULTS, PackageStore
from ops_system.worker.transfer import Source
from tests.fakes.mastersend import MastersEnd
from tests.fakes.packages import SLEEPER, make_zip, service_json


def no_step(_step: str, _done: int, _total: int) -> None:
    pass


async def session_token() -> str:
    return "session"


def store(
    master: MastersEnd,
    work_dir: Path,
    token: Callable[[], Awaitable[str]] = session_token,
    limits: PackagesConfig = DEFAULTS,
    in_use: Callable[[], frozenset[str]] = frozenset,
) -> PackageStore:
    source = Source(lambda: aiohttp.ClientSession(master.url), token)
    return PackageStore(work_dir, source, master.signing_public_key, limits, in_use)


def add(master: MastersEnd, version: str = "1.0.0", name: str = "web", size: int = 10) -> PackageRef:
    manifest = service_json(name=name, version=version)
    return master.add_package(name, version, make_zip({"run.sh": SLEEPER, "blob": os.urandom(size)}, manifest))


async def test_two_instances_of_a_package_fetch_it_once(master: MastersEnd, tmp_path: Path) -> None:
    ref, packages = add(master), store(master, tmp_path)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(packages.ensure(ref, no_step))
        second = group.create_task(packages.ensure(ref, no_step))
    assert first.result() == second.result() == packages.folder(ref)
    assert len(master.ranges) == 1
    assert (packages.folder(ref) / "run.sh").read_text() == SLEEPER
    assert not list((tmp_path / "downloads").iterdir())


async def test_what_has_arrived_is_not_fetched_again(
    master: MastersEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_RETRY_S", 0.0)
    ref = add(master, size=2_000_000)
    master.cut_after = [500_000, 700_000]
    done: list[int] = []
    await store(master, tmp_path).ensure(
        ref, lambda step, have, _all: done.append(have) if step == "download" else None
    )
    assert len(master.ranges) == 3
    assert done == sorted(done)
    assert done[-1] == ref.size_bytes


async def test_a_wrong_rest_on_the_disk_is_thrown_away(
    master: MastersEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = add(master)
    part = tmp_path / "downloads" / f"{ref.sha256}.part"
    part.parent.mkdir()
    part.write_bytes(b"x" * 5)
    with pytest.raises(PrepareFailed, match="SHA-256") as failed:
        await store(master, tmp_path).ensure(ref, no_step)
    assert failed.value.reason.code == "verify_failed"
    assert not part.exists()
    assert not store(master, tmp_path).folder(ref).exists()
    await store(master, tmp_path).ensure(ref, no_step)


async def test_a_download_that_keeps_breaking_is_given_back_for_later(
    master: MastersEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_RETRY_S", 0.0)
    ref = add(master, size=100_000)
    master.cut_after = [10] * 20
    with pytest.raises(PrepareFailed) as failed:
        await store(master, tmp_path).ensure(ref, no_step)
    assert failed.value.reason.code == "download_failed"
    assert failed.value.retry


async def test_a_master_that_is_away_is_not_waited_for_without_end(
    master: MastersEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "LINK_WAIT_S", 0.01)

    async def never() -> str:
        await asyncio.Event().wait()
        return ""

    with pytest.raises(PrepareFailed, match="master is away") as failed:
        await store(master, tmp_path, never).ensure(add(master), no_step)
    assert failed.value.retry


async def test_a_package_the_master_no_longer_has_fails_for_good(master: MastersEnd, tmp_path: Path) -> None:
    ref = add(master)
    master.packages.clear()
    with pytest.raises(PrepareFailed, match="404") as failed:
        await store(master, tmp_path).ensure(ref, no_step)
    assert not failed.value.retry


@pytest.mark.parametrize(
    "change", [{"version": "1.0.1"}, {"size_bytes": 5}, {"sha256": "0" * 64}, {"signature": "AAAA"}, {"signature": "~"}]
)
async def test_only_what_the_pinned_master_signed_is_fetched(master: MastersEnd, tmp_path: Path, change: dict) -> None:
    forged = msgspec.structs.replace(add(master), **change)
    with pytest.raises(PrepareFailed, match="not signed") as failed:
        await store(master, tmp_path).ensure(forged, no_step)
    assert failed.value.reason.code == "verify_failed"
    assert master.ranges == []


async def test_a_zip_that_breaks_the_rules_is_not_unpacked(master: MastersEnd, tmp_path: Path) -> None:
    ref = master.add_package("web", "1.0.0", make_zip({"run.sh": SLEEPER, "../evil": "x"}))
    with pytest.raises(PrepareFailed) as failed:
        await store(master, tmp_path / "w").ensure(ref, no_step)
    assert failed.value.reason.code == "unpack_failed"
    assert not (tmp_path / "evil").exists()
    assert not store(master, tmp_path / "w").folder(ref).exists()


async def test_the_longest_unused_go_when_the_cache_is_full(master: MastersEnd, tmp_path: Path) -> None:
    refs = [add(master, f"1.0.{number}", size=100_000) for number in range(6)]
    limits = msgspec.structs.replace(DEFAULTS, cache_bytes=350_000)
    packages = store(master, tmp_path, limits=limits, in_use=lambda: frozenset({refs[0].sha256}))
    for age, ref in enumerate(refs):
        folder = await packages.ensure(ref, no_step)
        used_at_s = time.time() - 2 * cache.FRESH_S + age
        os.utime(folder, (used_at_s, used_at_s))
    await packages.ensure(refs[1], no_step)  # used again: now the newest
    await packages.sweep()
    kept = [ref.version for ref in refs if packages.folder(ref).exists()]
    assert kept == ["1.0.0", "1.0.1", "1.0.5"]  # in use, used last, and what fits beside them
    assert sorted(path.name for path in (tmp_path / "versions/web").iterdir()) == kept


async def test_what_was_fetched_ahead_of_its_start_stays_over_the_limit(master: MastersEnd, tmp_path: Path) -> None:
    ref = add(master, size=100_000)
    packages = store(master, tmp_path, limits=msgspec.structs.replace(DEFAULTS, cache_bytes=0))
    folder = await packages.ensure(ref, no_step)
    await packages.sweep()
    assert folder.is_dir()
    os.utime(folder, (1.0, 1.0))
    await packages.sweep()
    assert not folder.exists()


async def test_unused_packages_make_room_for_a_new_one(
    master: MastersEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, packages = add(master, "1", size=200_000), add(master, "2"), store(master, tmp_path)
    folder = await packages.ensure(old, no_step)
    os.utime(folder, (1.0, 1.0))

    def disk_usage(_path: Path) -> object:
        free = 0 if folder.exists() else 10**12
        return type("Usage", (), {"free": free})

    monkeypatch.setattr(fetch.shutil, "disk_usage", disk_usage)
    assert (await packages.ensure(new, no_step)).is_dir()
    assert not folder.exists()


async def test_a_redirect_is_followed_without_the_token(master: MastersEnd, tmp_path: Path) -> None:
    ref = add(master, size=300_000)
    master.elsewhere = f"{master.url}/elsewhere"
    assert (await store(master, tmp_path).ensure(ref, no_step)).is_dir()
    assert master.heard_elsewhere == [("bytes=0-", "")]


async def test_a_redirect_that_leads_nowhere_is_not_followed_again(
    master: MastersEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_RETRY_S", 0.0)
    ref = add(master, size=300_000)
    master.elsewhere = "http://127.0.0.1:9/none"
    assert (await store(master, tmp_path).ensure(ref, no_step)).is_dir()
    assert master.ranges == ["bytes=0-"]  # from the master itself, after one try elsewhere


async def test_a_limited_node_takes_small_pieces_and_waits(
    master: MastersEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(delay_s: float) -> None:
        waits.append(delay_s)
        await real_sleep(0)

    monkeypatch.setattr("ops_system.worker.transfer.asyncio.sleep", sleep)
    limits = msgspec.structs.replace(DEFAULTS, bandwidth_bytes=200_000)
    await store(master, tmp_path, limits=limits).ensure(add(master, size=1_000_000), no_step)
    assert max(waits) > 3  # a debt of most of five seconds of the rate, less what the clock gave back
    assert len(waits) >= 15


async def test_rests_of_downloads_go_when_nobody_needs_them(master: MastersEnd, tmp_path: Path) -> None:
    ref = add(master)
    packages = store(master, tmp_path, in_use=lambda: frozenset({ref.sha256}))
    (tmp_path / "downloads").mkdir()
    needed, orphan = tmp_path / "downloads" / f"{ref.sha256}.part", tmp_path / "downloads" / f"{'0' * 64}.part"
    needed.write_bytes(b"")
    orphan.write_bytes(b"")
    await packages.sweep()
    assert needed.exists()
    assert not orphan.exists()


@pytest.mark.parametrize(("number", "is_final"), [(errno.ENOSPC, False), (errno.EACCES, True)])
async def test_a_disk_that_fills_up_while_unpacking_is_tried_again(
    master: MastersEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, *, is_final: bool
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(archives, "install_archive", refuse)
    with pytest.raises(PrepareFailed) as failed:
        await store(master, tmp_path).ensure(add(master), no_step)
    assert failed.value.reason.code == "unpack_failed"
    assert failed.value.retry is not is_final


async def test_rests_that_come_and_go_while_they_are_listed_disturb_nobody(master: MastersEnd, tmp_path: Path) -> None:
    packages, is_over = store(master, tmp_path), threading.Event()
    (tmp_path / "downloads").mkdir()

    def come_and_go() -> None:
        others = [tmp_path / "downloads" / f"{number:064}.part" for number in range(50)]
        while not is_over.is_set():
            for part in others:
                with contextlib.suppress(PermissionError):  # Windows: the other side has it open
                    part.write_bytes(b"")
            for part in others:
                with contextlib.suppress(PermissionError):
                    part.unlink(missing_ok=True)

    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(come_and_go))
        try:
            for _ in range(200):
                await packages.sweep()
        finally:
            is_over.set()


async def test_a_package_that_arrived_is_given_although_the_cache_cannot_be_swept(
    master: MastersEnd, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def folder_that_fails() -> frozenset[str]:
        raise PermissionError(errno.EACCES, "no")

    ref = add(master)
    packages = store(master, tmp_path, in_use=folder_that_fails)
    assert await packages.ensure(ref, no_step) == packages.folder(ref)
    assert "rests of downloads could not be removed" in caplog.text

"""The worker's own update up to the handover, and the proof after it; the handover itself is in tests/e2e."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from ops_system.model.errors import Conflict, Forbidden, NotAllowed
from ops_system.protocol.requests import ReadUpdate, UpdateState, UpdateWorker
from ops_system.runtime.config import build
from ops_system.runtime.tasks import StopRequest, running
from ops_system.worker.config import SCHEMA
from ops_system.worker.fetch import PackageStore
from ops_system.worker.fingerprint.base import arch_name, os_name
from ops_system.worker.policy import Policy
from ops_system.worker.programs import Pending, Program, ProgramState
from ops_system.worker.switch import Seat, load_state, save_state, state_path
from ops_system.worker.transfer import Source
from ops_system.worker.updates import Updates
from tests.fakes.mastersend import MastersEnd
from tests.fakes.packages import make_zip, service_json

WITHIN_S = 20.0
SEAT = Seat("/opt/worker", "/opt/worker", (), {})
ASK = ReadUpdate()


async def never() -> None:
    await asyncio.Event().wait()


async def at_once() -> None:
    pass


def desk(master: MastersEnd, work_dir: Path, *, seat: Seat | None = SEAT, linked=at_once, **policy: str) -> Updates:
    async def token() -> str:
        return "session"

    url = master.url
    packages = PackageStore(work_dir, Source(lambda: aiohttp.ClientSession(url), token), master.signing_public_key)
    switches = build(SCHEMA, {f"policy.{key}": text for key, text in policy.items()}).policy
    return Updates(
        work_dir,
        seat,
        Policy(switches),
        packages,
        linked=linked,
        why_not_linked=lambda: "the master is away",
        version="1.0",
    )


def order(master: MastersEnd, version: str = "1.1", says: str = "", **changes: object) -> UpdateWorker:
    program = f"#!/bin/sh\necho ops-worker {says or version}\n"
    manifest = service_json(name="ops-worker", version=version, entrypoint="worker")
    ref = master.add_package("ops-worker", version, make_zip({"worker": program}, manifest))
    wanted = UpdateWorker("op1", ref, "worker", os_name(), arch_name(), 90.0)
    return msgspec.structs.replace(wanted, **changes)


@contextlib.asynccontextmanager
async def at_work(updates: Updates) -> AsyncIterator[StopRequest]:
    stop = StopRequest()
    async with running(updates.run(stop), "updates"):
        yield stop


async def ended(updates: Updates) -> UpdateState:
    async with asyncio.timeout(WITHIN_S):
        while True:
            state = await updates.read(ASK)
            if state.is_ended:
                return state
            await asyncio.sleep(0.01)


async def test_a_verified_program_is_handed_over_to(master: MastersEnd, tmp_path: Path) -> None:
    updates, wanted = desk(master, tmp_path), order(master)
    async with at_work(updates) as stop:
        assert (await updates.begin(wanted)).order_id == "op1"
        async with asyncio.timeout(WITHIN_S):
            await stop.event.wait()
    assert stop.is_handover
    pending = load_state(state_path(tmp_path)).pending
    assert (pending.order_id, pending.attempts, pending.next.version) == ("op1", 0, "1.1")
    assert Path(pending.next.path).is_file()
    assert wanted.package.sha256 in updates.packages_in_use()


async def test_a_node_that_forbids_it_is_not_updated(master: MastersEnd, tmp_path: Path) -> None:
    with pytest.raises(Forbidden, match=r"policy\.self_update is off"):
        await desk(master, tmp_path, self_update="0").begin(order(master))
    with pytest.raises(Forbidden, match=r"policy\.publisher_keys"):
        await desk(master, tmp_path, publisher_keys="ab" * 32).begin(order(master))
    assert not state_path(tmp_path).exists()


@pytest.mark.parametrize("version", ["1.0", "0.9", "1.0-rc1"])
async def test_only_newer_versions_are_taken(master: MastersEnd, tmp_path: Path, version: str) -> None:
    with pytest.raises(NotAllowed, match=r"not newer than 1\.0"):
        await desk(master, tmp_path).begin(order(master, version))


async def test_a_worker_that_cannot_hand_over_and_another_platform_s_program_say_so(
    master: MastersEnd, tmp_path: Path
) -> None:
    with pytest.raises(NotAllowed, match="runs from source"):
        await desk(master, tmp_path, seat=None).begin(order(master))
    with pytest.raises(NotAllowed, match="the package is for windows"):
        await desk(master, tmp_path).begin(order(master, os="windows"))


async def test_what_the_pinned_master_did_not_sign_is_never_unpacked(master: MastersEnd, tmp_path: Path) -> None:
    updates, wanted = desk(master, tmp_path), order(master)
    forged = msgspec.structs.replace(wanted.package, version="1.2")
    async with at_work(updates) as stop:
        await updates.begin(msgspec.structs.replace(wanted, package=forged))
        state = await ended(updates)
    assert state.reason.code == "verify_failed"
    assert not stop.event.is_set()
    assert not (tmp_path / "versions").exists()
    assert load_state(state_path(tmp_path)).pending is None


@pytest.mark.parametrize("says", ["1.3", "nothing"])
async def test_a_program_that_does_not_say_its_version_is_not_handed_over_to(
    master: MastersEnd, tmp_path: Path, says: str
) -> None:
    updates = desk(master, tmp_path)
    async with at_work(updates) as stop:
        await updates.begin(order(master, says=says))
        state = await ended(updates)
    assert state.reason.code == "update_failed"
    assert not stop.event.is_set()


async def test_the_same_order_twice_is_one_and_another_waits_for_its_end(master: MastersEnd, tmp_path: Path) -> None:
    updates, wanted = desk(master, tmp_path), order(master)
    assert await updates.begin(wanted) == await updates.begin(wanted)
    with pytest.raises(Conflict, match="under way"):
        await updates.begin(msgspec.structs.replace(wanted, order_id="op2"))


def candidate(work_dir: Path, within_s: float) -> Seat:
    """Return the seat of a program that has its one try now."""
    program = Program("1.1", "ab" * 32, "/srv/new/worker", "cd" * 32)
    save_state(state_path(work_dir), ProgramState(pending=Pending("op1", program, within_s, attempts=1)))
    return Seat("/opt/worker", program.path, (), {}, state_path(work_dir))


async def test_a_link_proves_the_new_program(master: MastersEnd, tmp_path: Path) -> None:
    updates = desk(master, tmp_path, seat=candidate(tmp_path, WITHIN_S))
    assert (await updates.read(ASK)).step == "prove"
    async with at_work(updates) as stop:
        state = await ended(updates)
    assert state.reason is None
    assert not stop.event.is_set()
    kept = load_state(state_path(tmp_path))
    assert kept.current.version == "1.1"
    assert kept.pending is None


async def test_without_a_link_in_time_the_new_program_makes_way(master: MastersEnd, tmp_path: Path) -> None:
    updates = desk(master, tmp_path, seat=candidate(tmp_path, 0.05), linked=never)
    async with at_work(updates) as stop, asyncio.timeout(WITHIN_S):
        await stop.event.wait()
    assert stop.is_handover
    kept = load_state(state_path(tmp_path))
    assert (kept.current, kept.pending) == (None, None)
    assert kept.outcome.reason.message == "no link to the master within 0.05 s: the master is away"

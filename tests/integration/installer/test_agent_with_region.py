"""The real agent (played machine) against the real regional client on the embedded store."""

import asyncio
import hashlib
import random
import subprocess
import threading

import pytest
from msgspec.structs import replace

from ops_system.installer.agent import Agent
from ops_system.installer.region import Region
from ops_system.installer.simulate import SimulatedHands
from ops_system.kv.client import Client
from ops_system.model.layouts import DiskLayout
from ops_system.model.tasks import ApproveCall, ImageRef, InstallSpec, Task, TaskStatus
from ops_system.provision import rules
from ops_system.provision.agents import AgentBook
from ops_system.provision.approvals import approve
from ops_system.provision.regions import RegionSettings
from ops_system.runtime.clock import SystemClock
from tests.fakes.provision import MAC, a_task
from tests.fakes.region import run_region
from tests.fakes.regionstore import run_store

IDC, SN = "dc1", "sn-001"
MIB = 1024 * 1024
CONTENT = random.Random(3).randbytes(24 * MIB)


@pytest.fixture
async def store(tmp_path):
    async with run_store(tmp_path / "store.db") as store:
        yield store


@pytest.fixture
async def book(store):
    async with Client([store.url]) as client:
        yield AgentBook(client, SystemClock())


def put_image(folder) -> ImageRef:
    """Put an image where the region keeps what it has fetched."""
    file = subprocess.run(["zstd", "-q", "-1", "-c"], input=CONTENT, stdout=subprocess.PIPE, check=True).stdout
    digest = hashlib.sha256(file).hexdigest()
    place = folder / "images" / digest
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(file)
    return ImageRef("t", "1", digest, len(file), hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "raw.zst")


class Played:
    """The agent in its thread."""

    def __init__(self, url: str, folder) -> None:
        self.hands = SimulatedHands(SN, folder, disk_bytes=64 * MIB)
        self.agent = Agent(Region(url), self.hands, folder / "scratch", report_interval_s=0.1)
        self.code = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.code = self.agent.run()

    async def ended(self) -> int:
        await asyncio.to_thread(self._thread.join, 40)
        assert not self._thread.is_alive()
        return self.code


async def status(book, *wanted: TaskStatus) -> Task:
    """Wait until the task stands so."""
    async with asyncio.timeout(30):
        while (task := await book.get(IDC, SN)).status not in wanted:  # noqa: ASYNC110 - the store is asked, it does not tell
            await asyncio.sleep(0.05)
    return task


async def approves(book) -> None:
    call = ApproveCall((f"{SN}-sda",))

    def rule(task, machine):
        return approve(task, machine, call, RegionSettings(), by="bob", at=book.clock.now()), machine

    await book.change_machine(IDC, SN, rule)


def spec(image: ImageRef | None, **changes) -> InstallSpec:
    return replace(InstallSpec("image", "Test", "1", image=image, disk_layout=DiskLayout(), enrol=False), **changes)


async def test_from_report_to_restart(tmp_path, store, book):
    image = put_image(tmp_path / "region")
    await book.create(a_task(SN, install=spec(image)))
    async with run_region(tmp_path / "region", store.url) as region:
        played = Played(region.url, tmp_path / "machine")
        await status(book, TaskStatus.PENDING_APPROVAL)
        await approves(book)
        assert await played.ended() == 0
    task = await book.get(IDC, SN)
    assert [change.status.value for change in task.status_history] == [
        "pending", "booting", "pending_approval", "approved", "installing", "completed",
    ]  # fmt: skip
    assert (task.reported_mac, played.hands.mac) == ("", MAC)
    assert [step.step for step in task.progress] == [
        "check-disks", "wipe", "write-image", "verify-image", "grow-root",
    ]  # fmt: skip
    assert [(intent.step, intent.disks) for intent in task.intents] == [
        (step, (f"{SN}-sda",)) for step in ("wipe", "write-image", "grow-root")
    ]
    assert all(intent.done_at for intent in task.intents)
    assert next(step for step in task.progress if step.step == "write-image").bytes_done == len(CONTENT)
    assert played.hands.device("/dev/sda").read_bytes()[: len(CONTENT)] == CONTENT
    assert any("verify-image" in line for line in task.logs)


async def test_a_region_killed_in_the_middle_is_followed_by_the_next_one(tmp_path, store, book):
    image = put_image(tmp_path / "region")
    await book.create(a_task(SN, install=spec(image)))
    async with run_region(tmp_path / "region", store.url, lead_ttl_s=3.0) as region:
        port = region.url.rpartition(":")[2]
        played = Played(region.url, tmp_path / "machine")
        await status(book, TaskStatus.PENDING_APPROVAL)
        region.is_to_crash = True
    await approves(book)
    async with run_region(tmp_path / "region", store.url, lead_ttl_s=3.0, region__api_port=port):
        assert await played.ended() == 0
    task = await book.get(IDC, SN)
    assert task.status is TaskStatus.COMPLETED
    assert [intent.step for intent in task.intents] == ["wipe", "write-image", "grow-root"]


async def test_a_store_away_in_the_middle_loses_nothing(tmp_path, store, book):
    image = put_image(tmp_path / "region")
    await book.create(a_task(SN, install=spec(image)))
    async with run_region(tmp_path / "region", store.url, lead_ttl_s=3.0) as region:
        played = Played(region.url, tmp_path / "machine")
        await status(book, TaskStatus.PENDING_APPROVAL)
        await approves(book)
        await status(book, TaskStatus.INSTALLING)
        await store.go_away()
        assert await played.ended() == 0
        await store.come()
        task = await status(book, TaskStatus.COMPLETED)
    assert [intent.step for intent in task.intents if intent.done_at] == ["wipe", "write-image", "grow-root"]


async def test_content_that_does_not_read_back_is_a_failed_task_that_says_why(tmp_path, store, book):
    image = replace(put_image(tmp_path / "region"), content_sha256="0" * 64)
    await book.create(a_task(SN, install=spec(image)))
    async with run_region(tmp_path / "region", store.url) as region:
        played = Played(region.url, tmp_path / "machine")
        await status(book, TaskStatus.PENDING_APPROVAL)
        await approves(book)
        task = await status(book, TaskStatus.FAILED, TaskStatus.NEEDS_OPERATOR, TaskStatus.COMPLETED)
        assert await played.ended() == 0
    assert (task.status, task.reason.code) == (TaskStatus.FAILED, "verify_failed")
    assert played.hands.device("/dev/sda").read_bytes()[: 4 * MIB] == bytes(4 * MIB)


async def test_a_cancelled_machine_is_not_touched_and_starts_from_its_disk(tmp_path, store, book):
    image = put_image(tmp_path / "region")
    await book.create(a_task(SN, install=spec(image)))
    async with run_region(tmp_path / "region", store.url) as region:
        played = Played(region.url, tmp_path / "machine")
        await status(book, TaskStatus.PENDING_APPROVAL)
        at = book.clock.now()
        await book.change(IDC, SN, lambda task: rules.ask_cancel(task, by="bob", at=at))
        assert await played.ended() == 0
        assert played.hands.device("/dev/sda").stat().st_blocks == 0
    assert (await book.get(IDC, SN)).status is TaskStatus.CANCELLED

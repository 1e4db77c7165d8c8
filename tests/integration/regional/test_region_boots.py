"""A regional client on a segment: what its DHCP and TFTP do for machines with a task, without one, and for strangers."""

import asyncio
import contextlib
import urllib.request

import pytest
from msgspec.structs import replace

from ops_system.kv.client import Client
from ops_system.model.tasks import TaskStatus
from ops_system.provision.agents import AgentBook
from ops_system.provision.rules import move
from ops_system.regional.leadership import Standing
from ops_system.runtime.clock import SystemClock
from tests.fakes.provision import a_task
from tests.fakes.region import run_region
from tests.fakes.regionstore import run_store
from tests.fakes.rom import Rom
from tests.fakes.segment import Segment, needs

pytestmark = needs("busybox", "sysctl")

IDC, SN, KNOWN, STRANGER = "dc1", "sn-001", "52:54:00:00:00:01", "52:54:00:00:00:99"
BIOS = {60: b"PXEClient:Arch:00000:UNDI:002001", 93: b"\x00\x00", 57: b"\x05\xc0"}
PXE = {60: b"PXEClient:Arch:00007:UNDI:003016", 93: b"\x00\x07", 57: b"\x05\xc0"}


@pytest.fixture
def segment():
    with Segment() as segment:
        yield segment


@pytest.fixture
async def store(tmp_path):
    async with run_store(tmp_path / "store.db") as store:
        yield store


@pytest.fixture
async def book(store):
    async with Client([store.url]) as client:
        yield AgentBook(client, SystemClock())


def boot_settings(segment, root, mode):
    root.mkdir(exist_ok=True)
    (root / "snponly.efi").write_bytes(b"loader" * 1000)
    return {
        "region__listen": "0.0.0.0",
        "boot__interface": segment.bridge,
        "boot__dhcp": mode,
        "boot__tftp": "1",
        "boot__root": str(root),
        "boot__pool": f"{segment.host(100)}-{segment.host(110)}",
    }


@contextlib.asynccontextmanager
async def running_region(segment, store, folder, mode="full", **fields):
    settings = boot_settings(segment, folder / "root", mode)
    async with run_region(folder / mode, store.url, **settings, **fields) as region:
        servers = (region.app.netboot.dhcp, region.app.netboot.tftp)
        async with asyncio.timeout(20):
            while not all(server.status().is_listening for server in servers):  # noqa: ASYNC110 - they tell it by status alone
                await asyncio.sleep(0.02)
        yield region


@pytest.fixture
def roms(segment):
    made = [Rom(segment.plug(mac), mac) for mac in (KNOWN, STRANGER)]
    yield made
    for rom in made:
        rom.wire.close()


async def offered(rom, boots, said=PXE):
    """Ask until the offer is as wanted: what the store says reaches the region a moment later."""
    async with asyncio.timeout(20):
        while (offer := await rom.discover(said)) is None or bool(offer.file) is not boots:
            pass
    return offer


async def is_deaf_to(region, rom):
    """Whether a question was heard and not answered."""
    async with asyncio.timeout(20):
        while not region.app.netboot.dhcp.status().counts.get("unknown"):
            assert await rom.discover(PXE) is None
    return await rom.discover(PXE) is None


async def test_dhcp_and_tftp_go_through_the_gate(segment, store, book, roms, tmp_path):
    known, stranger = roms
    await book.create(a_task(SN, mac=KNOWN, clock=SystemClock()))
    async with running_region(segment, store, tmp_path) as region:
        offer = await offered(known, boots=True)
        assert offer.file == b"snponly.efi"
        assert offer.siaddr == segment.address
        assert offer.yiaddr in segment.network
        script = (await offered_to_ipxe(known)).file.decode()
        assert script == f"{region.url}/boot.ipxe"
        assert str(segment.address) in script
        known.box.give(f"{offer.yiaddr}/24")
        fetched = tmp_path / "fetched"
        command = ("busybox", "tftp", "-g", "-r", "snponly.efi", "-l", fetched, str(segment.address))
        assert (await asyncio.to_thread(known.box.run, *command)).returncode == 0
        assert fetched.read_bytes() == b"loader" * 1000

        assert await is_deaf_to(region, stranger)

        await book.change(IDC, SN, lambda task: move(task, TaskStatus.CANCELLED, by="bob", at=book.clock.now()))
        offer = await offered(known, boots=False, said=BIOS)
        assert offer.yiaddr in segment.network
        assert not {43, 60, 66, 67} & set(offer.options)
        # UEFI would go on looking for minutes: it is led to its disk by the script.
        assert (await offered(known, boots=True)).file == b"snponly.efi"
        script = await asyncio.to_thread(read, f"{region.url}/boot/{KNOWN}.ipxe")
        assert b"cancelled: this machine starts from its disk" in script
        assert b"vmlinuz" not in script

        await book.change_settings(IDC, lambda settings: replace(settings, discovery=True))
        assert (await offered(stranger, boots=True)).file == b"snponly.efi"
        shown = await asyncio.to_thread(read, f"{region.url}/api/v1/pxe/dhcp/status")
        assert b'"offer"' in shown


async def offered_to_ipxe(rom):
    async with asyncio.timeout(20):
        while (offer := await rom.discover({**PXE, 77: b"iPXE"})) is None:
            pass
    return offer


def read(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


async def test_a_standby_says_nothing(segment, store, book, roms, tmp_path):
    await book.create(a_task(SN, mac=KNOWN, clock=SystemClock()))
    async with run_region(tmp_path / "first", store.url):
        fields = {"standing": Standing.STANDBY}
        async with running_region(segment, store, tmp_path, **fields) as standby:
            assert await is_deaf_to(standby, roms[0])

"""TFTP and IPv6 router answers on a real segment: other people's clients, big files, lost packets."""

import asyncio
import contextlib
import hashlib
import os
import socket
import struct

import pytest

from ops_system.regional.advertisement import RouterAnswer, filter_of
from ops_system.regional.tftp.server import TftpServer
from ops_system.regional.tftp.sources import BootRoot
from ops_system.runtime.tasks import running
from tests.fakes.segment import Segment, needs

pytestmark = needs("busybox", "atftp", "curl", "nft", "sysctl")

KNOWN = "52:54:00:00:00:01"


@pytest.fixture
def segment():
    with Segment(ipv6=True) as segment:
        yield segment


@pytest.fixture
def box(segment):
    box = segment.plug(KNOWN)
    box.give(f"{segment.host(5)}/24")
    return box


@contextlib.asynccontextmanager
async def serving(segment, root):
    server = TftpServer("0.0.0.0", 69, BootRoot(root), interface=segment.bridge)
    async with running(server.run(), "tftp"), asyncio.timeout(110):
        await server.ready.wait()
        yield server


def big_file(folder, size):
    folder.mkdir(exist_ok=True)
    content = os.urandom(1024 * 1024) * (size // 1024 // 1024) + os.urandom(size % (1024 * 1024))
    (folder / "big").write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def sum_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def fetch(box, *command):
    done = await asyncio.to_thread(box.run, *command, timeout_s=100)
    assert done.returncode == 0, done.stderr


async def test_other_peoples_clients_fetch_a_big_file(segment, box, tmp_path):
    wanted = big_file(tmp_path / "root", 3_000_000 + 7)
    where = str(segment.address)
    async with serving(segment, tmp_path / "root") as server:
        await fetch(box, "curl", "-s", "--tftp-blksize", "1468", "-o", tmp_path / "curl", f"tftp://{where}/big")
        await fetch(box, "busybox", "tftp", "-g", "-b", "1400", "-r", "big", "-l", tmp_path / "busybox", where)
        windows = ("--option", "windowsize 16", "--option", "blksize 1400", "--option", "tsize 0")
        await fetch(box, "atftp", "-g", *windows, "-r", "/big", "-l", tmp_path / "atftp", where)
        counts = server.status().counts
    assert {sum_of(tmp_path / name) for name in ("curl", "busybox", "atftp")} == {wanted}
    assert counts == {"sent": 3}


async def test_block_numbers_go_round(segment, box, tmp_path):
    """More than 65 536 blocks, as a kernel or an agent has them with small blocks."""
    wanted = big_file(tmp_path / "root", 65_600 * 16)
    async with serving(segment, tmp_path / "root"):
        windows = ("--option", "windowsize 64", "--option", "blksize 16")
        await fetch(box, "atftp", "-g", *windows, "-r", "big", "-l", tmp_path / "got", str(segment.address))
    assert sum_of(tmp_path / "got") == wanted


@pytest.mark.parametrize("percent", [3, pytest.param(15, marks=pytest.mark.long)])
async def test_what_gets_lost_on_the_way_arrives_all_the_same(segment, box, tmp_path, percent):
    wanted = big_file(tmp_path / "root", 300_000)
    segment.lose(box, percent)
    async with serving(segment, tmp_path / "root"):
        where = str(segment.address)
        await fetch(box, "busybox", "tftp", "-g", "-b", "1400", "-r", "big", "-l", tmp_path / "got", where)
    assert sum_of(tmp_path / "got") == wanted


async def test_blocks_lost_out_of_a_window_are_sent_again(segment, box, tmp_path):
    """Only blocks: atftp gives up when its answer to the OACK is lost."""
    wanted = big_file(tmp_path / "root", 2_000_000)
    segment.lose(box, 5, "udp length > 1000")
    async with serving(segment, tmp_path / "root"):
        windows = ("--option", "windowsize 8", "--option", "blksize 1400")
        await fetch(box, "atftp", "-g", *windows, "-r", "big", "-l", tmp_path / "got", str(segment.address))
    assert sum_of(tmp_path / "got") == wanted


async def test_nothing_outside_the_boot_files_is_reached(segment, box, tmp_path):
    big_file(tmp_path / "root", 10)
    (tmp_path / "secret").write_text("secret")
    async with serving(segment, tmp_path / "root") as server:
        for name in ("../secret", "/../secret", str(tmp_path / "secret"), "a/../../secret"):
            command = ("busybox", "tftp", "-g", "-r", name, "-l", tmp_path / "got", str(segment.address))
            done = await asyncio.to_thread(box.run, *command)
            assert done.returncode != 0
            assert not (tmp_path / "got").exists() or (tmp_path / "got").read_bytes() == b""
        assert server.status().counts == {"refused": 4}


# --- IPv6 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def wire(box):
    with box.inside():
        wire = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        wire.setsockopt(socket.IPPROTO_ICMPV6, 1, filter_of(134))
        wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("eth0"))
        wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    wire.setblocking(False)
    yield wire
    wire.close()


def solicit(wire, hop_limit):
    wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, hop_limit)
    wire.sendto(struct.pack("!BBHI", 133, 0, 0, 0), ("ff02::2", 0))


async def advertised(wire):
    """Return an advertisement and the hop limit it came with."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(BlockingIOError):
                data, extra, _, _ = wire.recvmsg(1500, 100)
                return data, struct.unpack("=i", extra[0][2])[0]
            await asyncio.sleep(0.02)


async def test_who_looks_for_a_router_is_told_at_once_that_there_is_none(segment, wire):
    heard = asyncio.Event()
    answer = RouterAnswer(segment.bridge, on_answer=heard.set)
    async with running(answer.run(), "router"), asyncio.timeout(20):
        while answer.answered == 0:  # the first ones may come before either side has its address
            with contextlib.suppress(OSError):
                solicit(wire, 255)
            await asyncio.sleep(0.05)
        data, hop_limit = await advertised(wire)
        assert data[0] == 134
        assert data[6:8] == b"\x00\x00"  # the router's lifetime
        assert len(data) == 16
        assert hop_limit == 255

        before = answer.answered
        solicit(wire, 64)
        heard.clear()
        solicit(wire, 255)
        await heard.wait()
    assert answer.answered == before + 1


async def test_router_answers_of_another_segment_are_not_given(segment, wire):
    with Segment(ipv6=True) as elsewhere:
        here, there = RouterAnswer(segment.bridge), RouterAnswer(elsewhere.bridge)
        async with running(here.run(), "here"), running(there.run(), "there"), asyncio.timeout(20):
            while here.answered == 0:
                with contextlib.suppress(OSError):
                    solicit(wire, 255)
                await asyncio.sleep(0.05)
        assert there.answered == 0

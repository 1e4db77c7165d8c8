"""The TFTP server over loopback: whole files, refusals, impatient and vanished clients."""

import asyncio
import contextlib
import socket
import sys

import pytest

from ops_system.model.errors import SafetyRefusal
from ops_system.regional.tftp import server as tftp
from ops_system.regional.tftp.packet import Ack, Data, Error, OptionAck, Request, pack, parse
from ops_system.regional.tftp.server import TftpServer
from ops_system.regional.tftp.sources import BootRoot
from ops_system.runtime.tasks import running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sockets of one interface are Linux's")
CONTENT = bytes(range(256)) * 40


class Client:
    """One end of a transfer, step by step."""

    def __init__(self, server):
        self.wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.wire.setblocking(False)
        self.wire.bind(("127.0.0.1", 0))
        self.server = ("127.0.0.1", server.port)
        self.peer = None

    async def ask(self, name, mode="octet", **options):
        await self.send(Request(name, mode, options), self.server)
        return await self.hear()

    async def send(self, packet, to=None):
        await asyncio.get_running_loop().sock_sendto(
            self.wire, packet if isinstance(packet, bytes) else pack(packet), to or self.peer
        )

    async def hear(self):
        async with asyncio.timeout(30):
            data, self.peer = await asyncio.get_running_loop().sock_recvfrom(self.wire, 70_000)
        return parse(data)

    async def fetch(self, name, mode="octet", **options):
        packet, content = await self.ask(name, mode, **options), b""
        size = int(options.get("blksize", 512))
        if isinstance(packet, OptionAck):
            await self.send(Ack(0))
            packet = await self.hear()
        while True:
            content += packet.content
            await self.send(Ack(packet.number))
            if len(packet.content) < size:
                return content
            packet = await self.hear()


@contextlib.asynccontextmanager
async def serving(files):
    server = TftpServer("127.0.0.1", 0, files)
    async with running(server.run(), "tftp"):
        async with asyncio.timeout(30):
            await server.ready.wait()
        yield server


@pytest.fixture
async def root(tmp_path):
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/big").write_bytes(CONTENT)
    (tmp_path / "boot/text").write_bytes(b"a\nb\n")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "boot/out").symlink_to(tmp_path / "secret")
    return tmp_path / "boot"


@pytest.fixture
async def server(root):
    async with serving(BootRoot(root)) as server:
        yield server


@pytest.fixture
def client(server):
    client = Client(server)
    yield client
    client.wire.close()


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the condition belongs to the code under test, which has no event for it
            await asyncio.sleep(0.01)


async def test_files_arrive_whole(client, server):
    assert await client.fetch("big") == CONTENT
    await until(lambda: server.status().counts == {"sent": 1})
    assert await client.fetch("/big", blksize="1024", tsize="0", timeout="2") == CONTENT
    await until(lambda: server.status().counts == {"sent": 2})
    newest = server.status().transfers[0]
    assert (newest.name, newest.client, newest.bytes_sent) == ("/big", "127.0.0.1", len(CONTENT))


async def test_text_is_changed_on_its_way(client):
    assert await client.fetch("text", mode="netascii") == b"a\r\nb\r\n"


async def test_files_made_for_the_moment():
    async with serving(lambda name: name.encode() * 200) as server:
        client = Client(server)
        assert await client.fetch("pxelinux.cfg/01-52") == b"pxelinux.cfg/01-52" * 200
        client.wire.close()


async def test_the_options_that_hold_are_said(client):
    answer = await client.ask("big", tsize="0", blksize="9000", windowsize="4", speed="high")
    assert answer == OptionAck({"blksize": "1468", "windowsize": "4", "tsize": str(len(CONTENT))})
    await client.send(Ack(0))
    assert [(await client.hear()).number for _ in range(4)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "mode", "code"),
    [
        ("nothing", "octet", 1),
        ("../secret", "octet", 2),
        ("a/../../secret", "octet", 2),
        ("/etc/passwd", "octet", 2),
        ("..\\secret", "octet", 2),
        ("out", "octet", 1),
        ("", "octet", 2),
        ("big", "mail", 4),
    ],
)
async def test_refusals(client, name, mode, code):
    answer = await client.ask(name, mode)
    assert isinstance(answer, Error)
    assert answer.code == code


async def test_nothing_is_taken(client, root):
    await client.send(Request("new", "octet", is_write=True), client.server)
    assert (await client.hear()).code == 2
    assert not (root / "new").exists()


async def test_an_abort_after_the_size_is_no_failure(client, server):
    """OVMF asks for the size, says error 8, and asks again from the same port."""
    assert isinstance(await client.ask("big", tsize="0"), OptionAck)
    await client.send(Error(8, "aborted"))
    await until(lambda: server.status().counts.get("aborted") == 1)
    assert await client.fetch("big", blksize="1000") == CONTENT


async def test_an_impatient_client_gets_one_transfer(client, server):
    first = await client.ask("big", tsize="0")
    await client.send(Request("big", "octet", {"tsize": "0"}), client.server)
    await until(lambda: server.status().counts.get("repeated") == 1)
    assert isinstance(first, OptionAck)
    assert server.status().active == 1


async def test_a_machine_that_was_reset_begins_anew_from_the_same_port(client, server):
    await client.ask("big")
    await client.send(Ack(1))
    assert (await client.hear()).number == 2
    await client.send(Request("big", "octet"), client.server)
    again = await client.hear()
    while again.number != 1:  # a block of the first transfer may have been on its way
        again = await client.hear()
    await until(lambda: server.status().counts.get("cut") == 1)
    assert server.status().active == 1


async def test_what_was_lost_is_sent_again(client):
    first = await client.ask("big")
    assert await client.hear() == first  # nobody confirmed it


async def test_a_client_that_vanished_is_let_go(server):
    client = Client(server)
    await client.ask("big")
    client.wire.close()  # from now on its machine answers: port unreachable
    await until(lambda: server.status().counts == {"gone": 1})


async def test_noise_is_counted_and_harms_nobody(client, server):
    for noise in (b"", b"\x00", b"\xff" * 100, pack(Ack(1)), pack(Data(1, b"x")), pack(Error(0, "x"))):
        await client.send(noise, client.server)
    assert await client.fetch("big") == CONTENT
    assert server.status().counts["malformed"] == 3
    assert server.status().counts["no_request"] == 3


async def test_one_client_cannot_take_all_transfers(server, monkeypatch):
    monkeypatch.setattr(tftp, "MOST_OF_ONE_CLIENT", 2)
    clients = [Client(server) for _ in range(3)]
    for client in clients:
        await client.send(Request("big", "octet"), client.server)
    await until(lambda: server.status().counts.get("busy") == 1)
    assert server.status().active == 2
    for client in clients:
        client.wire.close()


async def test_a_file_cut_short_on_the_way_ends_with_an_error(client, root, monkeypatch):
    monkeypatch.setattr("ops_system.regional.tftp.sources._AHEAD_BYTES", 512)
    await client.ask("big")
    (root / "big").write_bytes(b"")
    await client.send(Ack(1))
    assert isinstance(await client.hear(), Error)


async def test_a_port_in_use_is_said(server, root):
    with pytest.raises(SafetyRefusal, match=f"UDP port {server.port} .* in use"):
        await TftpServer("127.0.0.1", server.port, BootRoot(root)).run()

"""DHCP on a real segment: busybox's client, dnsmasq as a rival and as a relay, a PXE ROM played by hand."""

import asyncio
import contextlib
import struct
from ipaddress import IPv4Address, IPv4Network

import msgspec
import pytest

from ops_system.model.errors import SafetyRefusal, UsageError
from ops_system.regional.dhcp.leasefile import LeaseFile
from ops_system.regional.dhcp.leases import Pool
from ops_system.regional.dhcp.packet import MessageType
from ops_system.regional.dhcp.questions import BootFiles, DhcpAnswer, boot_answer
from ops_system.regional.dhcp.rules import DhcpConfig
from ops_system.regional.dhcp.server import DhcpServer
from ops_system.regional.sockets import interface_address
from ops_system.runtime.tasks import running
from tests.fakes.rom import Rom
from tests.fakes.segment import Segment, dnsmasq, needs, rival, run

pytestmark = needs("busybox", "dnsmasq", "sysctl")

KNOWN, OTHER, STRANGER = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:99"
PXE = {60: b"PXEClient:Arch:00007:UNDI:003016", 93: b"\x00\x07", 97: b"\x00" + bytes(range(16)), 57: b"\x05\xc0"}


@pytest.fixture
def segment():
    with Segment() as segment:
        yield segment


def pool_of(segment):
    return Pool(
        network=segment.network,
        first=segment.host(100),
        last=segment.host(110),
        routers=(segment.address,),
        dns=(segment.address,),
        domain="dc1.example",
        lease_s=600,
    )


@contextlib.asynccontextmanager
async def serving(segment, mode, *pools, file=None, boots=True):
    files = BootFiles(script_url=f"http://{segment.address}:8081/boot.ipxe", http_url="http://x")

    def answers(question):
        if question.mac == STRANGER:
            return None
        return boot_answer(question, files) if boots else DhcpAnswer()

    config = DhcpConfig(mode, segment.bridge, interface_address(segment.bridge).ip, pools)
    kept = file.load() if file else ()
    server = DhcpServer(config, answers, kept=kept, keep=file.keep if file else None)
    async with running(server.run(), "dhcp") as task:
        await until(lambda: server.status().is_listening or task.done())
        yield server


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - other processes' packets set no event here
            await asyncio.sleep(0.02)


async def udhcpc(box, folder, *arguments):
    """Run busybox's client until it has a lease or not; return what it was told."""
    script = folder / "told.sh"
    script.write_text(
        f'#!/bin/sh\n[ "$1" = bound ] || exit 0\nip address flush dev eth0\nip address add $ip/$mask dev eth0\nenv > {folder}/told\n'
    )
    script.chmod(0o755)
    (folder / "told").unlink(missing_ok=True)
    fast = ("-f", "-n", "-q", "-t", "4", "-T", "1", "-i", "eth0", "-s", script)
    done = await asyncio.to_thread(box.run, "busybox", "udhcpc", *fast, *arguments)
    if done.returncode != 0:
        return None
    return dict(line.split("=", 1) for line in (folder / "told").read_text().splitlines())


# --- alone ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [(), ("-B",)], ids=["to the card", "broadcast"])
async def test_a_real_client_gets_an_address_and_what_to_boot(segment, tmp_path, flags):
    box, file = segment.plug(KNOWN), LeaseFile(tmp_path / "leases")
    async with serving(segment, "full", pool_of(segment), file=file) as server:
        rom = ("-V", "PXEClient:Arch:00000", "-O", "bootfile", "-O", "tftp", "-x", "hostname:node1")
        told = await udhcpc(box, tmp_path, *flags, *rom)
        status = server.status()
    assert told["ip"] in {str(segment.host(last)) for last in range(100, 111)}
    assert (told["subnet"], told["router"], told["dns"]) == (
        "255.255.255.0",
        str(segment.address),
        str(segment.address),
    )
    assert (told["serverid"], told["siaddr"], told["lease"]) == (str(segment.address), str(segment.address), "600")
    assert (told["boot_file"], told["bootfile"], told["tftp"]) == (
        "undionly.kpxe",
        "undionly.kpxe",
        str(segment.address),
    )
    assert status.counts == {"ack": 1, "offer": 1}
    assert [event.outcome for event in status.events] == ["ack", "offer"]
    [lease] = LeaseFile(tmp_path / "leases").load()
    assert (lease.address, lease.mac, lease.state, lease.hostname) == (told["ip"], KNOWN, "bound", "node1")


async def test_the_same_address_after_a_restart_of_both(segment, tmp_path):
    first, second = segment.plug(KNOWN), segment.plug(OTHER)
    async with serving(segment, "full", pool_of(segment), file=LeaseFile(tmp_path / "leases")):
        before = await udhcpc(first, tmp_path)
        other = await udhcpc(second, tmp_path, "-r", before["ip"])
        assert other["ip"] != before["ip"]
    async with serving(segment, "full", pool_of(segment), file=LeaseFile(tmp_path / "leases")) as server:
        assert (await udhcpc(first, tmp_path))["ip"] == before["ip"]
        rom = Rom(second, OTHER)
        own = IPv4Address(other["ip"])
        await rom.say(MessageType.RELEASE, {54: segment.address.packed}, (str(segment.address), 67), ciaddr=own)
        await until(lambda: server.status().counts.get("release") == 1)
        rom.wire.close()
    assert {lease.state for lease in LeaseFile(tmp_path / "leases").load()} == {"bound", "released"}


async def test_strangers_and_other_segments_hear_nothing(segment, tmp_path):
    stranger = segment.plug(STRANGER)
    with Segment() as elsewhere:
        known_elsewhere = elsewhere.plug(KNOWN)
        async with serving(segment, "full", pool_of(segment)) as server:
            assert await udhcpc(stranger, tmp_path, "-t", "1") is None
            assert server.status().counts["unknown"] >= 1
            heard = sum(server.status().counts.values())
            assert await udhcpc(known_elsewhere, tmp_path, "-t", "1") is None
            assert sum(server.status().counts.values()) == heard


@contextlib.contextmanager
def relaying(segment, behind, folder):
    """dnsmasq in a namespace with a foot on either segment carries questions from `behind` to the server."""
    relay = segment.plug("52:54:00:00:00:aa")
    relay.give(f"{segment.host(9)}/24")
    near = f"{behind.name}r"
    run("ip", "link", "add", near, "type", "veth", "peer", "name", "eth1", "netns", relay.name)
    run("ip", "link", "set", near, "master", behind.bridge, "up")
    run(*relay.command("ip", "address", "add", "198.51.100.1/24", "dev", "eth1"))
    run(*relay.command("ip", "link", "set", "eth1", "up"))
    run(*relay.command("sysctl", "-qw", "net.ipv4.ip_forward=1"))
    run("ip", "route", "add", "198.51.100.0/24", "via", str(segment.host(9)), "dev", segment.bridge)
    with dnsmasq(relay, folder, f"--dhcp-relay=198.51.100.1,{segment.address}"):
        yield


async def test_a_real_relay_brings_the_question_and_the_answer(segment, tmp_path):
    """The answer goes to dnsmasq, which relays it; the address is of the network behind it."""
    first, last = IPv4Address("198.51.100.10"), IPv4Address("198.51.100.20")
    far = Pool(network=IPv4Network("198.51.100.0/24"), first=first, last=last)
    with Segment() as behind, relaying(segment, behind, tmp_path):
        box = behind.plug(KNOWN)
        async with serving(segment, "full", pool_of(segment), far):
            told = await udhcpc(box, tmp_path, "-t", "8")
    assert told is not None
    assert told["ip"].startswith("198.51.100.")
    assert told["serverid"] == str(segment.address)


async def test_a_second_server_on_the_same_port_is_refused(segment):
    async with serving(segment, "proxy") as server:
        with pytest.raises(SafetyRefusal, match=r"port 67 on .* is in use"):
            await DhcpServer(server.config, lambda _: None).run()


async def test_an_interface_that_is_not_there_is_named(segment):
    config = DhcpConfig("full", "nosuch0", segment.address)
    with pytest.raises(UsageError, match=f"no interface 'nosuch0'.*{segment.bridge}"):
        await DhcpServer(config, lambda _: None).run()


# --- beside a rival ---------------------------------------------------------------------------------------------------


@pytest.fixture
def rom(segment):
    box = segment.plug(KNOWN)
    box.give(f"{segment.host(77)}/24")
    rom = Rom(box, KNOWN)
    yield rom
    rom.wire.close()


async def test_beside_a_rival_the_rom_gets_its_address_there_and_its_boot_file_here(segment, tmp_path, rom):
    with rival(segment, tmp_path):
        async with serving(segment, "proxy") as server:
            offers = {}
            while len(offers) < 2:  # the rival takes a moment to start
                await rom.say(MessageType.DISCOVER, PXE, ("255.255.255.255", 67))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        while True:
                            message, source = await rom.hear()
                            offers[source[0]] = message
            theirs, ours = offers[str(segment.host(2))], offers[str(segment.address)]
            assert (str(ours.yiaddr), ours.file, ours.options[60]) == ("0.0.0.0", b"snponly.efi", b"PXEClient")
            assert theirs.yiaddr in segment.network
            assert theirs.file == b""

            have = {"ciaddr": segment.host(77)}
            await rom.say(MessageType.REQUEST, PXE, (str(segment.address), 4011), **have)
            async with asyncio.timeout(30):
                ack, source = await rom.hear()
            assert source == (str(segment.address), 4011)
            assert (ack.options[53], ack.file, ack.siaddr) == (bytes([5]), b"snponly.efi", segment.address)
            assert server.leases() == []


async def test_beside_a_rival_an_ordinary_client_never_hears_us(segment, tmp_path):
    box = segment.plug(OTHER)
    with rival(segment, tmp_path):
        async with serving(segment, "proxy") as server:
            told = None
            async with asyncio.timeout(20):
                while told is None:
                    told = await udhcpc(box, tmp_path)
            assert told["serverid"] == str(segment.host(2))
            assert "offer" not in server.status().counts
            assert "ack" not in server.status().counts


async def test_a_flood_of_nonsense_is_counted_and_the_next_machine_is_served(segment, tmp_path, rom):
    box = segment.plug(OTHER)
    async with serving(segment, "full", pool_of(segment)) as server:
        for number in range(2000):
            noise = struct.pack("!I", number) * (number % 90)
            with contextlib.suppress(BlockingIOError):
                rom.wire.sendto(noise, ("255.255.255.255", 67))
        assert await udhcpc(box, tmp_path) is not None
        counts = server.status().counts
    assert counts["malformed"] > 0
    assert counts["ack"] == 1
    assert msgspec.json.encode(server.status())

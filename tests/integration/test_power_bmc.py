"""Redfish and IPMI against BMCs that answer: ours, sushy-tools' emulator, pyghmi's own server."""

import asyncio
import ssl
import sys
from datetime import UTC, datetime

import msgspec
import pytest
from msgspec.structs import replace

from ops_system.master.outbound.client import Outbound
from ops_system.master.power.driver import Driver
from ops_system.master.power.ipmi import Ipmi
from ops_system.master.power.redfish import Redfish
from ops_system.master.power.rules import PowerAction, Way, plain
from ops_system.model.errors import Forbidden, NotAllowed, Unavailable
from ops_system.model.machines import Hardware, Machine
from ops_system.runtime.clock import SystemClock
from tests.fakes.bmc import PASSWORD, USER, Chassis, RedfishBmc, ipmi_bmc, redfish_bmc
from tests.fakes.certificates import write_certificate
from tests.fakes.ports import free_port

UUID = "27946b59-9e44-4fa7-8e91-f3527a1ef094"
WITHIN_S = 30.0
QUICK_EMULATOR = """
import random
random.randint = lambda least, most: least  # how long a change of power takes
from sushy_tools.emulator.main import main
main()
"""


def way(kind, address, **more):
    return Way(idc="dc1", sn="SN1", kind=kind, address=address, username=USER, password=PASSWORD, **more)


def outbound():
    return Outbound(allow=["127.0.0.1"])


async def carry_out(line, action, *, sn="SN1", machine=None):
    steps = []
    async with asyncio.timeout(WITHIN_S):
        await Driver(line, sn, machine, SystemClock(), steps.append).carry_out(action)
    return steps


@pytest.fixture(params=["redfish", "ipmi"])
async def bmc(request):
    chassis = Chassis("SN1", UUID)
    made = redfish_bmc(RedfishBmc(chassis)) if request.param == "redfish" else ipmi_bmc(chassis)
    async with made as address:
        kind = Redfish if request.param == "redfish" else Ipmi
        given = way(request.param, address)

        def line(given=given, out=None):
            return kind(out or outbound(), given)

        yield line, given, chassis


async def test_on_off_and_restart(bmc):
    make, _given, chassis = bmc
    line = make()
    assert await line.state() == "off"
    assert await carry_out(line, PowerAction.ON) == ["identify", "order", "confirm"]
    await carry_out(line, PowerAction.ON)  # it is so already: nothing is sent
    await carry_out(line, PowerAction.CYCLE)
    await carry_out(line, PowerAction.OFF)
    assert chassis.log == ["start", "stop", "start", "stop"]
    await carry_out(line, PowerAction.CYCLE)
    assert chassis.log[4:] == ["start"]


async def test_the_network_is_chosen_for_one_start_whatever_the_machine_does(bmc):
    make, _given, chassis = bmc
    line = make()
    uefi = Machine(idc="dc1", sn="SN1", hardware=Hardware(firmware="uefi"))
    await carry_out(line, PowerAction.NETBOOT, machine=uefi)
    assert chassis.uefi is True
    await carry_out(line, PowerAction.NETBOOT)
    await carry_out(line, PowerAction.CYCLE)
    assert chassis.log == ["netboot", "stop", "netboot", "stop", "start"]


async def test_serial_and_uuid_are_read(bmc):
    line = bmc[0]()
    identity = await line.identify()
    assert "SN1" in identity.serials
    assert plain(UUID) in {plain(one) for one in identity.uuids}
    assert identity.vendor == "Fake"


async def test_the_bmc_of_another_machine_is_left_alone(bmc):
    make, _given, chassis = bmc
    line = make()
    chassis.is_on = True
    for action in PowerAction:
        with pytest.raises(NotAllowed) as refused:
            await carry_out(line, action, sn="OTHER")
        assert refused.value.details["reason"] == "bmc_identity"
    assert chassis.log == []
    assert not chassis.boots_network_once
    known = Machine(idc="dc1", sn="OTHER", uuid=UUID.upper())
    await carry_out(line, PowerAction.OFF, sn="OTHER", machine=known)  # its UUID fits
    assert chassis.log == ["stop"]


async def test_a_wrong_login_is_said_and_ends_the_try(bmc):
    make, given, chassis = bmc
    with pytest.raises(NotAllowed) as refused:
        await carry_out(make(replace(given, password="no")), PowerAction.ON)
    assert refused.value.details["reason"] == "bmc_credentials"
    assert chassis.log == []


async def test_loopback_is_not_called_unless_an_administrator_allows_it(bmc):
    make, _given, chassis = bmc
    with pytest.raises(Forbidden):
        await make(out=Outbound()).on()
    assert chassis.log == []


async def test_a_bmc_that_stumbles_is_asked_again():
    bmc = RedfishBmc(Chassis("SN1"))
    bmc.fails = 2
    async with redfish_bmc(bmc) as url:
        await carry_out(Redfish(outbound(), way("redfish", url)), PowerAction.ON)
    assert bmc.chassis.log == ["start"]


async def test_nobody_at_the_address_is_worth_another_try():
    for line in (
        Redfish(outbound(), way("redfish", "http://127.0.0.1:9")),
        Ipmi(outbound(), way("ipmi", "127.0.0.1:9")),
    ):
        with pytest.raises(Unavailable):
            await line.state()


async def test_what_a_bmc_does_not_offer_is_said():
    bmc = RedfishBmc(Chassis("SN1", is_on=True))
    bmc.targets, bmc.resets = ["Hdd"], ["GracefulShutdown"]
    async with redfish_bmc(bmc) as url:
        for action in (PowerAction.NETBOOT, PowerAction.CYCLE, PowerAction.OFF):
            with pytest.raises(NotAllowed) as refused:
                await carry_out(Redfish(outbound(), way("redfish", url)), action)
            assert refused.value.details["reason"] == "bmc_unable"
    assert bmc.chassis.log == []


async def test_a_certificate_of_its_own_is_pinned_and_no_other_gets_the_password(tmp_path):
    def tls(name):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        return context

    pins = {name: write_certificate(tmp_path, datetime.now(UTC), name=name) for name in ("one", "two")}
    bmc = RedfishBmc(Chassis("SN1"))
    async with redfish_bmc(bmc, tls=tls("one")) as url:
        with pytest.raises(NotAllowed) as unknown:
            await Redfish(outbound(), way("redfish", url)).state()
        assert unknown.value.details["seen_sha256"] == pins["one"]
        with pytest.raises(NotAllowed) as other:
            await Redfish(outbound(), way("redfish", url, certificate_sha256=pins["two"])).state()
        assert other.value.details["reason"] == "bmc_certificate"
        assert bmc.asked == []
        await carry_out(Redfish(outbound(), way("redfish", url, certificate_sha256=pins["one"])), PowerAction.ON)
    assert bmc.chassis.log == ["start"]


async def test_the_password_follows_no_link_to_another_host():
    bmc = RedfishBmc(Chassis("SN1"))
    other = RedfishBmc(Chassis("SN2"))
    async with redfish_bmc(other) as elsewhere:
        bmc.systems_at = f"{elsewhere}/redfish/v1/Systems"
        async with redfish_bmc(bmc) as url:
            with pytest.raises(Unavailable, match="another host"):
                await Redfish(outbound(), way("redfish", url)).state()
    assert other.asked == []


async def test_the_emulator_of_sushy_tools_is_switched_and_netbooted(tmp_path):
    port = free_port()
    config = tmp_path / "sushy.conf"
    systems = [{"uuid": UUID, "name": "SN1", "power_state": "Off", "external_notifier": False, "nics": []}]
    config.write_text(
        f"SUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\nSUSHY_EMULATOR_LISTEN_PORT = {port}\n"
        f"SUSHY_EMULATOR_FAKE_SYSTEMS = {systems!r}\nSUSHY_EMULATOR_STATE_DIR = {str(tmp_path)!r}\n"
        "SUSHY_EMULATOR_FEATURE_SET = 'full'\n"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", QUICK_EMULATOR, "--fake", "--config", config)
    try:
        url = f"http://127.0.0.1:{port}"
        line = Redfish(outbound(), way("redfish", url))
        machine = Machine(idc="dc1", sn="SN1", uuid=UUID, hardware=Hardware(firmware="uefi"))
        await carry_out(line, PowerAction.NETBOOT, machine=machine)  # it takes some seconds by design
        assert await line.state() == "on"
        boot = (await outbound().ask("GET", f"{url}/redfish/v1/Systems/{UUID}", body=None, headers={})).body
        assert msgspec.json.decode(boot)["Boot"]["BootSourceOverrideTarget"] == "Pxe"
    finally:
        child.terminate()
        await child.wait()

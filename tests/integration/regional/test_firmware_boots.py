"""Real boot ROMs against the servers: a BIOS with iPXE, UEFI's own PXE and HTTP boot, alone and beside a rival DHCP.

Each ends with iPXE asking over HTTP for what its script names: then everything before it was right.
"""

import asyncio
import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ops_system.regional.advertisement import RouterAnswer
from ops_system.regional.dhcp.leases import Pool
from ops_system.regional.dhcp.questions import BootFiles, DhcpAnswer, boot_answer
from ops_system.regional.dhcp.rules import DhcpConfig
from ops_system.regional.dhcp.server import DhcpServer
from ops_system.regional.tftp.server import TftpServer
from ops_system.regional.tftp.sources import BootRoot
from ops_system.runtime.tasks import running
from tests.fakes.segment import Segment, needs, rival

OVMF_CODE, OVMF_VARS = Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
LOADERS = Path("/usr/lib/ipxe")
MAC, UUID = "52:54:00:00:00:01", "12345678-1234-5678-9abc-def012345678"
pytestmark = [
    *needs("qemu-system-x86_64", "dnsmasq", "sysctl"),
    pytest.mark.skipif(
        not (LOADERS / "snponly.efi").exists() or not OVMF_CODE.exists(), reason="not installed: ipxe or ovmf"
    ),
]


class Site:
    """DHCP, TFTP, HTTP and router answers on one segment."""

    def __init__(self, segment, mode="full", *, only_http=False):
        self.segment, self.only_http = segment, only_http
        self.asked = []
        self.questions = []
        self.web = web.Application()
        self.web.router.add_get("/{name:.*}", self.page)
        pool = Pool(network=segment.network, first=segment.host(100), last=segment.host(120))
        config = DhcpConfig(mode, segment.bridge, segment.address, (pool,))
        self.dhcp = DhcpServer(config, self.answers)
        self.tftp = TftpServer("0.0.0.0", 69, BootRoot(LOADERS), interface=segment.bridge)
        self.router = RouterAnswer(segment.bridge)
        self.reached = asyncio.Event()
        self.url = ""

    def answers(self, question):
        self.questions.append(question)
        if self.only_http and not (question.is_http or question.is_ipxe):
            return DhcpAnswer()
        return boot_answer(question, BootFiles(script_url=f"{self.url}/boot.ipxe", http_url=self.url))

    async def page(self, request):
        name = request.match_info["name"]
        self.asked.append(name)
        if name == "boot.ipxe":
            return web.Response(text=f"#!ipxe\nchain {self.url}/reached/${{net0/mac:hexhyp}}/${{uuid}} || poweroff\n")
        if name.startswith("reached/"):
            self.reached.set()
            return web.Response(status=404)
        return web.FileResponse(LOADERS / name)

    @contextlib.asynccontextmanager
    async def open(self):
        async with contextlib.AsyncExitStack() as stack:
            server = TestServer(self.web, host=str(self.segment.address))
            await stack.enter_async_context(server)
            self.url = str(server.make_url("")).rstrip("/")
            for name, part in (("dhcp", self.dhcp), ("tftp", self.tftp), ("router", self.router)):
                await stack.enter_async_context(running(part.run(), name))
            yield self


@contextlib.contextmanager
def switched_on(segment, folder, *, uefi=False, only_http=False):
    """A machine without a disk whose card is its only way to boot."""
    card = f"virtio-net-pci,netdev=n0,mac={MAC},bootindex=1" + (",romfile=" if uefi else "")
    command = ["qemu-system-x86_64", "-machine", "q35,accel=tcg,graphics=off", "-cpu", "qemu64", "-m", "256"]
    command += ["-smbios", f"type=1,serial=SN1,uuid={UUID}", "-display", "none", "-monitor", "none"]
    command += ["-netdev", f"tap,id=n0,ifname={segment.tap()},script=no,downscript=no", "-device", card]
    command += ["-serial", f"file:{folder}/console", "-object", "rng-random,id=r,filename=/dev/urandom"]
    command += ["-device", "virtio-rng-pci,rng=r"]
    if uefi:
        shutil.copyfile(OVMF_VARS, folder / "vars")
        command += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"]
        command += ["-drive", f"if=pflash,format=raw,unit=1,file={folder}/vars"]
    for version in (4, 6) if only_http else ():
        command += ["-fw_cfg", f"name=opt/org.tianocore/IPv{version}PXESupport,string=no"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def segment():
    with Segment(ipv6=True) as segment:
        yield segment


async def boot(site, folder, within_s=110, **fields):
    async with site.open():
        with switched_on(site.segment, folder, **fields):
            try:
                async with asyncio.timeout(within_s):
                    await site.reached.wait()
            except TimeoutError:
                console = (folder / "console").read_text(errors="replace")[-3000:]
                told = [(event.kind, event.outcome, event.arch) for event in site.dhcp.status().events]
                raise AssertionError(f"not booted; {told} {site.tftp.status()} {site.asked}\n{console}") from None
    assert site.asked[-1] == f"reached/{MAC.replace(':', '-')}/{UUID}"


async def test_a_bios_boots_by_ipxe_in_its_card(segment, tmp_path):
    site = Site(segment)
    await boot(site, tmp_path)
    first = site.questions[0]
    assert (first.mac, first.arch, first.uuid, first.is_ipxe) == (MAC, 0, UUID, True)
    assert site.router.answered > 0
    assert site.dhcp.status().counts == {"offer": site.dhcp.status().counts["offer"], "ack": 1}


@pytest.mark.long
async def test_a_bios_boots_beside_a_rival(segment, tmp_path):
    site = Site(segment, "proxy")
    with rival(segment, tmp_path):
        await boot(site, tmp_path)
    assert site.dhcp.leases() == []


@pytest.mark.long
async def test_uefi_boots_by_its_own_pxe(segment, tmp_path):
    site = Site(segment)
    await boot(site, tmp_path, uefi=True)
    assert (site.questions[0].arch, site.questions[0].uuid) == (7, UUID)
    assert "snponly.efi" in {transfer.name for transfer in site.tftp.status().transfers if transfer.outcome == "sent"}


@pytest.mark.long
async def test_uefi_boots_beside_a_rival(segment, tmp_path):
    site = Site(segment, "proxy")
    with rival(segment, tmp_path):
        await boot(site, tmp_path, uefi=True)
    assert "snponly.efi" in {transfer.name for transfer in site.tftp.status().transfers if transfer.outcome == "sent"}


@pytest.mark.long
async def test_uefi_boots_over_http(segment, tmp_path):
    site = Site(segment, only_http=True)
    await boot(site, tmp_path, uefi=True, only_http=True)
    assert site.asked[0] == "snponly.efi"
    assert site.tftp.status().counts == {}

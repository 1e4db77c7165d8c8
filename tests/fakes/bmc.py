"""Management controllers of a machine that is somewhere else: a Redfish one over HTTP, an IPMI one over UDP.

chassis = Chassis("SN1", uuid, start=vm.start, stop=vm.stop)        # start(netboot: bool), stop(): coroutine functions
async with redfish_bmc(RedfishBmc(chassis)) as url: …               # or: async with ipmi_bmc(chassis) as address: …
with bmc_of(metal) as settings: …                                   # for tests that are not asynchronous
"""

import asyncio
import contextlib
import json
import queue
import ssl
import sys
import threading
import uuid as uuids
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from aiohttp import encode_basic_auth, web

from ops_system.runtime.tasks import running

USER, PASSWORD = "root", "calvin-and-hobbes"
READY_WITHIN_S = 20.0
_SYSTEM = "/redfish/v1/Systems/1"


async def _nothing(_netboot: bool = False) -> None:
    pass


@dataclass
class Chassis:
    """The machine behind a BMC. `log` holds what was done to it, in order: start, netboot, stop."""

    serial: str = "SN1"
    uuid: str = field(default_factory=lambda: str(uuids.uuid4()))
    start: Callable[[bool], Awaitable[None]] = _nothing
    stop: Callable[[], Awaitable[None]] = _nothing
    is_on: bool = False
    boots_network_once: bool = False
    uefi: bool | None = None  # the mode of the override, when one was named
    look: Callable[[], bool] | None = None  # whether it runs, where it may end by itself
    log: list[str] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def has_power(self) -> bool:
        """Whether it runs."""
        return self.look() if self.look is not None else self.is_on

    async def on(self) -> None:
        """Start it; the override is used up by that."""
        if self.has_power:
            return
        netboot, self.boots_network_once, self.is_on = self.boots_network_once, False, True
        self._note("netboot" if netboot else "start")
        await self.start(netboot)

    async def off(self) -> None:
        """Stop it at once."""
        if self.has_power:
            self.is_on = False
            self._note("stop")
            await self.stop()

    async def restart(self) -> None:
        """Stop and start it."""
        await self.off()
        await self.on()

    def _note(self, what: str) -> None:
        self.log.append(what)
        self.heard.set()


# --- Redfish --------------------------------------------------------------------------------------------------------
class RedfishBmc:
    """One system. `fails`: so many requests are answered with 503 first; `is_deaf`: orders are taken, nothing happens."""

    def __init__(self, chassis: Chassis) -> None:
        self.chassis = chassis
        self.user, self.password = USER, PASSWORD
        self.fails = 0
        self.is_deaf = False
        self.resets = ["On", "ForceOff", "GracefulShutdown", "ForceRestart"]
        self.systems_at = "/redfish/v1/Systems"
        self.targets = ["None", "Pxe", "Hdd"]
        self.asked: list[str] = []

    def app(self) -> web.Application:
        """Return it as an application."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/redfish/v1/", self._root)
        app.router.add_get("/redfish/v1/Systems", self._systems)
        app.router.add_get(_SYSTEM, self._system)
        app.router.add_patch(_SYSTEM, self._patch)
        app.router.add_post(f"{_SYSTEM}/Actions/ComputerSystem.Reset", self._reset)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if self.fails:
            self.fails -= 1
            return web.json_response({"error": {}}, status=503)
        given = request.headers.get("Authorization", "")
        if request.path != "/redfish/v1/" and given != encode_basic_auth(self.user, self.password):
            return web.json_response({"error": {}}, status=401)
        return await handler(request)

    async def _root(self, _request: web.Request) -> web.Response:
        return web.json_response({"RedfishVersion": "1.15.0", "Systems": {"@odata.id": self.systems_at}})

    async def _systems(self, _request: web.Request) -> web.Response:
        return web.json_response({"Members": [{"@odata.id": _SYSTEM}], "Members@odata.count": 1})

    async def _system(self, _request: web.Request) -> web.Response:
        chassis = self.chassis
        reset = {
            "target": f"{_SYSTEM}/Actions/ComputerSystem.Reset",
            "ResetType@Redfish.AllowableValues": self.resets,
        }
        return web.json_response(
            {
                "@odata.id": _SYSTEM,
                "@odata.etag": '"7"',
                "Id": "1",
                "Manufacturer": "Fake",
                "Model": "Chassis",
                "SKU": None,
                "SerialNumber": chassis.serial,
                "UUID": chassis.uuid,
                "PowerState": "On" if chassis.has_power else "Off",
                "Boot": {
                    "BootSourceOverrideEnabled": "Once" if chassis.boots_network_once else "Disabled",
                    "BootSourceOverrideTarget@Redfish.AllowableValues": self.targets,
                },
                "Actions": {"#ComputerSystem.Reset": reset},
            }
        )

    async def _patch(self, request: web.Request) -> web.Response:
        if request.headers.get("If-Match") != '"7"':
            return web.json_response({"error": {}}, status=428)
        boot = (await request.json())["Boot"]
        assert boot["BootSourceOverrideEnabled"] == "Once"
        if boot["BootSourceOverrideTarget"] not in self.targets:
            return web.json_response({"error": {}}, status=400)
        self.chassis.boots_network_once = True
        mode = boot.get("BootSourceOverrideMode")
        self.chassis.uefi = None if mode is None else mode == "UEFI"
        return web.Response(status=204)

    async def _reset(self, request: web.Request) -> web.Response:
        kind, chassis = (await request.json())["ResetType"], self.chassis
        if kind not in self.resets:
            return web.json_response({"error": {}}, status=400)
        if kind == "On" and chassis.has_power:
            return web.json_response({"error": {}}, status=409)  # as some do
        acts = {"On": chassis.on, "ForceOff": chassis.off}
        if not self.is_deaf:
            await acts.get(kind, chassis.restart)()
        return web.Response(status=204)


@contextlib.asynccontextmanager
async def redfish_bmc(bmc: RedfishBmc, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve a Redfish BMC on a free port of loopback and give its address."""
    runner = web.AppRunner(bmc.app())
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


class Machine(Protocol):
    """A machine with a power switch, such as `qemu.Metal`."""

    sn: str
    uuid: str

    @property
    def is_on(self) -> bool: ...

    def power_on(self, first: Literal["network", "disk"] | None = None) -> None: ...

    def cut_power(self) -> None: ...


@contextlib.contextmanager
def bmc_of(machine: Machine) -> Iterator[dict[str, Any]]:
    """Serve a Redfish BMC of a machine from a thread; give the body of `PUT /machines/{idc}/{sn}/bmc`.

    The master must be allowed to call it: `outbound.allow` 127.0.0.1.
    """

    async def start(netboot: bool) -> None:
        await asyncio.to_thread(machine.power_on, "network" if netboot else None)

    async def stop() -> None:
        await asyncio.to_thread(machine.cut_power)

    async def serve() -> None:
        chassis = Chassis(machine.sn, machine.uuid, start, stop, look=lambda: machine.is_on)
        async with redfish_bmc(RedfishBmc(chassis)) as url:
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            made.put((url, lambda: loop.call_soon_threadsafe(ended.set)))
            await ended.wait()

    made: queue.Queue[tuple[str, Callable[[], object]]] = queue.Queue()
    thread = threading.Thread(target=asyncio.run, args=(serve(),), name=f"BMC of {machine.sn}")
    thread.start()
    url, end = made.get(timeout=READY_WITHIN_S)
    try:
        yield {"kind": "redfish", "address": url, "username": USER, "password": PASSWORD, "allow_plain_http": True}
    finally:
        end()
        thread.join(READY_WITHIN_S)


# --- IPMI -----------------------------------------------------------------------------------------------------------
@contextlib.asynccontextmanager
async def ipmi_bmc(chassis: Chassis) -> AsyncIterator[str]:
    """Serve an IPMI BMC on a free UDP port of loopback, in a process of its own, and give `HOST:PORT`."""
    facts = json.dumps({"serial": chassis.serial, "uuid": chassis.uuid, "user": USER, "password": PASSWORD})
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("bmc_ipmi.py")),
        facts,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            port = int(await child.stdout.readline())
        async with running(_obey(chassis, child.stdout, child.stdin), "fake IPMI BMC"):
            yield f"127.0.0.1:{port}"
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def _obey(chassis: Chassis, orders: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
    acts = {"on": chassis.on, "off": chassis.off, "restart": chassis.restart}
    while line := await orders.readline():
        order = line.decode().strip()
        if order in acts:
            await acts[order]()
        elif order.startswith("network"):
            chassis.boots_network_once = True
            chassis.uefi = order.endswith("uefi")
        answers.write(b"on\n" if chassis.has_power else b"off\n")
        await answers.drain()

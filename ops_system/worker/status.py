"""The status port: `/health` and `/metrics` on loopback, for people and monitors on this machine. Nothing else listens.

`app` gives it the pictures; `worker status` reads `/health`.
"""

import contextlib
import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from ops_system.model.errors import SafetyRefusal
from ops_system.model.exposition import HELP, Family, Row, name_extra, render, single
from ops_system.model.ids import InstanceId
from ops_system.model.instances import Desired, HealthState, State
from ops_system.model.metrics import INSTANCE_SERIES, NODE_SERIES
from ops_system.model.reasons import Reason
from ops_system.protocol.frames import Sample
from ops_system.worker.metrics.pace import Pace

if TYPE_CHECKING:
    from aiohttp import web

LOOPBACK = "127.0.0.1"


class LinkStatus(msgspec.Struct, frozen=True):
    """How the connection to the master is."""

    state: str
    master_url: str
    since: datetime | None = None
    message: str = ""
    times_linked: int = 0
    clock_skew_s: float = 0.0


class InstanceStatus(msgspec.Struct, frozen=True):
    """One instance as `worker status` lists it."""

    instance_id: InstanceId
    name: str
    version: str
    desired: Desired
    state: State
    health: HealthState = HealthState.UNKNOWN
    pid: int | None = None
    restarts: int = 0
    reason: Reason | None = None


class Health(msgspec.Struct, frozen=True):
    """Answer of `/health`. `status` is `ok`, or `degraded` while the master is away or a service has failed."""

    status: str
    version: str
    node_id: str
    node_name: str
    link: LinkStatus
    instances: tuple[InstanceStatus, ...]
    started_at: datetime | None = None


class StatusServer:
    """Two pages on loopback. `open` before `run`, so that a taken port stops the start."""

    def __init__(self, port: int, health: Callable[[], Health], metrics: Callable[[], str]) -> None:
        self._port = port
        self._health = health
        self._metrics = metrics
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that is really bound."""
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    async def open(self) -> None:
        """Bind the port. Raises SafetyRefusal when another program has it."""
        from aiohttp import web

        app = web.Application(middlewares=[_only_loopback_names()])
        app.router.add_get("/health", self._answer_health)
        app.router.add_get("/metrics", self._answer_metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, self._port).start()
        except OSError as problem:
            await runner.cleanup()
            raise SafetyRefusal(
                "port {port} on {address} is in use ({trouble}); "
                "stop what uses it (another worker?) or choose one with -port",
                port=self._port,
                address=LOOPBACK,
                trouble=problem.strerror,
            ) from problem
        self._runner = runner

    async def close(self) -> None:
        """Stop answering."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer_health(self, _request: "web.Request") -> "web.Response":
        from aiohttp import web

        return web.Response(body=msgspec.json.encode(self._health()), content_type="application/json")

    async def _answer_metrics(self, _request: "web.Request") -> "web.Response":
        from aiohttp import web

        return web.Response(text=self._metrics(), content_type="text/plain", charset="utf-8")


def _only_loopback_names() -> "Callable[..., Awaitable[web.StreamResponse]]":
    """Refuse other names: a web page elsewhere could point its own name at 127.0.0.1 (DNS rebinding)."""
    from aiohttp import web

    @web.middleware
    async def check(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if not is_loopback_name(request.host):
            return web.Response(status=421, text="this port answers to localhost only\n")
        return await handler(request)

    return check


def is_loopback_name(host: str) -> bool:
    """Return whether a Host header names this machine from inside."""
    name = re.sub(r":\d+\Z", "", host).strip("[]")
    if name == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return False


def prometheus_text(health: Health, sample: Sample | None, dropped_samples: int, pace: Pace | None = None) -> str:
    """Return everything measured in Prometheus' text format; unknown values are left out."""
    up = [(_names(item), float(item.state is State.RUNNING)) for item in health.instances]
    restarts = [(_names(item), float(item.restarts)) for item in health.instances]
    info = {"version": health.version, "node": health.node_name}
    families = [
        Family("ops_worker_info", "1, with the version and the name of the node.", [(info, 1.0)]),
        single("ops_worker_link_up", "Whether the master hears this worker.", float(health.link.state == "linked")),
        single("ops_worker_samples_dropped", "Samples thrown away before they could be sent.", float(dropped_samples)),
        Family("ops_worker_instance_up", "Whether an instance runs.", up),
        Family("ops_worker_instance_restarts", "Restarts of an instance so far.", restarts),
        *_pace_families(pace),
        *_sample_families(health, sample),
    ]
    return render(families)


def _pace_families(pace: Pace | None) -> Iterable[Family]:
    if pace is not None:
        yield single("ops_worker_pass_seconds", "How long the newest reading of the machine took.", pace.last_pass_s)
        yield single("ops_worker_slow_passes_total", "Readings that took too long.", float(pace.slow_passes))
        yield single(
            "ops_worker_pace_stretch", "How much rarer expensive readings are than usual.", float(pace.stretch)
        )


def _sample_families(health: Health, sample: Sample | None) -> Iterable[Family]:
    if sample is None:
        return
    for name, value in zip(NODE_SERIES, sample.node, strict=True):
        yield single(f"ops_node_{name}", HELP.get(name, ""), value)
    extra: dict[str, list[Row]] = {}
    for series, value in sample.extra.items():
        name, labels = name_extra(series)
        extra.setdefault(name, []).append((labels, value))
    yield from (Family(name, "", rows) for name, rows in extra.items())
    named = {item.instance_id: _names(item) for item in health.instances}
    for place, name in enumerate(INSTANCE_SERIES):
        rows = [(named[key], row[place]) for key, row in sample.instances.items() if key in named]
        yield Family(f"ops_instance_{name}", "", rows)


def _names(item: InstanceStatus) -> dict[str, str]:
    return {"instance_id": item.instance_id, "name": item.name}

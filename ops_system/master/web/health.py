"""What the master says about itself: `/health`, `/metrics`, `/version`, and the OpenAPI document."""

import os
import platform
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec
from aiohttp import web

from ops_system import __version__
from ops_system.master.web.reply import Reply
from ops_system.master.web.route import Call, Permission, Principal, Route
from ops_system.model.errors import OpsError
from ops_system.model.exposition import CONTENT_TYPE, Family, Row, render

Check = Callable[[], Awaitable[object]]
Gauges = Callable[[], Mapping[str, float]]
Texts = Callable[[Principal], AsyncIterator[str]]
API_VERSION = "v1"

HELP = {
    "ops_channel_deliveries_total": "Messages to channels by how they went.",
    "ops_http_responses_total": "Answers by HTTP status.",
    "ops_master_start_time_seconds": "When the master started, in Unix seconds.",
    "ops_metrics_dropped_samples_total": "Samples that workers threw away because the link was slow or down.",
    "ops_metrics_history_bytes": "Size of the files that keep the history of metrics.",
    "ops_metrics_history_damaged_files_total": "History files set aside because they were damaged.",
    "ops_metrics_history_up": "Whether the history of metrics is being written.",
    "ops_metrics_refused_values_total": "Values that found no room in logic.metrics_memory.",
    "ops_metrics_window_bytes": "Memory that the windows of metrics hold.",
    "ops_node_links": "Workers that are linked now.",
    "ops_nodes": "Nodes by status.",
    "ops_store_bytes": "Keys and values of the embedded provisioning store.",
    "ops_store_revision": "Revision of the embedded provisioning store.",
    "ops_store_watches": "Open watches of the embedded provisioning store.",
    "process_cpu_seconds_total": "CPU time of the master.",
    "process_open_fds": "Open file descriptors of the master.",
    "process_resident_memory_bytes": "Resident memory of the master.",
}
"""What the numbers given by `gauges` are."""


class MasterHealth(msgspec.Struct, frozen=True):
    """Liveness. Each part is `ok` or says what is wrong."""

    status: Literal["ok", "degraded"]
    parts: dict[str, str]


class Version(msgspec.Struct, frozen=True):
    """What runs here, since when."""

    version: str
    api: str
    protocol: int
    python: str
    started_at: datetime


@dataclass(slots=True)
class SelfReport:
    """The parts that report here.

    `checks` return when they are well; `gauges` give Prometheus names and values; `texts` more of that format, for
    what the one who asks may see.
    """

    started_at: datetime
    protocol: int
    checks: dict[str, Check] = field(default_factory=dict)
    gauges: list[Gauges] = field(default_factory=list)
    texts: list[Texts] = field(default_factory=list)
    document: Callable[[], bytes] = lambda: b"{}"

    async def health(self, _call: Call) -> Reply:
        """GET /health: 200 when every part is well, else 503."""
        parts = {name: await _state_of(check) for name, check in self.checks.items()}
        is_well = all(state == "ok" for state in parts.values())
        return Reply(MasterHealth("ok" if is_well else "degraded", parts), status=200 if is_well else 503)

    async def metrics(self, call: Call) -> web.StreamResponse:
        """GET /metrics in Prometheus' text format, in pieces: of a large fleet it is tens of megabytes."""
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE})
        async for piece in self._tell(call.principal):
            if not response.prepared:
                await response.prepare(call.request)
            await response.write(piece.encode())
        await response.write_eof()
        return response

    async def _tell(self, principal: Principal) -> AsyncIterator[str]:
        for tell in self.texts:
            async for piece in tell(principal):
                yield piece
        values = {**_process_gauges(), "ops_master_start_time_seconds": self.started_at.timestamp()}
        for gauges in self.gauges:
            values.update(gauges())
        yield render_samples(values)

    async def version(self, _call: Call) -> Version:
        """GET /version."""
        return Version(__version__, API_VERSION, self.protocol, platform.python_version(), self.started_at)

    async def openapi(self, _call: Call) -> msgspec.Raw:
        """GET /openapi.json: made from the route table."""
        return msgspec.Raw(self.document())

    def routes(self) -> list[Route]:
        """Return the routes of this module."""
        return [
            Route(
                "GET",
                "!/health",
                Permission.OPEN,
                self.health,
                "Liveness with the state of each part",
                "get_health",
                answer=MasterHealth,
                other_answers=((503, MasterHealth),),
                tag="self",
            ),
            Route(
                "GET",
                "!/metrics",
                Permission.LOOPBACK,
                self.metrics,
                "The numbers of the master and of the fleet in Prometheus' text format",
                "get_self_metrics",
                answer=web.StreamResponse,
                media="text/plain",
                tag="self",
            ),
            Route(
                "GET",
                "/version",
                Permission.OPEN,
                self.version,
                "Versions of the program, the API and the worker link",
                "get_version",
                answer=Version,
                tag="self",
            ),
            Route(
                "GET",
                "/openapi.json",
                Permission.OPEN,
                self.openapi,
                "This document",
                "get_openapi",
                answer=msgspec.Raw,
                tag="self",
            ),
        ]


def render_samples(values: Mapping[str, float]) -> str:
    """Return Prometheus' text; `name{label="x"}` samples of one name stand together under their type."""
    found: dict[str, list[Row]] = {}
    for sample, value in sorted(values.items()):
        name, brace, labels = sample.partition("{")
        found.setdefault(name, []).append((brace + labels, value))
    return render(Family(name, HELP.get(name, ""), rows) for name, rows in found.items())


async def _state_of(check: Check) -> str:
    try:
        await check()
    except OpsError as error:
        return error.message
    except Exception as error:  # noqa: BLE001 - a broken part must not silence the others
        return f"{type(error).__name__}: {error}"
    return "ok"


def _process_gauges() -> dict[str, float]:
    gauges = {"process_cpu_seconds_total": time.process_time()}
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - read on every scrape
            pages = int(file.read().split()[1])
        gauges["process_resident_memory_bytes"] = float(pages * os.sysconf("SC_PAGE_SIZE"))
        gauges["process_open_fds"] = float(len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - read on every scrape
    except (OSError, ValueError, AttributeError):
        pass  # no procfs here (macOS, Windows): these two gauges are absent
    return gauges


def answer_gauges(answers: Mapping[int, int]) -> dict[str, float]:
    """Return the count of answers by HTTP status as Prometheus samples."""
    return {f'ops_http_responses_total{{status="{status}"}}': float(count) for status, count in sorted(answers.items())}

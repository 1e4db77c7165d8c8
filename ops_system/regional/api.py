"""The agent API (protocol/agent.py, contract section 5): parse, check the session, call, answer."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from aiohttp import web
from msgspec.structs import replace

from ops_system.model.errors import Invalid
from ops_system.model.machines import check_sn, normal_mac
from ops_system.protocol.agent import MAX_LOG_LINES as MAX_LINES
from ops_system.protocol.agent import (
    BeginCall,
    CompleteCall,
    DeviceCall,
    Done,
    InQueue,
    InstallCompleteCall,
    LeaseCall,
    ProgressAnswer,
    ProgressCall,
    Report,
)
from ops_system.regional.desk import Desk
from ops_system.regional.mirror import Seat
from ops_system.regional.polling import Documents, Polling
from ops_system.regional.web import answer, bearer, read_body

C = TypeVar("C", BeginCall, CompleteCall, DeviceCall, InstallCompleteCall, LeaseCall, ProgressCall)


class AgentApi:
    """The routes below /api/v1 that agents call."""

    def __init__(self, desk: Desk, polling: Polling, documents: Documents) -> None:
        self._desk, self._polling, self._documents = desk, polling, documents

    def _regions(self) -> tuple[str, ...]:
        """Return where the regional clients are, this one first: what agents are told with each lease."""
        own = self._documents.base_url
        return (own, *self._desk.mirror.standbys(own))

    def add_routes(self, app: web.Application) -> None:
        """Put the routes in."""
        app.router.add_post("/api/v1/report", self._report)
        app.router.add_get("/api/v1/task/{sn}", self._task)
        calls: dict[str, Callable[[web.Request], Awaitable[web.Response]]] = {
            "lease": self._lease,
            "progress": self._progress,
            "device/isInInstallQueue": self._is_queued,
            "device/getNextOperation": self._next,
            "device/getHardwareConfig": self._hardware,
            "device/getOSInstallConfig": self._system,
            "device/operationBegin": self._begin,
            "device/operationComplete": self._complete,
            "device/installComplete": self._finish,
        }
        for path, handler in calls.items():
            app.router.add_post(f"/api/v1/{path}", handler)

    async def _report(self, request: web.Request) -> web.Response:
        report = await read_body(request, Report)
        check_sn(report.sn)
        normal_mac(report.mac_address)
        return answer(replace(await self._desk.report(report), regions=self._regions()))

    async def _lease(self, request: web.Request) -> web.Response:
        call, seat = await self._call(request, LeaseCall)
        return answer(replace(await self._desk.renew(call.sn, seat), regions=self._regions()))

    async def _progress(self, request: web.Request) -> web.Response:
        call, seat = await self._call(request, ProgressCall)
        if len(call.lines) > MAX_LINES:
            raise Invalid(f"more than {MAX_LINES} lines in one message", problems=["$.lines"])
        lease = await self._desk.progress_of_agent(_fenced(call, seat), seat)
        return answer(ProgressAnswer(lease=lease and replace(lease, regions=self._regions())))

    async def _begin(self, request: web.Request) -> web.Response:
        call, _seat = await self._call(request, BeginCall)
        await self._desk.begin(call)
        return answer(Done())

    async def _complete(self, request: web.Request) -> web.Response:
        call, seat = await self._call(request, CompleteCall)
        await self._desk.complete(_fenced(call, seat))
        return answer(Done())

    async def _finish(self, request: web.Request) -> web.Response:
        call, seat = await self._call(request, InstallCompleteCall)
        await self._desk.finish(_fenced(call, seat))
        return answer(Done())

    async def _next(self, request: web.Request) -> web.Response:
        call, seat = await self._call(request, DeviceCall)
        return answer(await self._polling.next_operation(call.sn, seat, lambda: request.transport is None))

    async def _is_queued(self, request: web.Request) -> web.Response:
        call, _seat = await self._call(request, DeviceCall)
        return answer(InQueue(self._documents.is_queued(call.sn)))

    async def _hardware(self, request: web.Request) -> web.Response:
        call, _seat = await self._call(request, DeviceCall)
        return answer(self._documents.hardware(call.sn))

    async def _system(self, request: web.Request) -> web.Response:
        call, _seat = await self._call(request, DeviceCall)
        return answer(await self._documents.system(call.sn))

    async def _task(self, request: web.Request) -> web.Response:
        sn = request.match_info["sn"]
        self._desk.check_serves()
        self._desk.sessions.check(bearer(request), sn)
        return answer(replace(self._documents.task(sn), sealed_enrolment="", installer_sha256=""))

    async def _call(self, request: web.Request, wanted: type[C]) -> tuple[C, Seat]:
        """Return the call and who makes it; the token is looked at before the body is judged."""
        token = bearer(request)
        self._desk.check_serves()
        call = await read_body(request, wanted)
        return call, self._desk.sessions.check(token, call.sn)


F = TypeVar("F", CompleteCall, InstallCompleteCall, ProgressCall)


def _fenced(call: F, seat: Seat) -> F:
    """A call that names no fence is made under the one its session was given."""
    return call if call.fence else msgspec.structs.replace(call, fence=seat.lease.fence)

"""Routes of the embedded store: etcd's own paths, JSON and errors (docs/store.md)."""

import asyncio
import contextlib
from functools import partial

import msgspec
from aiohttp import web

from ops_system.kv import errors
from ops_system.kv.gateway import MAX_BODY_BYTES
from ops_system.master.provision_store.service import StoreDoor
from ops_system.master.web.route import Call, Permission, Route
from ops_system.model.errors import TooLarge
from ops_system.runtime.gone import GONE_AFTER_S, notice_silence
from ops_system.runtime.tasks import every, running

LOOK_S = 5.0
_ERROR_STATUSES = (400, 401, 403, 404, 405, 409, 412, 413, 415, 421, 422, 429, 500, 503, 504, 507)


class StoreError(msgspec.Struct, frozen=True):
    """A refusal in the words of etcd's JSON gateway; `code` is gRPC's."""

    error: str
    message: str
    code: int


class StoreHeader(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the answer comes from. Numbers of 64 bits travel as text, zeros and false are left out."""

    cluster_id: str = ""
    member_id: str = ""
    revision: str = ""
    raft_term: str = ""


class StoreAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every call answers: the header, and the fields of etcd's v3 API for this call."""

    header: StoreHeader = StoreHeader()


class StoreRenewal(msgspec.Struct, frozen=True):
    """The one line of a renewed lease."""

    result: StoreAnswer


_CALLS = (
    ("kv/range", "Read keys", "store_range", StoreAnswer),
    ("kv/put", "Write a key", "store_put", StoreAnswer),
    ("kv/deleterange", "Remove keys", "store_delete_range", StoreAnswer),
    ("kv/txn", "Compare and act at one instant", "store_txn", StoreAnswer),
    ("kv/compaction", "Forget what was before a revision", "store_compact", StoreAnswer),
    ("lease/grant", "Make a lease", "store_lease_grant", StoreAnswer),
    ("lease/revoke", "End a lease and remove its keys", "store_lease_revoke", StoreAnswer),
    ("lease/keepalive", "Renew a lease", "store_lease_keepalive", StoreRenewal),
    ("lease/timetolive", "Tell what is left of a lease", "store_lease_time_to_live", StoreAnswer),
    ("lease/leases", "List leases", "store_leases", StoreAnswer),
)


def routes(door: StoreDoor) -> list[Route]:
    """Return every route below /v3."""
    refusals = tuple((status, StoreError) for status in _ERROR_STATUSES)
    made = [
        Route(
            method="POST",
            path=f"!/v3/{call}",
            permission=Permission.REGIONAL,
            handler=partial(_answer, door, call),
            summary=summary,
            operation_id=operation_id,
            answer=answer,
            body=bytes,
            other_answers=refusals,
            takes_any_media=True,
            tag="store",
        )
        for call, summary, operation_id, answer in _CALLS
    ]
    watch = Route(
        method="POST",
        path="!/v3/watch",
        permission=Permission.REGIONAL,
        handler=partial(_watch, door),
        summary="Watch keys: one JSON object a line, both ways",
        operation_id="store_watch",
        answer=web.StreamResponse,
        body=bytes,
        other_answers=refusals,
        takes_any_media=True,
        tag="store",
    )
    return [*made, watch]


async def _answer(door: StoreDoor, call: str, request: Call) -> web.Response:
    raw = bytearray()
    async for chunk in request.request.content.iter_any():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            raise TooLarge("etcdserver: request is too large", limit_bytes=MAX_BODY_BYTES)
    status, body = await door.answer(call, bytes(raw), request.principal)
    return web.Response(status=status, body=body, content_type="application/json")


async def _watch(door: StoreDoor, call: Call) -> web.StreamResponse:
    door.check_here()
    request, task = call.request, asyncio.current_task()
    if request.transport is not None:
        with contextlib.suppress(OSError):  # it has gone already
            notice_silence(request.transport.get_extra_info("socket"), GONE_AFTER_S)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})

    async def send(line: bytes) -> None:
        if not response.prepared:
            await response.prepare(request)
        await response.write(line)

    try:
        async with running(_end_when_gone(request, task), "peer of a store watch"):
            await door.watch(request.content.iter_any(), send, call.principal)
    except errors.StoreError as error:
        body = errors.store_error_body(error.message, error.grpc)
        return web.Response(status=errors.HTTP_STATUS[error.grpc], body=body, content_type="application/json")
    return response


async def _end_when_gone(request: web.Request, task: "asyncio.Task[None] | None") -> None:
    """Cancel a stream whose peer has gone: a watch that has nothing to tell would not notice."""

    async def look() -> None:
        if task is not None and (request.transport is None or request.transport.is_closing()):
            task.cancel()

    await every(LOOK_S, look, "peer of a store watch")

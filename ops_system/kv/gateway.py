"""The embedded store over HTTP as etcd's own JSON gateway: bytes in, bytes out; the web server stands in front.

`/v3/watch` is one stream both ways: requests come as JSON objects one after the other, answers go as one a line.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from ops_system.kv import codec
from ops_system.kv.access import Access
from ops_system.kv.base import Lease, Watch, WatchRequest
from ops_system.kv.embedded import Embedded
from ops_system.kv.errors import (
    HTTP_STATUS,
    INTERNAL,
    Compacted,
    Denied,
    Malformed,
    RequestTooLarge,
    StoreError,
    grpc_code,
    store_error_body,
)
from ops_system.kv.ranges import TO_THE_END
from ops_system.kv.scoped import Scoped
from ops_system.model.errors import OpsError
from ops_system.runtime.tasks import cancel_and_wait, spawn

_log = logging.getLogger(__name__)

MAX_BODY_BYTES = 2 * 1024 * 1024 + 64 * 1024  # 1.5 MiB as base64, and the names around it
MAX_WATCHES = 1_000
PROGRESS_S = 60.0
_NO_ID = -1

Send = Callable[[bytes], Awaitable[None]]
Call = Callable[[Scoped, bytes], Awaitable[bytes]]
OnDenied = Callable[[], Awaitable[None]]


async def _no_note() -> None:
    """Nobody wants to know what was denied."""


class Gateway:
    """Answers for one embedded store."""

    def __init__(self, store: Embedded, progress_s: float = PROGRESS_S) -> None:
        self._store = store
        self._writer = codec.Writer(store.cluster_id)
        self._progress_s = progress_s
        self.calls: Mapping[str, Call] = {
            "kv/range": self._range,
            "kv/put": self._put,
            "kv/deleterange": self._delete,
            "kv/txn": self._txn,
            "kv/compaction": self._compact,
            "lease/grant": self._grant,
            "lease/revoke": self._revoke,
            "lease/keepalive": self._keepalive,
            "lease/timetolive": self._time_to_live,
            "lease/leases": self._leases,
        }

    async def answer(self, call: str, raw: bytes, access: Access) -> tuple[int, bytes]:
        """Answer one of `calls`: HTTP status and JSON."""
        try:
            if len(raw) > MAX_BODY_BYTES:
                raise RequestTooLarge
            return 200, await self.calls[call](Scoped(self._store, access), raw)
        except OpsError as error:
            grpc = grpc_code(error)
            return HTTP_STATUS[grpc], store_error_body(error.message, grpc)

    async def watch(
        self, incoming: AsyncIterator[bytes], send: Send, access: Access, on_denied: OnDenied = _no_note
    ) -> None:
        """Serve one stream of watches until the peer goes, the store closes, or nothing is left to tell.

        `on_denied` is called for each watch beyond what may be read. Raises a `StoreError` when nothing was sent yet;
        later it is told on the stream.
        """
        scoped, progress_s = Scoped(self._store, access), self._progress_s
        stream = _Stream(scoped, self._store, self._writer, send, progress_s=progress_s, on_denied=on_denied)
        await stream.serve(incoming)

    async def _range(self, store: Scoped, raw: bytes) -> bytes:
        return self._writer.answer(await store.range(codec.read_range(raw)))

    async def _put(self, store: Scoped, raw: bytes) -> bytes:
        return self._writer.answer(await store.put(codec.read_put(raw)))

    async def _delete(self, store: Scoped, raw: bytes) -> bytes:
        return self._writer.answer(await store.delete(codec.read_delete(raw)))

    async def _txn(self, store: Scoped, raw: bytes) -> bytes:
        return self._writer.answer(await store.txn(codec.read_txn(raw)))

    async def _compact(self, store: Scoped, raw: bytes) -> bytes:
        await store.compact(codec.read_compaction(raw))
        return self._writer.header(self._store.revision)

    async def _grant(self, store: Scoped, raw: bytes) -> bytes:
        words = codec.read_lease(raw)
        return self._writer.lease(self._store.revision, await store.grant(words.TTL, words.ID))

    async def _revoke(self, store: Scoped, raw: bytes) -> bytes:
        await store.revoke(codec.read_lease(raw).ID)
        return self._writer.header(self._store.revision)

    async def _keepalive(self, store: Scoped, raw: bytes) -> bytes:
        """Renew one lease, or several: in etcd it is a stream, objects one after the other, answers one a line."""
        requests = Messages().feed(raw) or [raw]
        lease_ids = [codec.read_lease(request).ID for request in requests]
        renewed = zip(lease_ids, await store.keepalive_many(lease_ids), strict=True)
        revision = self._store.revision
        lines = [codec.stream_line(self._writer.lease(revision, Lease(lease_id, ttl_s))) for lease_id, ttl_s in renewed]
        return b"".join(lines)

    async def _time_to_live(self, store: Scoped, raw: bytes) -> bytes:
        words = codec.read_lease(raw)
        lease = await store.time_to_live(words.ID, keys=words.keys)
        return self._writer.lease(self._store.revision, lease, has_details=True)

    async def _leases(self, store: Scoped, _raw: bytes) -> bytes:
        return self._writer.leases(self._store.revision, await store.leases())


class Messages:
    """Cuts a stream of bytes into the JSON objects that stand in it one after the other."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._at = self._depth = 0
        self._is_text = self._is_escaped = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take some bytes and return the objects that are complete. Raises RequestTooLarge, Malformed."""
        self._kept += data
        found = []
        while self._at < len(self._kept):
            byte = self._kept[self._at]
            self._at += 1
            if self._step(byte):
                found.append(bytes(self._kept[: self._at]))
                del self._kept[: self._at]
                self._at = 0
        if len(self._kept) > MAX_BODY_BYTES:
            raise RequestTooLarge
        return found

    def _step(self, byte: int) -> bool:
        if self._is_text:
            if self._is_escaped:
                self._is_escaped = False
            elif byte == ord("\\"):
                self._is_escaped = True
            elif byte == ord('"'):
                self._is_text = False
            return False
        if byte == ord('"'):
            self._is_text = True
        elif byte in b"{[":
            self._depth += 1
        elif byte in b"}]":
            self._depth -= 1
            return self._depth <= 0
        elif self._depth == 0 and byte not in b" \t\r\n":
            raise Malformed("not a request of etcd's JSON: an object was expected")
        return False


class _Stream:
    """The watches of one connection."""

    def __init__(
        self,
        store: Scoped,
        engine: Embedded,
        writer: codec.Writer,
        send: Send,
        *,
        progress_s: float,
        on_denied: OnDenied,
    ) -> None:
        self._store, self._engine, self._writer, self._send = store, engine, writer, send
        self._progress_s, self._on_denied = progress_s, on_denied
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._next_id = 0
        self._has_told = False

    async def serve(self, incoming: AsyncIterator[bytes]) -> None:
        """Take requests until none can come, then tell changes while a watch is open."""
        messages = Messages()
        try:
            async with asyncio.TaskGroup() as group:
                async for data in incoming:
                    for message in messages.feed(data):
                        await self._take(group, codec.read_watch(message))
                if not self._has_told:
                    raise Malformed("a stream of watches begins with a create_request")
        except* ConnectionError:
            _log.debug("the peer of a stream of watches is gone")
        except* OpsError as failed:
            await self._fail(failed.exceptions[0])

    async def _fail(self, error: Exception) -> None:
        if not self._has_told:
            raise error
        grpc = grpc_code(error) if isinstance(error, OpsError) else INTERNAL
        with contextlib.suppress(ConnectionError):
            await self._send(f'{{"error":{{"grpc_code":{grpc},"message":{codec.quoted(str(error))}}}}}\n'.encode())

    async def _take(self, group: asyncio.TaskGroup, words: codec.WatchWords) -> None:
        if words.create_request is not None:
            await self._create(group, words.create_request)
        elif words.cancel_request is not None:
            watch_id = words.cancel_request.watch_id
            if (task := self._tasks.pop(watch_id, None)) is not None:
                await cancel_and_wait(task)
                await self._tell(watch_id, '"canceled":true')
        elif words.progress_request is not None:
            await self._tell(_NO_ID)

    async def _create(self, group: asyncio.TaskGroup, request: WatchRequest) -> None:
        watch_id = request.watch_id or self._free_id()
        if (reason := self._refusal(request, watch_id)) is not None:
            await self._tell(_NO_ID, '"created":true', '"canceled":true', f'"cancel_reason":{codec.quoted(reason)}')
            return
        try:
            opened = self._store.watch(request)
        except StoreError as error:
            if isinstance(error, Denied):
                await self._on_denied()
            reason = codec.quoted(error.message)
            await self._tell(watch_id, '"created":true', '"canceled":true', f'"cancel_reason":{reason}')
            return
        is_open = asyncio.Event()
        self._tasks[watch_id] = spawn(group, self._pump(watch_id, request, opened, is_open), f"watch {watch_id}")
        await is_open.wait()

    def _free_id(self) -> int:
        while self._next_id in self._tasks:
            self._next_id += 1
        self._next_id += 1
        return self._next_id - 1

    def _refusal(self, request: WatchRequest, watch_id: int) -> str | None:
        if not request.key:
            return "etcdserver: key is not provided"
        if request.range_end not in {b"", TO_THE_END} and request.range_end <= request.key:
            return "mvcc: watcher range is empty"
        if watch_id in self._tasks:
            return "mvcc: duplicate watch ID provided on the WatchStream"
        if len(self._tasks) >= MAX_WATCHES:
            return "etcdserver: too many watches on one stream"
        return None

    async def _pump(
        self,
        watch_id: int,
        request: WatchRequest,
        opened: contextlib.AbstractAsyncContextManager[Watch],
        is_open: asyncio.Event,
    ) -> None:
        try:
            async with opened as watch:
                try:
                    await self._tell(watch_id, '"created":true')
                finally:
                    is_open.set()
                while True:
                    await self._tell_next(watch_id, request, watch)
        except Compacted as error:
            self._tasks.pop(watch_id, None)
            await self._tell(watch_id, '"canceled":true', f'"compact_revision":"{error.revision}"')

    async def _tell_next(self, watch_id: int, request: WatchRequest, watch: Watch) -> None:
        try:
            async with asyncio.timeout(self._progress_s if request.progress_notify else None):
                changes = await watch.next()
        except TimeoutError:
            await self._tell(watch_id)
            return
        await self._send(self._writer.changes(watch_id, changes, self._engine.revision))

    async def _tell(self, watch_id: int, *parts: str) -> None:
        self._has_told = True
        await self._send(self._writer.watch(watch_id, self._engine.revision, *parts))

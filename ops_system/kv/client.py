"""A store over HTTP in etcd's v3 JSON: a real etcd, or the gateway of a master. Every role that is not the master.

Reads, renewals and leases with an id of their own are tried at every endpoint. A write is sent again only when it
certainly was not done; when that cannot be known, `TimedOut` says so and `change` in `swap` knows what to do.
"""

import asyncio
import contextlib
import io
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NoReturn, Self, TypeVar

import aiohttp
import msgspec

from ops_system.kv import wire
from ops_system.kv.base import (
    DeleteRequest,
    DeleteResponse,
    Lease,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    TxnRequest,
    TxnResponse,
    Watch,
    WatchRequest,
)
from ops_system.kv.errors import UNAUTHENTICATED, Denied, InvalidToken, StoreError
from ops_system.kv.remote import RemoteWatch, is_tls_refusal, known_refusal, spell
from ops_system.model.errors import Invalid, OpsError, TimedOut, Unavailable
from ops_system.runtime.gone import notice_silence

T = TypeVar("T")

CALL_WITHIN_S, CONNECT_WITHIN_S = 15.0, 5.0
_SERVER_ERROR = 500
_LARGE_BYTES = 1024 * 1024
_JSON = {"Content-Type": "application/json"}


class Login(msgspec.Struct, frozen=True):
    """How to show who one is: a token of a master, or a user of etcd with a password. Empty: not at all."""

    token: str = ""
    user: str = ""
    password: str = ""


NOBODY = Login()


class _Unknown(Exception):
    """The request may or may not have been done."""


class _NotDone(Exception):
    """The request was certainly not done: another endpoint may be asked."""


class Client:
    """A `Store` elsewhere. Use as an async context manager, or `close` it."""

    def __init__(
        self,
        endpoints: Sequence[str],
        login: Login = NOBODY,
        tls: ssl.SSLContext | None = None,
        within_s: float = CALL_WITHIN_S,
    ) -> None:
        if not endpoints:
            raise Invalid("a store has at least one address, such as http://127.0.0.1:2379", problems=["endpoints"])
        self._endpoints = [url.rstrip("/") for url in endpoints]
        self._login, self._tls, self._within_s = login, tls, within_s
        self._at = 0
        self._token = f"Bearer {login.token}" if login.token else ""
        self._session: aiohttp.ClientSession | None = None
        self._login_lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End every connection."""
        if self._session is not None:
            await self._session.close()

    # --- keys -------------------------------------------------------------------------------------------------------
    async def range(self, request: RangeRequest) -> RangeResponse:
        """Read."""
        return await self._call("kv/range", request, wire.read_range_answer, may_repeat=True)

    async def put(self, request: PutRequest) -> PutResponse:
        """Write one key."""
        return await self._call("kv/put", request, wire.read_put_answer)

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """Remove a key or a range."""
        return await self._call("kv/deleterange", request, wire.read_delete_answer)

    async def txn(self, request: TxnRequest) -> TxnResponse:
        """Compare and act. Only one that cannot write is ever sent twice."""
        return await self._call("kv/txn", request, wire.read_txn_answer, may_repeat=_is_reading(request))

    async def compact(self, revision: int) -> None:
        """Forget what was before `revision`."""
        await self._call("kv/compaction", _Revision(revision), bytes)

    # --- leases -----------------------------------------------------------------------------------------------------
    async def grant(self, ttl_s: int, lease_id: int = 0) -> Lease:
        """Make a lease."""
        answer = await self._call("lease/grant", _LeaseWords(lease_id, ttl_s), _lease)
        return Lease(answer.ID, answer.TTL, answer.TTL)

    async def revoke(self, lease_id: int) -> None:
        """End a lease."""
        await self._call("lease/revoke", _LeaseWords(lease_id), bytes)

    async def keepalive(self, lease_id: int) -> int:
        """Renew a lease."""
        answer = await self._call("lease/keepalive", _LeaseWords(lease_id), _renewed, may_repeat=True)
        return answer.TTL

    async def keepalive_many(self, lease_ids: Sequence[int]) -> tuple[int, ...]:
        """Renew several leases in one call: a stream of requests, and an answer to each in their order."""
        words = _LeaseStream(tuple([_LeaseWords(lease_id) for lease_id in lease_ids]))
        renewed = await self._call("lease/keepalive", words, _all_renewed, may_repeat=True) if lease_ids else ()
        if len(renewed) != len(lease_ids):
            raise Unavailable(f"{self._endpoint}: {len(lease_ids)} leases to renew, {len(renewed)} answers")
        return tuple([answer.TTL for answer in renewed])

    async def time_to_live(self, lease_id: int, *, keys: bool = False) -> Lease:
        """Tell what is left of a lease."""
        answer = await self._call("lease/timetolive", _LeaseWords(lease_id, keys=keys), _lease, may_repeat=True)
        return Lease(lease_id, answer.TTL, answer.grantedTTL, answer.keys)

    async def leases(self) -> tuple[int, ...]:
        """Tell the ids of all leases."""
        answer = await self._call("lease/leases", _LeaseWords(), _leases, may_repeat=True)
        return tuple([lease.ID for lease in answer.leases])

    # --- watching ---------------------------------------------------------------------------------------------------
    @contextlib.asynccontextmanager
    async def watch(self, request: WatchRequest) -> AsyncIterator[Watch]:
        """Open a watch on a connection of its own. Raises Denied, Unavailable; iterating raises Compacted too."""
        body = b'{"create_request":' + wire.write_request(request) + b"}"
        async with contextlib.AsyncExitStack() as stack:
            shown = self._token
            try:
                watch = await self._begin_watch(stack, body)
            except (Denied, InvalidToken):  # etcd before 3.4.22 says of a token that ran out: permission denied
                if not self._forget(shown):
                    raise
                watch = await self._begin_watch(stack, body)
            yield watch

    async def _begin_watch(self, stack: contextlib.AsyncExitStack, body: bytes) -> RemoteWatch:
        watch = RemoteWatch(await self._open_stream(stack, "watch", body))
        await watch.begin()
        return watch

    async def _open_stream(self, stack: contextlib.AsyncExitStack, call: str, body: bytes) -> aiohttp.ClientResponse:
        last: Exception | None = None
        for _ in range(len(self._endpoints) + 1):
            try:
                sent = await self._send(call, body, aiohttp.ClientTimeout(None, sock_connect=CONNECT_WITHIN_S))
                if sent.status == 200:  # noqa: PLR2004 - HTTP's own number
                    return await stack.enter_async_context(sent)
                _judge(sent.status, await _read_all(sent))
            except (_NotDone, _Unknown) as error:
                self._turn()
                last = error
        raise self._nobody_answers(call, last)

    # --- calls ------------------------------------------------------------------------------------------------------
    async def _call(
        self, call: str, request: msgspec.Struct, read: Callable[[bytes], T], *, may_repeat: bool = False
    ) -> T:
        body = _body_of(request)
        may_log_in = True
        last: Exception | None = None
        for _ in range(2 * len(self._endpoints)):
            shown = self._token
            try:
                return read(await self._ask(call, body))
            except InvalidToken:
                if not may_log_in or not self._forget(shown):
                    raise
                may_log_in = False
            except _NotDone as error:
                self._turn()
                last = error
            except _Unknown as error:
                self._turn()
                if not may_repeat:
                    raise TimedOut(
                        f"{call}: the store's answer is missing ({error}); whether it was done is not known"
                    ) from error
                last = error
            except msgspec.DecodeError as error:
                raise Unavailable(f"{self._endpoint}: not an answer of a store: {error}") from error
        raise self._nobody_answers(call, last) from last

    async def _ask(self, call: str, body: bytes) -> bytes:
        limits = aiohttp.ClientTimeout(self._within_s, sock_connect=CONNECT_WITHIN_S)
        sent = await self._send(call, body, limits)
        answer = await _read_all(sent)
        if sent.status != 200:  # noqa: PLR2004 - HTTP's own number
            _judge(sent.status, answer)
        return answer

    async def _send(self, call: str, body: bytes, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        if self._login.user and not self._token:
            await self._log_in()
        headers = _JSON | {"Authorization": self._token} if self._token else _JSON
        url = f"{self._endpoint}/v3/{call}"
        data = io.BytesIO(body) if len(body) > _LARGE_BYTES else body  # aiohttp sends this in pieces
        try:
            return await self._open_session().post(url, data=data, headers=headers, timeout=limits)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _NotDone(spell(error)) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _lost(error) from error

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls = self._tls if self._tls is not None else True
            connector = aiohttp.TCPConnector(limit=0, ssl=tls, socket_factory=_make_socket)
            self._session = aiohttp.ClientSession(
                connector=connector, auto_decompress=False, read_bufsize=2**20, trust_env=False
            )
        return self._session

    @property
    def _endpoint(self) -> str:
        return self._endpoints[self._at % len(self._endpoints)]

    def _turn(self) -> None:
        self._at = (self._at + 1) % len(self._endpoints)

    def _nobody_answers(self, call: str, last: Exception | None) -> Unavailable:
        shown, why = ", ".join(self._endpoints), f" ({last})" if last else ""
        return Unavailable(f"{call}: no store answers at {shown}{why}; nothing was changed", endpoints=self._endpoints)

    # --- login ------------------------------------------------------------------------------------------------------
    def _forget(self, shown: str) -> bool:
        """Whether to ask once more after the token `shown` was refused: it is let go, the next call logs in."""
        if not shown or not self._login.user:
            return False
        if self._token == shown:
            self._token = ""
        return True

    async def _log_in(self) -> None:
        async with self._login_lock:
            if self._token:
                return  # somebody else did while we waited
            body = msgspec.json.encode({"name": self._login.user, "password": self._login.password})
            timeout = aiohttp.ClientTimeout(self._within_s, sock_connect=CONNECT_WITHIN_S)
            url = f"{self._endpoint}/v3/auth/authenticate"
            try:
                async with self._open_session().post(url, data=body, headers=_JSON, timeout=timeout) as sent:
                    answer = await sent.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise _NotDone(spell(error)) from error
            if sent.status >= _SERVER_ERROR:
                raise _NotDone(f"HTTP {sent.status}: {answer[:200].decode(errors='replace')}")
            if sent.status != 200:  # noqa: PLR2004 - HTTP's own number
                raise _login_refusal(self._login.user, answer)
            self._token = wire.read_answer(answer, _TokenAnswer).token


# --- words ----------------------------------------------------------------------------------------------------------
class _Revision(msgspec.Struct, frozen=True):
    revision: int = 0


class _LeaseWords(msgspec.Struct, frozen=True):
    ID: int = 0
    TTL: int = 0
    keys: bool = False


class _LeaseStream(msgspec.Struct, frozen=True):
    requests: tuple[_LeaseWords, ...]


class _TokenAnswer(msgspec.Struct, frozen=True):
    token: str


def _lease(raw: bytes) -> wire.LeaseAnswer:
    return wire.read_answer(raw, wire.LeaseAnswer)


def _renewed(raw: bytes) -> wire.LeaseAnswer:
    return wire.read_answer(raw, wire.KeepaliveAnswer).result


def _all_renewed(raw: bytes) -> tuple[wire.LeaseAnswer, ...]:
    return tuple([_renewed(line) for line in raw.splitlines() if line])


def _body_of(request: msgspec.Struct) -> bytes:
    if isinstance(request, _LeaseStream):
        return b"\n".join([wire.write_request(each) for each in request.requests])
    return wire.write_request(request)


def _leases(raw: bytes) -> wire.LeasesAnswer:
    return wire.read_answer(raw, wire.LeasesAnswer)


def _is_reading(request: TxnRequest) -> bool:
    ops = (*request.success, *request.failure)
    return all(isinstance(op, RangeRequest) or (isinstance(op, TxnRequest) and _is_reading(op)) for op in ops)


def _make_socket(found: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket that notices when the store has gone without a word: a watch has nothing to ask."""
    family, kind, protocol = found[:3]
    made = socket.socket(family, kind, protocol)
    notice_silence(made)
    return made


async def _read_all(sent: aiohttp.ClientResponse) -> bytes:
    async with sent:
        try:
            return await sent.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _lost(error) from error


def _lost(error: Exception) -> Exception:
    """What a broken exchange means: who is refused by TLS was not heard."""
    return _NotDone(spell(error)) if is_tls_refusal(error) else _Unknown(spell(error))


def _judge(status: int, raw: bytes) -> NoReturn:
    """Raise what an answer that is no success means."""
    if status >= _SERVER_ERROR:
        raise _Unknown(f"HTTP {status}: {raw[:200].decode(errors='replace')}")
    raise _refusal(status, raw)


def _told(raw: bytes) -> wire.ErrorWords:
    try:
        return wire.read_answer(raw, wire.ErrorWords)
    except msgspec.DecodeError:
        return wire.ErrorWords(message=raw[:200].decode(errors="replace"))


def _refusal(status: int, raw: bytes) -> OpsError:
    words = _told(raw)
    told = words.error or words.message
    if (known := known_refusal(told)) is not None:
        return known
    if status == 401 or words.code == UNAUTHENTICATED:  # noqa: PLR2004 - HTTP's own number
        return InvalidToken(told)
    if status == 403:  # noqa: PLR2004 - HTTP's own number
        return Denied(told)
    return StoreError(f"the store refused: {told} (HTTP {status})")


def _login_refusal(user: str, raw: bytes) -> OpsError:
    words = _told(raw)
    return InvalidToken(f"the store does not let {user} in: {words.error or words.message}; look at user and password")


def tls_context(ca_file: str = "", cert_file: str = "", key_file: str = "") -> ssl.SSLContext:
    """Return how to reach a store by https: trust `ca_file` (empty: the system's), show `cert_file`.

    Raises OSError (of which ssl.SSLError is one) for files that cannot be used, with their names.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise OSError(f"{ca_file}: {error}; it must hold the authority's certificate in PEM") from error
    if cert_file:
        try:
            context.load_cert_chain(cert_file, key_file or None)
        except OSError as error:
            named = f"{cert_file} and {key_file}" if key_file else cert_file
            raise OSError(f"{named}: {error}; they must hold a certificate and its key in PEM") from error
    return context

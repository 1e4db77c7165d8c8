"""The agent's calls to its regional client: JSON over HTTP/1.1, one connection a call, the session as Bearer.

An answer of an error becomes that error of `model.errors`; a region that is away, or answers nonsense, is Unavailable.
Who is not heard, or only stands by, is left for the next address: whoever leads goes on with the same session.
"""

import contextlib
import http.client
import logging
import random
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from ops_system.installer.addresses import Address, Addresses
from ops_system.model import errors
from ops_system.model.errors import OpsError, Unavailable
from ops_system.protocol.agent import NOT_ACTIVE

_log = logging.getLogger(__name__)
T = TypeVar("T")
CALL_TIMEOUT_S = 15.0
CONNECT_TIMEOUT_S = 3.0  # with a next address to go to: a lease must outlive the search for whoever leads
MAX_ANSWER_BYTES = 4 * 1024 * 1024
_RETRY_FROM_S, _RETRY_UP_TO_S = 0.3, 5.0
_OK, _SERVER_ERROR = 200, 500
_KINDS: dict[str, type[OpsError]] = {
    kind.code: kind
    for kind in (
        errors.Invalid, errors.NotFound, errors.Conflict, errors.NotAllowed, errors.Unauthenticated, errors.Forbidden,
        errors.TooLarge, errors.UnsupportedMedia, errors.RateLimited, errors.Misdirected,
    )
}  # fmt: skip


class _Refusal(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""
    details: dict[str, errors.Detail] = {}


class Region:
    """The regional clients at `urls`; one of them serves. `token` is the session of this boot, set after the report."""

    def __init__(self, *urls: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self.addresses = Addresses(urls)
        self.token = ""
        self._sleep = sleep

    def call(self, path: str, body: msgspec.Struct | None, answer: type[T], *, timeout_s: float = CALL_TIMEOUT_S) -> T:
        """POST `body` (None: GET) and return the answer. Raises OpsError."""
        raw = self._ask(path, body, timeout_s)
        try:
            return msgspec.json.decode(raw, type=answer, strict=False)
        except msgspec.MsgspecError as problem:
            raise Unavailable(f"{path} was answered by what is no {answer.__name__}: {problem}") from problem

    def read(self, path: str) -> str:
        """GET a text. Raises OpsError."""
        return self._ask(path, None, CALL_TIMEOUT_S).decode(errors="replace")

    def persist(self, ask: Callable[[], T], *, before_retry: Callable[[], None] = lambda: None) -> T:
        """Return what `ask` returns; while the region is away it is asked again. `before_retry` may raise to end it."""
        delay_s = _RETRY_FROM_S
        while True:
            try:
                return ask()
            except (Unavailable, errors.TimedOut, errors.RateLimited) as problem:
                _log.warning("%s; asked again in %.1f s", problem.message, delay_s)
            before_retry()
            self._sleep(delay_s * random.uniform(0.7, 1.3))  # noqa: S311 - spreads load, guards nothing
            delay_s = min(_RETRY_UP_TO_S, delay_s * 1.7)

    def headers(self) -> dict[str, str]:
        """Return what proves the session."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def learn(self, urls: Iterable[str]) -> None:
        """Know where the regional clients are by now, as the one that serves says."""
        self.addresses.learn(urls)

    def connect(self, address: Address, timeout_s: float) -> http.client.HTTPConnection:
        """Return an open connection. Raises OSError, soon where there is another address to go to."""
        has_next = len(self.addresses) > 1
        connection = http.client.HTTPConnection(
            address.host, address.port, timeout=min(timeout_s, CONNECT_TIMEOUT_S) if has_next else timeout_s
        )
        try:
            connection.connect()
        except OSError:
            connection.close()
            raise
        connection.sock.settimeout(timeout_s)
        return connection

    def refusal(self, address: Address, status: int, raw: bytes, where: str) -> OpsError:
        """Return the error that an answer stands for; one that only stands by is asked no further."""
        error = _refused(status, raw, where)
        if error.details.get("reason") == NOT_ACTIVE:
            self.addresses.go_on_from(address)
        return error

    def _ask(self, path: str, body: msgspec.Struct | None, timeout_s: float) -> bytes:
        address = self.addresses.now
        status, raw = self._exchange(address, path, body, timeout_s)
        if status != _OK:
            raise self.refusal(address, status, raw, f"{address.url}{path}")
        return raw

    def _exchange(
        self, address: Address, path: str, body: msgspec.Struct | None, timeout_s: float
    ) -> tuple[int, bytes]:
        headers = {**self.headers(), "Content-Type": "application/json", "Connection": "close"}
        try:
            with contextlib.closing(self.connect(address, timeout_s)) as connection:
                content = None if body is None else msgspec.json.encode(body)
                connection.request("GET" if body is None else "POST", path, body=content, headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.read(MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as problem:
            self.addresses.go_on_from(address)
            told = str(problem) or type(problem).__name__
            raise Unavailable(f"{address.url}{path} is not answered: {told}") from problem


def _refused(status: int, raw: bytes, where: str) -> OpsError:
    """Return the error an answer stands for."""
    try:
        refusal = msgspec.json.decode(raw, type=_Refusal)
    except msgspec.MsgspecError:
        refusal = _Refusal()
    words = refusal.message or f"{where} answered {status}"
    kind = _KINDS.get(refusal.code) or next((k for k in _KINDS.values() if k.http_status == status), errors.Invalid)
    if status >= _SERVER_ERROR:
        kind = Unavailable
    return kind(words, **refusal.details)

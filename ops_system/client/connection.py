"""One master as `ops` speaks to it over HTTP: requests, refusals as errors, a broken connection tried once more.

The standard library's client keeps the start quick; WebSockets (`sockets`) bring in more when they are needed.
"""

import contextlib
import http.client
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from ops_system import __version__
from ops_system.client.contexts import Context
from ops_system.client.shapes import Answer, Json, Refused, rows_of
from ops_system.client.trust import TIMEOUT_S, tls_context
from ops_system.model.errors import Unavailable

BASE = "/api/v1"
PAGE = 500
_PIECE_BYTES = 256 * 1024
_FIRST_ERROR = 400
_ANY_KEY = "b3BzLWFza3MtZm9yLXdvcmQ="  # 16 bytes in base64; nothing rests on them
Query = Mapping[str, str | int | bool | None]
Body = bytes | BinaryIO | Iterable[memoryview] | None


class Master:
    """One master, spoken to as one person. `prove` is asked when a session must show its password again."""

    def __init__(
        self,
        context: Context,
        prove: Callable[["Master"], bool] = lambda _master: False,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.context = context
        self._prove = prove
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, path: str, query: Query | None = None) -> Json:
        """GET and decode. Raises Refused, Unavailable."""
        return self.ask("GET", path, query=query).json()

    def ask(self, method: str, path: str, body: Any = None, query: Query | None = None) -> Answer:
        """Send one request with JSON, or without a body, and return the answer. Raises Refused, Unavailable."""
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if data is not None else {}
        return self.send(method, path, data, headers, query)

    def send(
        self, method: str, path: str, data: Body, headers: Mapping[str, str], query: Query | None = None
    ) -> Answer:
        """Send one request with these bytes, a file's, or those of pieces. Raises Refused, Unavailable.

        A request may be sent twice: pieces that are iterated again must begin anew.
        """
        answer = self._exchange(method, spell(path, query), data, headers)
        if answer.status < _FIRST_ERROR:
            return answer
        refusal = _refusal(answer)
        if refusal.answer_code == "step_up_required" and self._prove(self):
            if data is not None and hasattr(data, "seek"):
                data.seek(0)
            answer = self._exchange(method, spell(path, query), data, headers)
            if answer.status < _FIRST_ERROR:
                return answer
            refusal = _refusal(answer)
        raise refusal

    def pages(self, path: str, query: Query | None = None, limit: int = 0) -> tuple[list[Json], int]:
        """Return the items of a list, all of them or the first `limit`, and how many there are."""
        found: list[Json] = []
        while True:
            size = min(PAGE, limit - len(found)) if limit else PAGE
            page = self.get(path, {**(query or {}), "limit": size, "offset": len(found)})
            rows = rows_of(page)
            found += rows
            total = int(page.get("total", len(found)))
            if not rows or len(found) >= total or (limit and len(found) >= limit):
                return found, total

    def download(self, path: str, target: BinaryIO, query: Query | None = None) -> int:
        """Write the answer's bytes to `target` and return their number. Raises Refused, Unavailable."""
        with self._speaking():
            response = self._request("GET", spell(path, query), None, {})
            if response.status >= _FIRST_ERROR:
                raise _refusal(_read(response))
            size_bytes = 0
            while piece := response.read(_PIECE_BYTES):
                target.write(piece)
                size_bytes += len(piece)
            return size_bytes

    def why_refused(self, path: str, query: Query | None = None) -> Refused | None:
        """Ask for a WebSocket by hand for the master's words (RFC 6455, 4.1); None when it would open after all."""
        headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        with self._speaking():
            response = self._request("GET", spell(path, query), None, {**headers, "Sec-WebSocket-Key": _ANY_KEY})
            refusal = _refusal(_read(response)) if response.status >= _FIRST_ERROR else None
        self.close()
        return refusal

    def prove(self) -> bool:
        """Have the session prove its password again; False when nobody can be asked."""
        return self._prove(self)

    def identity(self) -> dict[str, str]:
        """Return the headers that say who is asking: the token, or the session with its Origin and CSRF token."""
        if self.context.token:
            return {"Authorization": f"Bearer {self.context.token}"}
        if not self.context.cookie:
            return {}
        return {
            "Cookie": self.context.cookie,
            "X-CSRF-Token": self.context.csrf_token,
            "Origin": origin_of(self.context.url),
        }

    # --- one exchange ------------------------------------------------------------------------------------------------
    def _exchange(self, method: str, target: str, data: Body, headers: Mapping[str, str]) -> Answer:
        with self._speaking():
            try:
                return _read(self._request(method, target, data, headers))
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self.close()  # a kept connection that the master had closed meanwhile
                if method != "GET":
                    raise
                return _read(self._request(method, target, data, headers))

    def _request(self, method: str, target: str, data: Body, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = self._open()
        own = {"Accept": "application/json", "User-Agent": f"ops/{__version__}"}
        self._connection.request(method, target, data, {**own, **self.identity(), **headers})
        return self._connection.getresponse()

    def _open(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.context.url)
        host = parts.hostname or ""
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, parts.port, timeout=self._timeout_s, blocksize=_PIECE_BYTES)
        context = tls_context(self.context.ca_pem)
        return http.client.HTTPSConnection(
            host, parts.port, timeout=self._timeout_s, context=context, blocksize=_PIECE_BYTES
        )

    @contextlib.contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise Unavailable(
                f"the certificate of {self.context.url} is not trusted ({error.verify_message});"
                " log in again and name its authority: ops login URL --ca-sha256 HEX"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            problem = str(error) or type(error).__name__
            raise Unavailable(
                f"{self.context.url} does not answer ({problem}); is the master running there?"
            ) from error


def spell(path: str, query: Query | None = None) -> str:
    """Return the target of a request: `path` below /api/v1 (`/health`, `/metrics`, `/v3/…` as they are)."""
    is_bare = path in {"/health", "/metrics"} or path.startswith(("/v3/", f"{BASE}/"))
    pairs = [(key, _text(value)) for key, value in (query or {}).items() if value is not None and value != ""]
    return (path if is_bare else BASE + path) + (f"?{urlencode(pairs)}" if pairs else "")


def fill(path: str, names: Mapping[str, str]) -> str:
    """Return `path` with each `{name}` replaced, escaped for a URL."""
    for name, value in names.items():
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    return path


def origin_of(url: str) -> str:
    """Return the Origin a browser would send from that address: no default port."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if parts.port in {None, default} else f":{parts.port}")


def _text(value: str | int | bool | None) -> str:
    return ("1" if value else "0") if isinstance(value, bool) else str(value)


def _read(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, response.read(), dict(response.getheaders()))


def _refusal(answer: Answer) -> Refused:
    try:
        told = answer.json()
    except msgspec.MsgspecError:
        told = {"message": answer.body[:200].decode(errors="replace") or "no words"}
    details = told.get("details")
    return Refused(
        answer.status,
        str(told.get("code", "internal")),
        str(told.get("message", f"HTTP {answer.status}")),
        details if isinstance(details, dict) else {},
        answer.headers.get("X-Request-Id", ""),
    )

"""A file of the region as a stream that goes on where it broke (RFC 9110, section 14: Range), under the guard's eye."""

import http.client
import logging
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from ops_system.installer.addresses import Address
from ops_system.installer.guard import Halt
from ops_system.installer.region import Region
from ops_system.model.errors import RateLimited, Unavailable

_log = logging.getLogger(__name__)
PIECE_BYTES = 256 * 1024
TIMEOUT_S = 30.0
PATIENCE_S = 300.0  # without one further byte
_RETRY_S = 1.0
_OK, _PARTIAL = 200, 206
_MAX_REFUSAL_BYTES = 16 * 1024


class Download:
    """One file. `pieces` yields it from its beginning to its end, whatever happens to the connection meanwhile.

    What any regional client serves is fetched from the one in use: another may have taken over since it was named.
    """

    def __init__(
        self, region: Region, url: str, *, check: Callable[[], None], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        parts = urlsplit(url)
        self._path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        named = Address(parts.hostname, parts.port or 80) if parts.hostname else None
        self._region = region
        self._elsewhere = named if named and named not in region.addresses else None
        self._check, self._sleep = check, sleep
        self.url, self.total_bytes, self.done_bytes = url, 0, 0

    def pieces(self) -> Iterator[memoryview]:
        """Yield the bytes; each piece is good until the next is asked for.

        Raises Halt when the guard does, when the file is refused or changed, or after `PATIENCE_S` without a byte.
        """
        buffer = memoryview(bytearray(PIECE_BYTES))
        heard_at_s = time.monotonic()
        while not self.total_bytes or self.done_bytes < self.total_bytes:
            before = self.done_bytes
            try:
                yield from self._one_connection(buffer)
            except (OSError, http.client.HTTPException, Unavailable, RateLimited) as problem:
                _log.warning("%s broke off at byte %d: %r", self.url, self.done_bytes, problem)
            if self.done_bytes != before:
                heard_at_s = time.monotonic()
            if self.total_bytes and self.done_bytes >= self.total_bytes:
                return
            self._check()
            if time.monotonic() - heard_at_s > PATIENCE_S:
                raise Halt(
                    "download_failed", f"{self.url}: no further byte for {PATIENCE_S:.0f} s at {self.done_bytes}"
                )
            self._sleep(_RETRY_S)

    def _one_connection(self, buffer: memoryview) -> Iterator[memoryview]:
        address = self._elsewhere or self._region.addresses.now
        connection = self._connect(address)
        try:
            headers = {"Connection": "close"} | ({} if self._elsewhere else self._region.headers())
            if self.done_bytes:
                headers["Range"] = f"bytes={self.done_bytes}-"
            connection.request("GET", self._path, headers=headers)
            answer = connection.getresponse()
            skip = self._place(answer, address)
            while size := answer.readinto(buffer):
                piece = buffer[min(skip, size) : size]
                skip -= min(skip, size)
                self.done_bytes += len(piece)
                if piece:
                    yield piece
        finally:
            connection.close()

    def _connect(self, address: Address) -> http.client.HTTPConnection:
        try:
            return self._region.connect(address, TIMEOUT_S)
        except OSError:
            self._region.addresses.go_on_from(address)
            raise

    def _place(self, answer: http.client.HTTPResponse, address: Address) -> int:
        """Return how many bytes to skip, the whole file's length known. Raises Halt for what is not our file."""
        length = int(answer.headers.get("Content-Length") or 0)
        if answer.status == _OK:
            self._know_total(length)
            return self.done_bytes
        if answer.status == _PARTIAL:
            start, _, total = (
                answer.headers.get("Content-Range", "").removeprefix("bytes ").replace("-", "/").split("/")
            )
            if int(start) != self.done_bytes:
                raise Halt("download_failed", f"{self.url}: asked for byte {self.done_bytes}, got {start}")
            self._know_total(int(total))
            return 0
        if answer.status >= http.client.INTERNAL_SERVER_ERROR or answer.status == http.client.TOO_MANY_REQUESTS:
            raise self._region.refusal(address, answer.status, answer.read(_MAX_REFUSAL_BYTES), self.url)
        raise Halt("download_failed", f"{self.url} answered {answer.status}; is the image in the catalogue?")

    def _know_total(self, total: int) -> None:
        if self.total_bytes and total != self.total_bytes:
            raise Halt("download_failed", f"{self.url} changed its length from {self.total_bytes} to {total} bytes")
        self.total_bytes = total

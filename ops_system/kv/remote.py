"""One watch on an HTTP stream, and what a store's words of refusal mean. Used by `client`."""

import asyncio
import re
from collections.abc import AsyncIterator

import aiohttp
import msgspec

from ops_system.kv import wire
from ops_system.kv.base import Changes
from ops_system.kv.errors import KNOWN, Compacted, StoreError
from ops_system.model.errors import Invalid, OpsError, Unavailable

OPEN_WITHIN_S = 15.0
_MAX_LINE_BYTES = 64 * 1024 * 1024
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
_WANTS_CERTIFICATE = re.compile("ALERT_(?:BAD_CERTIFICATE|CERTIFICATE_REQUIRED|UNKNOWN_CA|CERTIFICATE_UNKNOWN)")
"""OpenSSL's names of what went wrong in a TLS handshake."""


class RemoteWatch:
    """A `Watch` on one HTTP stream."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self._kept = bytearray()
        self._seen = 0
        self._revision = 0

    @property
    def revision(self) -> int:
        """The newest revision when the watch was opened."""
        return self._revision

    async def begin(self) -> None:
        """Wait until the store says that the watch is open. Raises Denied, Invalid, Compacted, Unavailable."""
        async with asyncio.timeout(OPEN_WITHIN_S):
            first = await self._message()
        self._revision = first.header.revision

    async def __aiter__(self) -> AsyncIterator[Changes]:
        """Give what happens, in order."""
        while True:
            yield await self.next()

    async def next(self) -> Changes:
        """Wait for the next changes."""
        return (await self._message()).changes()

    async def _message(self) -> wire.WatchAnswer:
        line = await self._line()
        try:
            words = wire.read_answer(line, wire.StreamLine)
        except msgspec.DecodeError as error:
            raise Unavailable(f"{self._answer.url}: not a stream of a store: {error}") from error
        if words.result is None:
            told = words.error.message if words.error else "no result"
            raise known_refusal(told) or Unavailable(f"{self._answer.url}: the watch ended: {told}")
        if words.result.canceled:
            raise _cancelled(words.result)
        return words.result

    async def _line(self) -> bytes:
        while True:
            end = self._kept.find(b"\n", self._seen)
            if end >= 0:
                line = bytes(self._kept[:end])
                del self._kept[: end + 1]
                self._seen = 0
                if line:
                    return line
                continue
            self._seen = len(self._kept)
            if self._seen > _MAX_LINE_BYTES:
                raise Unavailable(f"{self._answer.url}: a line of over {_MAX_LINE_BYTES} bytes")
            self._kept += await self._more()

    async def _more(self) -> bytes:
        try:
            data = await self._answer.content.readany()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"{self._answer.url}: the watch broke: {spell(error)}") from error
        if not data:
            raise Unavailable(f"{self._answer.url}: the store ended the watch")
        return data


def spell(error: Exception) -> str:
    """Return an error in words; what TLS refused says where to look."""
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if _UNTRUSTED in told:
        return f"its certificate is not to be trusted: {_reason(error)}; look at the CA file and at the address"
    if is_tls_refusal(error):
        return f"it takes no client without a certificate of its authority: {_reason(error)}; look at the cert file"
    return told


def is_tls_refusal(error: Exception) -> bool:
    """Whether the store ended the handshake over our certificate: nothing was asked then."""
    return _WANTS_CERTIFICATE.search(str(error)) is not None


def _reason(error: Exception) -> str:
    """Return OpenSSL's sentence alone."""
    found = re.search(r"\] (?P<told>[^(\[\]]+)", str(error))
    return found["told"].strip() if found else str(error)


def known_refusal(words: str) -> StoreError | None:
    """Return the refusal that these words of etcd mean."""
    return next((kind() for kind in KNOWN if kind.words in words), None)


def _cancelled(answer: wire.WatchAnswer) -> OpsError:
    if answer.compact_revision:
        return Compacted(revision=answer.compact_revision)
    return known_refusal(answer.cancel_reason) or Invalid(f"the store cancelled the watch: {answer.cancel_reason}")

"""Where the regional clients of this data centre are heard: one serves, the others stand by. Used by `region`.

The boot line names some, and each answer of the one that serves names those there are by then. Threads share one: who
does not hear an address goes to the next, and those who failed at the same one meanwhile do not go on further.
"""

import logging
import threading
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

import msgspec

from ops_system.model.errors import UsageError

_log = logging.getLogger(__name__)
MAX_ADDRESSES = 8


class Address(msgspec.Struct, frozen=True):
    """Where one of them listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The same as an address is written."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


class Addresses:
    """A ring of addresses, one of them in use. Raises UsageError for one that is none, or for none at all."""

    def __init__(self, urls: Sequence[str]) -> None:
        found = [_read(url) for url in urls]
        if not found or None in found:
            shown = ",".join(urls)
            raise UsageError(
                "--regional-url {shown}: write http://HOST:8081, the address of the regional client", shown=shown
            )
        self._told_at_boot = tuple(one for one in dict.fromkeys(found) if one)
        self._all = self._told_at_boot
        self._now = self._all[0]
        self._lock = threading.Lock()

    @property
    def now(self) -> Address:
        """The one in use."""
        return self._now

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, address: Address) -> bool:
        return address in self._all

    def go_on_from(self, failed: Address) -> None:
        """Use the next one, unless another thread went on from there already."""
        with self._lock:
            if self._now != failed or len(self._all) == 1:
                return
            self._now = self._all[(self._all.index(failed) + 1) % len(self._all)]
        _log.warning("%s is not heard: %s is asked now", failed.url, self._now.url)

    def learn(self, urls: Iterable[str]) -> None:
        """Know those that serve or stand by now, besides those of the boot line and the one in use."""
        told = [one for url in urls if (one := _read(url))]
        with self._lock:
            self._all = tuple(dict.fromkeys([self._now, *told, *self._told_at_boot]))[:MAX_ADDRESSES]


def _read(url: str) -> Address | None:
    """Return the address in a URL; None where there is none that an agent could speak to."""
    try:
        parts = urlsplit(url)
        return Address(parts.hostname, parts.port or 80) if parts.scheme == "http" and parts.hostname else None
    except ValueError:
        return None

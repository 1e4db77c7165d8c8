"""Leases on disk: one line for each change, the last of an address counts; written anew when it has grown."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ops_system.regional.dhcp.leases import SavedLease
from ops_system.runtime.files import write_atomic

_log = logging.getLogger(__name__)

SPARE_LINES = 2000  # beyond the leases there are; then the file is written anew


class LeaseFile:
    """Owned by one server: `load` at start, then `keep`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._leases: dict[str, SavedLease] = {}
        self._lines = 0
        self._is_torn = False  # an append failed: its half line would spoil the next one

    def load(self) -> list[SavedLease]:
        """Return the leases kept. A last line that a power cut tore is dropped. Raises OSError."""
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        for line in lines:
            try:
                lease = msgspec.json.decode(line, type=SavedLease)
            except msgspec.MsgspecError:
                _log.warning("%s: a line that is no lease was dropped", self._path)
                continue
            self._remember(lease)
        self._write_anew()
        return list(self._leases.values())

    def keep(self, changed: Sequence[SavedLease]) -> None:
        """Append leases and wait for the disk. Raises OSError."""
        for lease in changed:
            self._remember(lease)
        if self._lines + len(changed) > len(self._leases) + SPARE_LINES or self._is_torn:
            self._write_anew()
            return
        self._is_torn = True
        with self._path.open("ab") as file:
            file.write(_lines(changed))
            file.flush()
            os.fsync(file.fileno())
        self._is_torn = False
        self._lines += len(changed)

    def _remember(self, lease: SavedLease) -> None:
        """The newest comes last, so that reading the lines in order gives each machine its newest address."""
        self._leases.pop(lease.address, None)
        self._leases[lease.address] = lease

    def _write_anew(self) -> None:
        write_atomic(self._path, _lines(list(self._leases.values())))
        self._lines, self._is_torn = len(self._leases), False


def _lines(leases: Sequence[SavedLease]) -> bytes:
    return b"".join(msgspec.json.encode(lease) + b"\n" for lease in leases)

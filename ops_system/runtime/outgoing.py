"""A file on its way out, hashed by a thread while its bytes travel. Used by the roles that send packages.

pieces:  read A · send A · read B · send B · …
thread:           hash A            hash B
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

PIECE_BYTES = 1024 * 1024
_ENDS_BYTES = 64 * 1024


def sender_key(path: Path) -> str:
    """Return by what an unfinished upload of this file is found again: 64 hex digits. Raises OSError.

    They stand for its name, size, time of change, first and last 64 KiB. That all of it is the same is proven at the
    end, by the sha256.
    """
    stat = path.stat()
    digest = hashlib.sha256(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode(errors="surrogateescape"))
    with path.open("rb", buffering=0) as file:
        digest.update(file.read(_ENDS_BYTES))
        file.seek(max(0, stat.st_size - _ENDS_BYTES))
        digest.update(file.read(_ENDS_BYTES))
    return digest.hexdigest()


class Outgoing:
    """One file. Its bytes may leave in any order and more than once; each is hashed once, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hash = hashlib.sha256()
        self._hashed_bytes = 0
        self._thread = ThreadPoolExecutor(1, "hash")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def pieces(self, start: int, count: int) -> Iterator[memoryview]:
        """Yield `count` bytes from `start` on, each piece good until the next is asked for. Raises OSError.

        What lies before `start` and was not hashed yet (it is on the other side already) is read by the thread.
        """
        buffers = [memoryview(bytearray(min(PIECE_BYTES, count))) for _ in range(2)]
        hashing: list[Future[None] | None] = [None, None]
        at, end, turn = start, start + count, 0
        self._thread.submit(self._catch_up, start)
        with self.path.open("rb", buffering=0) as file:
            file.seek(start)
            while at < end:
                if (busy := hashing[turn]) is not None:
                    busy.result()
                size = file.readinto(buffers[turn][: end - at])
                if not size:
                    return
                piece = buffers[turn][:size]
                hashing[turn] = self._thread.submit(self._add, piece, at)
                yield piece
                at, turn = at + size, 1 - turn

    def sha256(self) -> str:
        """Return the file's sha256 in hex; what did not leave yet is read. Raises OSError."""
        self._thread.submit(self._catch_up, None).result()
        return self._hash.hexdigest()

    def _catch_up(self, end: int | None) -> None:
        """Hash the file from where the hash stands to `end` (None: its own)."""
        if end is not None and self._hashed_bytes >= end:
            return
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._hashed_bytes)
            while end is None or self._hashed_bytes < end:
                left = PIECE_BYTES if end is None else min(PIECE_BYTES, end - self._hashed_bytes)
                piece = file.read(left)
                if not piece:
                    return
                self._hash.update(piece)
                self._hashed_bytes += len(piece)

    def _add(self, piece: memoryview, at: int) -> None:
        """Hash what of a piece was not hashed yet; not before what precedes it (`sha256` reads what is missing)."""
        if at > self._hashed_bytes:
            return
        fresh = piece[max(0, self._hashed_bytes - at) :]
        self._hash.update(fresh)
        self._hashed_bytes += len(fresh)

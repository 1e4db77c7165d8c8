"""A download, hashed and decompressed while it comes in: one thread feeds, a program decompresses, the caller reads.

Download ──> sha256 of the file ──> pipe ──> zstd or gzip (raw: nothing) ──> pipe ──> readinto
"""

import fcntl
import hashlib
import io
import os
import subprocess
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from ops_system.installer.guard import Halt
from ops_system.service.surroundings import clean_environment

PIPE_BYTES = 256 * 1024
_PROGRAMS = {"gz": ("gzip", "-dc"), "zst": ("zstd", "-dcq", "--long=31")}


def set_pipe_size(file: int) -> None:
    """Make a pipe as large as the system lets us: fewer turns between its ends."""
    try:
        fcntl.fcntl(file, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        return  # an unprivileged user's limit: slower, not wrong


class Unpacking:
    """`with Unpacking(pieces, "raw.zst") as source`: read it to its end, then ask for `sha256`."""

    def __init__(self, pieces: Iterator[memoryview], format_: str) -> None:
        self._pieces, self._hash = pieces, hashlib.sha256()
        self._program = _PROGRAMS.get(format_.rpartition(".")[2])
        self._process: subprocess.Popen[bytes] | None = None
        self._problem: BaseException | None = None
        self._is_over = False
        self._thread = threading.Thread(target=self._feed, name="feed", daemon=True)

    def __enter__(self) -> Self:
        if self._program:
            self._process = subprocess.Popen(
                self._program,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=clean_environment(os.environ),
            )
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._sink = io.FileIO(os.dup(self._process.stdin.fileno()), "wb")
            self._source = io.FileIO(os.dup(self._process.stdout.fileno()), "rb")
            self._process.stdin.close()
            self._process.stdout.close()
        else:
            reading, writing = os.pipe()
            self._source, self._sink = io.FileIO(reading, "rb"), io.FileIO(writing, "wb")
        for end in (self._sink, self._source):
            set_pipe_size(end.fileno())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._source.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        self._thread.join()

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer; fewer bytes only at the end. Raises Halt for what is no such stream, or broke."""
        filled = 0
        while filled < len(buffer):
            size = self._source.readinto(buffer[filled:])
            if not size:
                break
            filled += size
        if filled < len(buffer):
            self._ended()
        return filled

    def sha256(self) -> str:
        """Return the SHA-256 of the file as it came, in hex; after the end."""
        self._thread.join()
        return self._hash.hexdigest()

    def _ended(self) -> None:
        self._thread.join()
        if self._problem is not None:
            raise self._problem
        if self._process and self._process.wait():
            raise Halt("image_damaged", f"{self._program[0] if self._program else ''} cannot unpack the image")

    def _feed(self) -> None:
        try:
            for piece in self._pieces:
                if self._is_over:
                    return
                self._hash.update(piece)
                _write_all(self._sink, piece)
        except BrokenPipeError as problem:
            # the decompressor gave up; what it says by its exit code is the better reason
            self._problem = None if self._process else problem
        except BaseException as problem:  # noqa: BLE001 - raised again where the bytes are read
            self._problem = problem
        finally:
            self._sink.close()


def _write_all(sink: io.FileIO, piece: memoryview) -> None:
    while piece:
        written = sink.write(piece)
        piece = piece[written:]

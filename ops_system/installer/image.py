"""An image onto a disk: downloaded, hashed, decompressed and written at once, then read back (trust P2, P4, P11).

    Unpacking.readinto ──> guard, O_DIRECT write (a thread)        three buffers of 4 MiB go round
The first block, with the partition table, is written last and only when the file's checksum is right. The content's is
compared with what the disk gives back, and a disk that gives something else loses its first block again: what was not
proven cannot boot. The guard is asked before each block: a lease that ran out stops the next one.
"""

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ops_system.installer.direct import ALIGN_BYTES, BLOCK_BYTES, DirectFile, make_buffer
from ops_system.installer.guard import Guard, Halt
from ops_system.installer.unpacking import Unpacking
from ops_system.model.tasks import ImageRef

_BUFFERS = 3
Told = Callable[[int, int], None]  # bytes done, bytes in all


class ImageWriter:
    """One write of one image to one disk."""

    def __init__(self, disk: Path, image: ImageRef, guard: Guard, tell: Told) -> None:
        self._disk, self._image, self._guard, self._tell = disk, image, guard, tell
        self._written_bytes = 0

    def write(self, source: Unpacking) -> None:
        """Write everything. Raises Halt when it may not go on or is not the image that was promised; OSError."""
        with DirectFile(self._disk, is_writing=True) as disk:
            self._check_room(disk)
            with ThreadPoolExecutor(1, "write") as writing:
                head, total = self._pump(source, disk, writing)
            self._check_sums(source, total)
            self._put(disk, head, 0)
            disk.flush()

    def _check_room(self, disk: DirectFile) -> None:
        if self._image.content_bytes > disk.size_bytes:
            words = f"{self._disk} has {disk.size_bytes} bytes, the image {self._image.content_bytes}"
            raise Halt("disk_too_small", words)

    def _pump(self, source: Unpacking, disk: DirectFile, writing: ThreadPoolExecutor) -> tuple[memoryview, int]:
        """Write all but the first block; return that block and the length of everything."""
        head = make_buffer()
        head = head[: source.readinto(head)]
        buffers = [make_buffer() for _ in range(_BUFFERS)]
        jobs: deque[Future[None]] = deque()
        offset, turn = len(head), 0
        while offset and offset % BLOCK_BYTES == 0:
            if len(jobs) == _BUFFERS:
                jobs.popleft().result()
            piece = buffers[turn % _BUFFERS]
            piece = piece[: source.readinto(piece)]
            if not piece:
                break
            if offset + len(piece) > self._image.content_bytes:
                raise Halt("image_damaged", f"the image unpacks to more than {self._image.content_bytes} bytes")
            jobs.append(writing.submit(self._put, disk, piece, offset))
            offset, turn = offset + len(piece), turn + 1
        for job in jobs:
            job.result()
        return head, offset

    def _put(self, disk: DirectFile, piece: memoryview, offset: int) -> None:
        self._guard.check()
        disk.write(piece, offset)
        self._written_bytes += len(piece)
        self._tell(self._written_bytes, self._image.content_bytes)

    def _check_sums(self, source: Unpacking, total: int) -> None:
        if (found := source.sha256()) != self._image.sha256:
            raise Halt(
                "checksum_mismatch", f"the file came with sha256 {found}, the catalogue says {self._image.sha256}"
            )
        if total != self._image.content_bytes:
            words = f"the image unpacks to {total} bytes, the catalogue says {self._image.content_bytes}"
            raise Halt("image_damaged", words)


def verify(disk: Path, image: ImageRef, guard: Guard, tell: Told) -> None:
    """Read the content back from the disk itself; take the first block away where it is not what was to be written.

    Raises Halt for that; OSError.
    """
    with DirectFile(disk, is_writing=False) as file:
        found = _hash_of(file, image.content_bytes, tell)
    if found == image.content_sha256:
        return
    with DirectFile(disk, is_writing=True) as file:
        guard.check()
        file.write(make_buffer()[: min(BLOCK_BYTES, image.content_bytes)], 0)
        file.flush()
    words = f"{disk} reads back as sha256 {found}, not {image.content_sha256}; its first block was cleared"
    raise Halt("verify_failed", words)


def _hash_of(file: DirectFile, content_bytes: int, tell: Told) -> str:
    """Return the SHA-256 of the first `content_bytes` in hex, of what there is where the disk ends before."""
    digest, buffers = hashlib.sha256(), [make_buffer(), make_buffer()]
    hashed: Future[None] | None = None
    with ThreadPoolExecutor(1, "hash") as hashing:
        for number, offset in enumerate(range(0, content_bytes, BLOCK_BYTES)):
            wanted = min(BLOCK_BYTES, content_bytes - offset)
            buffer = buffers[number % 2]
            got = file.read(buffer[: -(-wanted // ALIGN_BYTES) * ALIGN_BYTES], offset)
            if hashed:  # of the block before: its buffer is free for the next read
                hashed.result()
            hashed = hashing.submit(digest.update, buffer[: min(got, wanted)])
            tell(offset + wanted, content_bytes)
    return digest.hexdigest()

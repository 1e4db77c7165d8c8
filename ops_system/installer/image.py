"""An image onto a disk: downloaded, hashed, decompressed and written at once, then read back (trust P2, P4, P11).

    Unpacking.readinto ──┬──> sha256 of the content (a thread)        three buffers of 4 MiB go round
                         └──> guard, O_DIRECT write (a thread)
The first block, with the partition table, is written last and only when both checksums are right: what was not proven
cannot boot. The guard is asked before each block: a lease that ran out stops the next one.
"""

import hashlib
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
        self._content = hashlib.sha256()
        self._written_bytes = 0

    def write(self, source: Unpacking) -> None:
        """Write everything. Raises Halt when it may not go on or is not the image that was promised; OSError."""
        with DirectFile(self._disk, is_writing=True) as disk, ThreadPoolExecutor(1, "hash") as hashing:
            self._check_room(disk)
            with ThreadPoolExecutor(1, "write") as writing:
                head, total = self._pump(source, disk, hashing, writing)
            self._check_sums(source, total)
            self._put(disk, head, 0)
            disk.flush()

    def _check_room(self, disk: DirectFile) -> None:
        if self._image.content_bytes > disk.size_bytes:
            words = f"{self._disk} has {disk.size_bytes} bytes, the image {self._image.content_bytes}"
            raise Halt("disk_too_small", words)

    def _pump(
        self, source: Unpacking, disk: DirectFile, hashing: ThreadPoolExecutor, writing: ThreadPoolExecutor
    ) -> tuple[memoryview, int]:
        """Write all but the first block; return that block and the length of everything."""
        head = make_buffer()
        head = head[: source.readinto(head)]
        jobs: list[list[Future[None]]] = [[hashing.submit(self._content.update, head)]] + [[] for _ in range(_BUFFERS)]
        buffers = [make_buffer() for _ in range(_BUFFERS)]
        offset, turn = len(head), 0
        while offset and offset % BLOCK_BYTES == 0:
            turn = turn % _BUFFERS + 1
            _wait(jobs[turn])
            piece = buffers[turn - 1]
            piece = piece[: source.readinto(piece)]
            if not piece:
                break
            if offset + len(piece) > self._image.content_bytes:
                raise Halt("image_damaged", f"the image unpacks to more than {self._image.content_bytes} bytes")
            jobs[turn] = [hashing.submit(self._content.update, piece), writing.submit(self._put, disk, piece, offset)]
            offset += len(piece)
        for job in jobs:
            _wait(job)
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
        if total != self._image.content_bytes or self._content.hexdigest() != self._image.content_sha256:
            words = f"the image unpacks to {total} bytes with sha256 {self._content.hexdigest()}, not as promised"
            raise Halt("checksum_mismatch", words)


def verify(disk: Path, image: ImageRef, tell: Told) -> None:
    """Read the content back from the disk itself. Raises Halt when it is not what was to be written; OSError."""
    digest, buffers = hashlib.sha256(), [make_buffer(), make_buffer()]
    hashed: list[Future[None]] = []
    with DirectFile(disk, is_writing=False) as file, ThreadPoolExecutor(1, "hash") as hashing:
        for number, offset in enumerate(range(0, image.content_bytes, BLOCK_BYTES)):
            wanted = min(BLOCK_BYTES, image.content_bytes - offset)
            buffer = buffers[number % 2]
            got = file.read(buffer[: -(-wanted // ALIGN_BYTES) * ALIGN_BYTES], offset)
            if got < wanted:
                raise Halt("verify_failed", f"{disk} ends at byte {offset + got}, the image has {image.content_bytes}")
            _wait(hashed)  # of the block before: its buffer is free for the next read
            hashed = [hashing.submit(digest.update, buffer[:wanted])]
            tell(offset + wanted, image.content_bytes)
        _wait(hashed)
    if digest.hexdigest() != image.content_sha256:
        raise Halt("verify_failed", f"{disk} reads back as sha256 {digest.hexdigest()}, not {image.content_sha256}")


def _wait(jobs: list[Future[None]]) -> None:
    """Return when these are done; raise what they raised."""
    for job in jobs:
        job.result()

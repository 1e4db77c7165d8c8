"""The agent's image write against `curl | zstd -d | dd oflag=direct`: the same zst file from the same web server onto the
same disk (a loop device as root, else a file). The agent also hashes the file and the content; dd does not.

Alternating rounds, medians, the ratio of the speeds. Read-back is told apart: the pipeline has none.
"""

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ops_system.installer.download import Download
from ops_system.installer.guard import Guard
from ops_system.installer.image import ImageWriter, verify
from ops_system.installer.region import Region
from ops_system.installer.unpacking import Unpacking
from ops_system.model.tasks import ImageRef
from tests.bench.measure import emit, median

MIB = 1024 * 1024
CONTENT_MIB = 512
ROUNDS = 5
TARGET_RATIO = 0.9


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing; what the reader asks for is all that is sent."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def make_image(folder: Path) -> tuple[Path, ImageRef]:
    """Make something like a system's image: half of it text-like, a quarter random, a quarter zeros."""
    dice, raw = random.Random(1), folder / "image.raw"
    words = [dice.randbytes(12).hex().encode() for _ in range(4000)]
    with raw.open("wb") as out:
        for number in range(CONTENT_MIB):
            match number % 4:
                case 0:
                    out.write(dice.randbytes(MIB))
                case 3:
                    out.write(bytes(MIB))
                case _:
                    out.write(b" ".join(dice.choices(words, k=50_000))[:MIB].ljust(MIB))
    packed = folder / "image.zst"
    subprocess.run(["zstd", "-q", "-3", "-f", str(raw), "-o", str(packed)], check=True)
    sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (packed, raw)]
    ref = ImageRef("bench", "1", sums[0], packed.stat().st_size, sums[1], raw.stat().st_size, "raw.zst")
    raw.unlink()
    return packed, ref


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port; its process is another one, as a region's is."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    pid = os.fork()
    if pid == 0:
        server.serve_forever()
    server.socket.close()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        os.kill(pid, 15)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """Give a loop device, or a file where none can be made."""
    file = folder / "disk.img"
    with file.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, (CONTENT_MIB + 64) * MIB)
    made = subprocess.run(["losetup", "--find", "--show", str(file)], capture_output=True, text=True)
    if made.returncode:
        yield file
        return
    try:
        yield Path(made.stdout.strip())
    finally:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=False)


def by_agent(url: str, image: ImageRef, place: Path) -> float:
    """Write it as the agent does; return the seconds."""
    guard = Guard()
    guard.renew(guard.now_s(), 3600, 1)
    began = time.perf_counter()
    download = Download(Region(url), "/image.zst", check=guard.check)
    with Unpacking(download.pieces(), image.format) as source:
        ImageWriter(place, image, guard, lambda _done, _total: None).write(source)
    return time.perf_counter() - began


def by_pipeline(url: str, place: Path) -> float:
    """Write it as a person would; return the seconds."""
    line = f"curl -sf {url}/image.zst | zstd -dcq | dd of={place} bs=4M iflag=fullblock oflag=direct conv=notrunc,fsync status=none"
    began = time.perf_counter()
    subprocess.run(["sh", "-c", line], check=True)
    return time.perf_counter() - began


def main() -> int:
    """Run the rounds and print one JSON line."""
    if any(shutil.which(name) is None for name in ("curl", "zstd", "dd", "losetup")):
        emit("image write: not measured", 0, "", reason="curl, zstd, dd or losetup is missing")
        return 0
    ours, theirs, read_back = [], [], []
    with tempfile.TemporaryDirectory() as made, disk(Path(made)) as place:
        folder = Path(made)
        _, image = make_image(folder)
        with serving(folder) as url:
            by_pipeline(url, place)  # the server's pages are in memory for both
            for number in range(ROUNDS):
                for turn in ("a", "p") if number % 2 else ("p", "a"):
                    if turn == "a":
                        ours.append(by_agent(url, image, place))
                        began = time.perf_counter()
                        verify(place, image, Guard(), lambda _done, _total: None)
                        read_back.append(time.perf_counter() - began)
                    else:
                        theirs.append(by_pipeline(url, place))
    ratio = median(theirs) / median(ours)
    size = image.content_bytes / 1e6
    emit(
        "image write: agent against curl | zstd -d | dd oflag=direct",
        ratio,
        "ratio of speeds",
        target=TARGET_RATIO,
        content_mib=CONTENT_MIB,
        agent_mb_s=round(size / median(ours)),
        pipeline_mb_s=round(size / median(theirs)),
    )
    emit("image read back", size / median(read_back), "MB/s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

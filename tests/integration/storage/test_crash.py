"""R13 and R14: whatever kills the writer, every acknowledged row is there, once."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_system.model.errors import StorageFull
from ops_system.storage.blobs.local import LocalBlobs
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import Migration

CHILD = Path(__file__).with_name("acknowledger.py")
ROWS = Migration(1, "rows", "CREATE TABLE rows (number INTEGER PRIMARY KEY, filler BLOB NOT NULL);")


class Writer:
    """The child, and what it acknowledged."""

    def __init__(self, data: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> None:
        self.child = subprocess.Popen(
            [*prefix, sys.executable, str(CHILD), str(data), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.acknowledged: list[int] = []
        self.refused: list[str] = []

    def read(self, count: int) -> None:
        """Wait for `count` acknowledgements."""
        for line in self.child.stdout:
            self._note(line)
            if len(self.acknowledged) >= count:
                return
        raise AssertionError(f"the child ended after {len(self.acknowledged)} rows: {self.refused}")

    def finish(self, *, kill: bool) -> None:
        """Kill the child and its helpers where asked; read what was still in the pipe."""
        if kill:
            os.killpg(self.child.pid, signal.SIGKILL)
        for line in self.child.stdout:
            self._note(line)
        self.child.wait(30)
        self.child.stdout.close()

    def _note(self, line: str) -> None:
        if line.startswith("refused"):
            self.refused.append(line.split()[1])
        elif line.endswith("\n"):
            self.acknowledged.append(int(line))


async def stored(data: Path) -> list[int]:
    """Open as the program does, and list what is there."""
    db = await Database.open(DataFolder(data), (ROWS,))
    rows = await db.fetch_all("SELECT number FROM rows")
    await db.close()
    return [row["number"] for row in rows]


async def test_kill_9_under_load_loses_no_acknowledged_row(tmp_path: Path) -> None:
    acknowledged: list[int] = []
    for round_ in range(4):
        writer = Writer(tmp_path / "data")
        writer.read(300 + 177 * round_)
        writer.finish(kill=True)
        acknowledged += writer.acknowledged
        assert set(acknowledged) <= set(await stored(tmp_path / "data"))
    assert len(set(acknowledged)) == len(acknowledged) > 2000


@pytest.mark.long
async def test_kill_9_under_load_many_times(tmp_path: Path) -> None:
    acknowledged: list[int] = []
    for round_ in range(40):
        writer = Writer(tmp_path / "data")
        writer.read(1 + 61 * round_)
        writer.finish(kill=True)
        acknowledged += writer.acknowledged
        assert set(acknowledged) <= set(await stored(tmp_path / "data"))


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, timeout=60)


def need_root(*programs: str) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting needs root on Linux")
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


class LoopDisk:
    """An ext4 of our own whose power can be cut."""

    def __init__(self, folder: Path) -> None:
        self.image, self.mount_point = folder / "disk.img", folder / "disk"
        self.mount_point.mkdir()
        with self.image.open("wb") as file:
            file.truncate(96 << 20)
        run("mkfs.ext4", "-q", "-F", str(self.image))

    def mount(self) -> None:
        try:
            run("mount", "-o", "loop", str(self.image), str(self.mount_point))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no loop devices here: {error.stderr.decode().strip()}")

    def cut_power(self) -> None:
        """Drop everything that was not flushed, as a power cut does."""
        run("xfs_io", "-x", "-c", "shutdown", str(self.mount_point))

    def unmount(self) -> None:
        run("umount", str(self.mount_point))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    need_root("mkfs.ext4", "xfs_io", "mount")
    made = LoopDisk(tmp_path)
    made.mount()
    yield made
    with contextlib.suppress(subprocess.CalledProcessError):
        made.unmount()


async def cut_power_under_load(disk: LoopDisk, synchronous: str) -> tuple[set[int], set[int]]:
    """Return the rows that were acknowledged before the cut, and those on the disk after it."""
    data = disk.mount_point / "data"
    writer = Writer(data, synchronous)
    writer.read(400)
    disk.cut_power()
    before = set(writer.acknowledged)
    writer.finish(kill=True)
    disk.unmount()
    disk.mount()
    return before, set(await stored(data))


@pytest.mark.root
async def test_a_power_cut_loses_no_acknowledged_row(disk: LoopDisk) -> None:
    for _ in range(3):
        acknowledged, there = await cut_power_under_load(disk, "FULL")
        assert acknowledged <= there


@pytest.mark.root
async def test_the_power_cut_is_a_real_one(disk: LoopDisk) -> None:
    """The control: with synchronous=NORMAL the same cut loses acknowledged rows, so the test above can fail."""
    writer = Writer(disk.mount_point / "data", "FULL")
    writer.read(1)
    writer.finish(kill=True)
    for _ in range(5):  # whoever has the machine written out (a full cache, a sync) may save them once
        acknowledged, there = await cut_power_under_load(disk, "NORMAL")
        if acknowledged - there:
            return
    pytest.fail("five power cuts lost nothing: this disk does not lose what was not flushed")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    need_root("mount")
    folder = tmp_path / "small"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder))
    yield folder
    run("umount", str(folder))


@pytest.mark.root
async def test_a_full_disk_refuses_writes_serves_reads_and_heals(small_disk: Path) -> None:
    folder = DataFolder(small_disk / "data")
    folder.create()
    db = await Database.open(folder, (ROWS,))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    number = 0
    with pytest.raises(StorageFull) as refused:  # noqa: PT012 - nobody knows which write is the last
        while True:
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO rows VALUES (?, randomblob(20000))", (number + 1,))
            number += 1
    assert refused.value.http_status == 507
    assert number > 10
    for _ in range(3):
        assert (await db.fetch_one("SELECT count(*) AS n FROM rows"))["n"] == number
        with pytest.raises(StorageFull):
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO rows VALUES (?, randomblob(900000))", (number + 1,))
    ballast.unlink()
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO rows VALUES (?, randomblob(20000))", (number + 1,))
    await db.close()
    assert await stored(folder.root) == list(range(1, number + 2))


@pytest.mark.root
async def test_many_writers_on_a_full_disk_are_told_the_truth(small_disk: Path) -> None:
    writer = Writer(small_disk / "data")
    writer.finish(kill=False)
    assert set(writer.refused) == {"storage_full"}
    assert len(writer.refused) == 16
    shutil.copytree(small_disk / "data", small_disk.parent / "copy")
    assert set(writer.acknowledged) <= set(await stored(small_disk.parent / "copy"))


@pytest.mark.root
async def test_a_start_on_a_full_disk_is_no_damage(small_disk: Path) -> None:
    folder = DataFolder(small_disk / "data")
    folder.create()
    await (await Database.open(folder, (ROWS,))).close()
    folder.mark_initialized()
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(bytes(4096))
    with contextlib.suppress(StorageFull):
        await (await Database.open(folder, (ROWS,))).close()
    ballast.unlink()
    assert await stored(folder.root) == []


@pytest.mark.root
async def test_a_full_disk_refuses_a_blob_and_leaves_nothing(small_disk: Path) -> None:
    blobs = LocalBlobs(small_disk / "uploads", reserve_bytes=0)
    with pytest.raises(StorageFull):  # noqa: PT012 - nobody knows which chunk is the last
        async with blobs.draft() as draft:
            while True:
                await draft.write(bytes(300_000))
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []
    async with blobs.draft() as draft:
        await draft.write(bytes(300_000))
        await draft.keep()
    assert len(await blobs.list()) == 1


@pytest.mark.parametrize("call", [5, 12, 40])
async def test_an_io_error_at_fsync_acknowledges_nothing_that_is_lost(tmp_path: Path, call: int) -> None:
    """Every fsync from the `call`th on fails with EIO, as a dying disk's do."""
    if shutil.which("strace") is None:
        pytest.skip("not installed: strace")
    data = tmp_path / "data"
    writer = Writer(data)  # the folder exists before the disk begins to die
    writer.read(1)
    writer.finish(kill=True)
    fault = f"inject=fsync,fdatasync:error=EIO:when={call}+"
    options = ("-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", fault)
    writer = Writer(data, prefix=("strace", *options))
    writer.finish(kill=False)
    assert set(writer.refused) <= {"unavailable"}
    assert set(writer.acknowledged) <= set(await stored(data))


async def test_a_torn_wal_tail_is_no_damage(tmp_path: Path) -> None:
    """A power cut in the middle of a write leaves half a frame behind the last COMMIT."""
    data = tmp_path / "data"
    writer = Writer(data)
    writer.read(500)
    writer.finish(kill=True)
    wal = data / "ops.db-wal"
    with wal.open("ab") as file:
        file.write(os.urandom(1000))
    (data / "ops.db-shm").unlink(missing_ok=True)
    assert set(writer.acknowledged) <= set(await stored(data))
    with contextlib.closing(sqlite3.connect(data / "ops.db")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)

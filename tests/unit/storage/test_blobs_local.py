import errno
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops_system.model.errors import Invalid, NotFound, StorageFull, TooLarge
from ops_system.storage.blobs.base import BlobStore
from ops_system.storage.blobs.local import LocalBlobs

BYTES = bytes(range(256)) * 3000
SHA = hashlib.sha256(BYTES).hexdigest()


async def pieces(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def collect(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in stream])


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "uploads")


def files(blobs: LocalBlobs) -> list[Path]:
    return [path for path in blobs._folder.rglob("*") if path.is_file()]


async def test_a_stream_goes_in_and_comes_out(blobs: LocalBlobs) -> None:
    store: BlobStore = blobs
    info = await store.put(pieces(BYTES), SHA)
    assert (info.sha256, info.size_bytes) == (SHA, len(BYTES))
    assert await collect(store.open_read(SHA)) == BYTES
    assert await collect(store.open_read(SHA, 700_001)) == BYTES[700_001:]
    assert store.local_path(SHA).read_bytes() == BYTES
    assert await store.stat(SHA) == info
    assert await store.list() == [info]
    assert await store.verify(SHA)


async def test_the_same_bytes_twice_are_one_blob(blobs: LocalBlobs, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BYTES)
    assert await blobs.put(pieces(BYTES)) == await blobs.put(tmp_path / "file")
    assert len(files(blobs)) == 1
    assert not (tmp_path / "file").exists()


async def test_a_file_with_a_wrong_hash_stays_where_it_was(blobs: LocalBlobs, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BYTES)
    with pytest.raises(Invalid, match="not the announced"):
        await blobs.put(tmp_path / "file", "0" * 64)
    assert (tmp_path / "file").exists()
    assert files(blobs) == []


async def test_a_file_from_another_file_system_is_copied(blobs: LocalBlobs, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_bytes(BYTES)
    settle = LocalBlobs._settle

    def refuse_strangers(self: LocalBlobs, source: Path, sha256: str) -> None:
        if source.parent == tmp_path:
            raise OSError(errno.EXDEV, "cross-device link")
        settle(self, source, sha256)

    monkeypatch.setattr(LocalBlobs, "_settle", refuse_strangers)
    await blobs.put(tmp_path / "file", SHA)
    assert blobs.local_path(SHA).read_bytes() == BYTES
    assert not (tmp_path / "file").exists()


async def test_a_wrong_hash_leaves_nothing(blobs: LocalBlobs) -> None:
    with pytest.raises(Invalid, match="not the announced"):
        await blobs.put(pieces(BYTES), "0" * 64)
    assert files(blobs) == []


async def test_a_broken_upload_leaves_nothing(blobs: LocalBlobs) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield BYTES
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await blobs.put(broken())
    assert files(blobs) == []


async def test_a_draft_can_be_read_before_it_is_kept(blobs: LocalBlobs) -> None:
    async with blobs.draft(limit_bytes=len(BYTES)) as draft:
        await draft.write(BYTES)
        await draft.flush()
        assert draft.path.read_bytes() == BYTES
        assert await blobs.stat(SHA) is None
        with pytest.raises(TooLarge):
            await draft.write(b"x")
    assert files(blobs) == []


async def test_leftovers_are_swept_and_blobs_are_not(blobs: LocalBlobs) -> None:
    await blobs.put(pieces(BYTES))
    (blobs._folder / "incoming" / "left").write_bytes(b"half")
    assert await blobs.sweep() == 1
    assert files(blobs) == [blobs.local_path(SHA)]


async def test_no_room_is_said_before_the_bytes_travel(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path, reserve_bytes=1 << 60)
    with pytest.raises(StorageFull):
        await blobs.put(pieces(b"x"))


async def test_damage_is_noticed(blobs: LocalBlobs) -> None:
    await blobs.put(pieces(BYTES))
    blobs.local_path(SHA).write_bytes(BYTES[:-1])
    assert not await blobs.verify(SHA)


async def test_delete_and_unknown(blobs: LocalBlobs) -> None:
    await blobs.put(pieces(BYTES))
    assert await blobs.delete(SHA)
    assert not await blobs.delete(SHA)
    assert blobs.local_path(SHA) is None
    with pytest.raises(NotFound):
        blobs.open_read(SHA)


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 64, "", SHA + "\n", SHA[:-1]])
async def test_a_name_cannot_leave_the_folder(blobs: LocalBlobs, name: str) -> None:
    with pytest.raises(Invalid):
        await blobs.stat(name)

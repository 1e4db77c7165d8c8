"""What every blob store promises, asked of each: a folder, an S3 server, and both as one."""

import asyncio
import contextlib
import hashlib
import urllib.request

import pytest

from ops_system.model.errors import Invalid, NotFound, TooLarge
from ops_system.storage.blobs.fallback import FallbackBlobs
from ops_system.storage.blobs.local import LocalBlobs
from ops_system.storage.blobs.minio import MinioBlobs
from ops_system.storage.blobs.move import copy_all, remove_copied
from tests.fakes.s3 import s3_server

BYTES = bytes(range(256)) * 3000
SHA = hashlib.sha256(BYTES).hexdigest()
LARGE_BYTES = 17 << 20  # goes up in parts


async def pieces(data, size=100_000):
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def collect(stream):
    return b"".join([chunk async for chunk in stream])


@contextlib.asynccontextmanager
async def local_store(root):
    yield LocalBlobs(root / "uploads")


@contextlib.asynccontextmanager
async def minio_store(root):
    async with s3_server(root / "s3") as server:
        with contextlib.closing(MinioBlobs(server.settings(), root / "spool")) as blobs:
            await blobs.check()
            yield blobs


@contextlib.asynccontextmanager
async def both_stores(root):
    async with minio_store(root) as first, local_store(root) as second:
        yield FallbackBlobs(first, second)


@pytest.fixture(params=[local_store, minio_store, both_stores])
async def blobs(request, tmp_path):
    async with request.param(tmp_path) as store:
        yield store


async def test_a_stream_goes_in_and_comes_out_from_any_offset(blobs):
    info = await blobs.put(pieces(BYTES), SHA)
    assert (info.sha256, info.size_bytes) == (SHA, len(BYTES))
    assert await collect(blobs.open_read(SHA)) == BYTES
    assert await collect(blobs.open_read(SHA, 700_001)) == BYTES[700_001:]
    assert await blobs.stat(SHA) == info
    assert await blobs.list() == [info]
    assert await blobs.verify(SHA)


async def test_a_file_is_moved_in_and_the_same_bytes_are_one_blob(blobs, tmp_path):
    (tmp_path / "file").write_bytes(BYTES)
    assert await blobs.put(pieces(BYTES)) == await blobs.put(tmp_path / "file", SHA)
    assert not (tmp_path / "file").exists()
    assert len(await blobs.list()) == 1


async def test_a_large_one_arrives_whole(blobs, tmp_path):
    data = hashlib.shake_128(b"large").digest(LARGE_BYTES)
    (tmp_path / "file").write_bytes(data)
    info = await blobs.put(tmp_path / "file")
    assert info.size_bytes == LARGE_BYTES
    assert await collect(blobs.open_read(info.sha256, LARGE_BYTES - 5)) == data[-5:]
    assert await blobs.verify(info.sha256)


async def test_a_wrong_hash_and_a_broken_sender_leave_nothing(blobs, tmp_path):
    async def broken():
        yield BYTES
        raise ConnectionResetError

    (tmp_path / "file").write_bytes(BYTES)
    for source in (pieces(BYTES), tmp_path / "file"):
        with pytest.raises(Invalid, match="not the announced"):
            await blobs.put(source, "0" * 64)
    with pytest.raises(ConnectionResetError):
        await blobs.put(broken())
    assert (tmp_path / "file").exists()
    assert await blobs.list() == []
    assert await blobs.sweep() == 0


async def test_a_draft_can_be_read_and_is_not_seen_before_it_is_kept(blobs):
    async with blobs.draft(limit_bytes=len(BYTES)) as draft:
        await draft.write(BYTES)
        await draft.flush()
        assert draft.path.read_bytes() == BYTES
        assert await blobs.stat(SHA) is None
        with pytest.raises(TooLarge):
            await draft.write(b"x")
        await draft.keep(SHA)
    assert await blobs.stat(SHA) is not None


async def test_what_is_deleted_is_gone(blobs):
    await blobs.put(pieces(BYTES))
    assert await blobs.delete(SHA)
    assert not await blobs.delete(SHA)
    assert await blobs.stat(SHA) is None
    with pytest.raises(NotFound):
        await collect(blobs.open_read(SHA))


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 64, "", SHA + "\n", SHA[:-1]])
async def test_a_name_cannot_lead_elsewhere(blobs, name):
    with pytest.raises(Invalid):
        await blobs.stat(name)
    with pytest.raises(Invalid):
        blobs.local_path(name)


async def test_what_lies_in_the_other_store_is_found_copied_and_then_removed_there(tmp_path):
    async with minio_store(tmp_path) as minio, local_store(tmp_path) as local:
        others = [await local.put(pieces(bytes([number]) * 1000)) for number in range(3)]
        both = FallbackBlobs(minio, local)
        assert await both.list() == sorted(others, key=lambda one: one.sha256)
        assert await collect(both.open_read(others[0].sha256)) == bytes([0]) * 1000
        assert both.local_path(others[0].sha256).read_bytes() == bytes([0]) * 1000
        heard = []
        await minio.put(pieces(bytes([1]) * 1000))
        moved = await copy_all(local, minio, heard.append)
        assert (moved.blobs, moved.done, moved.copied, moved.copied_bytes) == (3, 3, 2, 2000)
        assert [one.done for one in heard] == [1, 2, 3]
        assert await remove_copied(local, minio, lambda _count, _of: None) == 3
        assert await local.list() == []
        assert await collect(both.open_read(others[2].sha256)) == bytes([2]) * 1000


async def test_a_blob_damaged_at_its_source_is_named_and_not_copied(tmp_path):
    async with minio_store(tmp_path) as minio, local_store(tmp_path) as local:
        await local.put(pieces(BYTES))
        local.local_path(SHA).write_bytes(BYTES[:-1])
        with pytest.raises(Invalid, match=SHA):
            await copy_all(local, minio, lambda _moved: None)
        assert await minio.list() == []


async def test_a_browser_fetches_a_blob_by_a_presigned_url(tmp_path):
    async with minio_store(tmp_path) as minio:
        await minio.put(pieces(BYTES))
        url = await minio.presign(SHA, "web-1.zip")
        answer = await asyncio.to_thread(urllib.request.urlopen, url)
        with answer:
            assert await asyncio.to_thread(answer.read) == BYTES

"""An S3 server that is away, refuses, or dies in the middle."""

import asyncio
import contextlib
import hashlib

import pytest

from ops_system.model.errors import Invalid, Unavailable
from ops_system.storage.blobs.minio import MinioBlobs, check_settings
from tests.fakes.processes import until_true
from tests.fakes.s3 import S3Server, s3_server

DATA = hashlib.shake_128(b"blob").digest(24 << 20)
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
async def server(tmp_path):
    async with s3_server(tmp_path / "s3") as running:
        yield running


@pytest.fixture
async def blobs(server, tmp_path):
    with contextlib.closing(MinioBlobs(server.settings(), tmp_path / "spool")) as store:
        await store.check()
        yield store


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret_key": "wrong"}, "storage.minio.ak or sk is wrong"),
        ({"access_key": "nobody"}, "storage.minio.ak or sk is wrong"),
        ({"endpoint": "127.0.0.1:1"}, "127.0.0.1:1 cannot be used: .*refused"),
    ],
)
async def test_what_is_wrong_is_said(server, tmp_path, changes, words):
    with contextlib.closing(MinioBlobs(server.settings(**changes), tmp_path / "spool")) as store:
        with pytest.raises(Unavailable, match=words) as told:
            await store.check()
        assert server.settings().secret_key not in told.value.message


async def test_a_server_that_is_back_serves_again(server, blobs, tmp_path):
    (tmp_path / "file").write_bytes(DATA)
    await server.stop()
    with pytest.raises(Unavailable):
        await blobs.put(tmp_path / "file")
    assert (tmp_path / "file").exists()
    await server.start()
    assert await blobs.stat(SHA) is None
    assert (await blobs.put(tmp_path / "file")).sha256 == SHA
    assert await blobs.verify(SHA)


async def test_a_server_killed_in_the_middle_of_an_upload_shows_no_half_blob(server, blobs, tmp_path):
    (tmp_path / "file").write_bytes(DATA)
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(refused(blobs.put(tmp_path / "file")))
        await until_true(lambda: any(server.folder.rglob("*")) or sending.done())
        await server.stop()
    await server.start()
    stored = await blobs.stat(SHA)
    if not sending.result():  # it was quicker than the kill
        assert stored is not None
    assert stored is None or await blobs.verify(SHA)
    assert (tmp_path / "file").exists() == sending.result()


async def refused(putting):
    try:
        await putting
    except Unavailable:
        return True
    return False


async def test_a_body_that_breaks_off_is_read_on_from_where_it_stands(server, blobs, tmp_path):
    (tmp_path / "file").write_bytes(DATA)
    await blobs.put(tmp_path / "file")
    seen = bytearray()
    async for chunk in blobs.open_read(SHA):
        seen += chunk
        if len(seen) == len(chunk):
            await server.stop()
            await server.start()
    assert hashlib.sha256(seen).hexdigest() == SHA


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"access_key": "", "secret_key": ""}, r"minio\.ak.*minio\.sk"),
        ({"endpoint": ""}, r"minio\.endpoint: is needed"),
        ({"endpoint": "https://s3.example.net"}, "HOST:PORT"),
        ({"endpoint": "a b:1"}, r"minio\.endpoint"),
        ({"bucket": "No_Such"}, r"minio\.bucket"),
    ],
)
def test_settings_that_cannot_be_are_named(changes, words, tmp_path):
    with pytest.raises(Invalid, match=words):
        check_settings(S3Server(tmp_path).settings(**changes))

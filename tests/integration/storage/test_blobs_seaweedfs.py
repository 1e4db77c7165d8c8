"""The store of packages on SeaweedFS, the S3 server that the demo brings along."""

import asyncio
import contextlib
import random

import aiohttp
import msgspec
import pytest

from ops_system.model.errors import Unavailable
from ops_system.storage.blobs.minio import MinioBlobs
from tests.fakes.weed import weed_server

DATA = random.Random(3).randbytes(20_000_000)  # more than one part


async def until_well(blobs):
    async with asyncio.timeout(30):
        while True:
            try:
                return await blobs.check()
            except Unavailable:
                await asyncio.sleep(0.2)


@pytest.mark.long
async def test_packages_lie_in_seaweedfs_whole_in_parts_and_by_url(tmp_path):
    async with weed_server(tmp_path / "weed") as settings:
        with contextlib.closing(MinioBlobs(settings, tmp_path / "spool")) as blobs:
            await until_well(blobs)
            (tmp_path / "file").write_bytes(DATA)
            info = await blobs.put(tmp_path / "file")
            assert (info.size_bytes, await blobs.verify(info.sha256)) == (len(DATA), True)
            assert await blobs.list() == [info]
            rest = [chunk async for chunk in blobs.open_read(info.sha256, len(DATA) - 5)]
            assert b"".join(rest) == DATA[-5:]
            url = await blobs.presign(info.sha256, "a.zip")
            async with aiohttp.ClientSession() as stranger, stranger.get(url, headers={"Range": "bytes=7-"}) as answer:
                assert (answer.status, await answer.read() == DATA[7:]) == (206, True)
            assert await blobs.tidy() == 0
            assert await blobs.delete(info.sha256)
            assert await blobs.stat(info.sha256) is None
        wrong = msgspec.structs.replace(settings, secret_key="wrong")
        with (
            contextlib.closing(MinioBlobs(wrong, tmp_path / "spool")) as strangers,
            pytest.raises(Unavailable, match=r"storage\.minio\.ak or sk is wrong"),
        ):
            await strangers.check()

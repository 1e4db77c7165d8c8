"""A real S3 server for tests: `rclone serve s3` on loopback, which checks signatures; killed and started again at will."""

import asyncio
import contextlib
import socket
import sysconfig
from pathlib import Path

import pytest

from ops_system.storage.blobs.minio import MinioSettings

RCLONE = Path(sysconfig.get_path("scripts")) / "rclone"
KEY, SECRET = "ops-test-key", "ops-test-secret"
BUCKET = "ops-system"


class S3Server:
    """One server over one folder; `port` stays the same over a restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def settings(self, **changes) -> MinioSettings:
        fields = {"endpoint": self.endpoint, "access_key": KEY, "secret_key": SECRET, "bucket": BUCKET}
        return MinioSettings(**{**fields, "region": "us-east-1", "is_secure": False, **changes})

    def flags(self) -> list[str]:
        """The words that make a master keep its packages here."""
        return [
            *("-store_type", "minio", "-minio_endpoint", self.endpoint),
            *("-minio_ak", KEY, "-minio_sk", SECRET, "-minio_bucket", BUCKET),
        ]

    async def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        command = ["serve", "s3", "--addr", self.endpoint, "--auth-key", f"{KEY},{SECRET}", str(self.folder)]
        config = self.folder.parent / "rclone.conf"
        config.touch()
        self._process = await asyncio.create_subprocess_exec(
            RCLONE, *command, "--config", config, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(20):
            while b"Starting s3 server" not in (line := await self._process.stderr.readline()):
                assert line, "rclone ended before it served"

    async def stop(self) -> None:
        """Kill it: what it had not stored is lost."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.communicate()
            self._process = None


@contextlib.asynccontextmanager
async def s3_server(folder: Path):
    """A running server. Skips where rclone has no build for this system."""
    if not RCLONE.exists():
        pytest.skip("rclone is not installed: make test installs it")
    server = S3Server(folder)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]

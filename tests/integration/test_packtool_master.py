"""`pack-tool push` against the real master, on its plain and its TLS door."""

import asyncio
import json
import os
import sys
import zipfile

from tests.fakes.evil_archives import good_zip
from tests.fakes.master import run_master


async def pack_tool(*args, stdin=b""):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ops_system.packtool.cli",
        *map(str, args),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(stdin)
    return process.returncode, out.decode(), err.decode()


async def test_push_to_a_real_master(tmp_path):
    package = tmp_path / "a.zip"
    package.write_bytes(good_zip())
    async with run_master(tmp_path) as master:
        token = (await master.create_token(role="operator")).encode()
        push = ("push", package, "--token", "-", "--master")

        code, out, err = await pack_tool(*push, master.url, stdin=token)
        assert (code, err) == (0, "")
        assert "is on the master now" in out

        ca_hash = master.master.ground.trust.ca_key_sha256
        code, out, err = await pack_tool(*push, await master.wait_for_tls(), "--ca-sha256", ca_hash, stdin=token)
        assert (code, err) == (0, "")
        assert "nothing to do" in out

        package.write_bytes(good_zip(description="another"))
        code, _, err = await pack_tool(*push, master.url, stdin=token)
        assert (code, "raise it in service.json" in err) == (1, True)

        package.write_bytes(good_zip(version="2.0"))
        viewer = (await master.create_token("looker", "viewer")).encode()
        code, _, err = await pack_tool(*push, master.url, stdin=viewer)
        assert (code, "needs the role operator" in err) == (1, True)
        code, _, err = await pack_tool(*push, master.url, stdin=b"ops_nobody_knows_this_one")
        assert (code, "does not accept this token" in err) == (1, True)

        async with master.admin_client() as api:
            listed = await api.get("/packages")
        assert [(item["name"], item["version"]) for item in listed["items"]] == [("evil", "1.0")]


def large_zip(path, version="1.0", size_bytes=40_000_000):
    """A package larger than what is pushed in one request; its content cannot be packed."""
    manifest = {"schema": 1, "name": "large", "version": version, "entrypoint": "app"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("service.json", json.dumps(manifest))
        archive.writestr("app", os.urandom(size_bytes))


async def test_a_push_that_was_killed_goes_on_where_it_stood(tmp_path):
    package = tmp_path / "large.zip"
    large_zip(package)
    async with run_master(tmp_path) as master, SlowDoor(master.url, pass_bytes=20_000_000) as door:
        token = (await master.create_token(role="operator")).encode()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "ops_system.packtool.cli", "push", str(package), "--token", "-", "--master", door.url),
            stdin=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(token)
        process.stdin.close()
        async with asyncio.timeout(30):
            await door.is_full.wait()
        process.kill()
        await process.wait()
        await door.close_all()

        parts = master.master.ground.folder.uploads / "parts"
        async with asyncio.timeout(30):
            while not (left := [path.stat().st_size for path in parts.iterdir()]) or left[0] < 15_000_000:  # noqa: ASYNC110 - files send no event
                await asyncio.sleep(0.05)
        async with SlowDoor(master.url) as second:
            code, out, err = await pack_tool("push", package, "--token", "-", "--master", second.url, stdin=token)
        assert (code, err, "is on the master now" in out) == (0, "", True)
        assert second.passed_bytes < 30_000_000  # only what was missing
        assert list(parts.iterdir()) == []


async def test_a_connection_that_breaks_is_gone_on_with_by_itself(tmp_path):
    package = tmp_path / "large.zip"
    large_zip(package)
    async with run_master(tmp_path) as master, SlowDoor(master.url, pass_bytes=25_000_000, is_cut=True) as door:
        token = (await master.create_token(role="operator")).encode()
        code, out, err = await pack_tool("push", package, "--token", "-", "--master", door.url, stdin=token)
        assert (code, err, "is on the master now" in out) == (0, "", True)
        assert door.cuts == 1
        assert door.passed_bytes < 45_000_000


class SlowDoor:
    """A TCP door before the master: after `pass_bytes` it lets nothing more through, or cuts that connection once."""

    def __init__(self, url, pass_bytes=None, *, is_cut=False):
        self._port = int(url.rpartition(":")[2])
        self._pass_bytes = pass_bytes
        self._is_cut = is_cut
        self._writers = set()
        self.is_full = asyncio.Event()
        self.passed_bytes = 0
        self.cuts = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        await self.close_all()
        self._server.close()
        await self._server.wait_closed()

    async def close_all(self):
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader, writer):
        self._writers.add(writer)
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._writers.add(inner_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, inner_writer, counts=True))
                group.create_task(self._pump(inner_reader, writer, counts=False))
        except* (OSError, _Cut):
            pass
        finally:
            for one in (writer, inner_writer):
                one.close()

    async def _pump(self, reader, writer, *, counts):
        while data := await reader.read(65536):
            if counts:
                self.passed_bytes += len(data)
            if self._pass_bytes is not None and self.passed_bytes >= self._pass_bytes:
                await self._stand_in_the_way()
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _stand_in_the_way(self):
        if not self._is_cut:
            self.is_full.set()
            await asyncio.Event().wait()
        self._pass_bytes = None
        self.cuts += 1
        raise _Cut


class _Cut(Exception):
    """The door cuts."""

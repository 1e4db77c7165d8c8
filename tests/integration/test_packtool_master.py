"""`pack-tool push` against the real master, on its plain and its TLS door."""

import asyncio
import os
import sys

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

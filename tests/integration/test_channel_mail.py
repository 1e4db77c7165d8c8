"""Mail of a channel through a mail server that somebody else wrote: Debian's aiosmtpd."""

import asyncio
import contextlib
import email
import json
import shutil
from datetime import UTC, datetime
from email.policy import default
from pathlib import Path

import pytest

from ops_system.master.channels.rules import (
    ChannelKind,
    NewChannel,
    NewEmailSettings,
    Notice,
    Severity,
    bundle_of,
    made_channel,
)
from ops_system.master.channels.senders import send
from ops_system.master.outbound.client import Outbound
from tests.fakes.certificates import write_certificate
from tests.fakes.fleet import free_port
from tests.fakes.receiver import Names

PYTHON = "/usr/bin/python3"  # Debian's own, which has aiosmtpd
SERVER = Path(__file__).resolve().parents[1] / "fakes/debian_mail.py"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
READY_WITHIN_S = 30.0

pytestmark = pytest.mark.skipif(shutil.which("aiosmtpd") is None, reason="Debian's python3-aiosmtpd is not here")


@contextlib.asynccontextmanager
async def running_server(folder, *options):
    port = free_port()
    command = [PYTHON, str(SERVER), str(folder / "own.pem"), str(folder / "own.key"), str(port), *options]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            assert await process.stdout.readline() == b"ready\n"
        yield port, process.stdout
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.parametrize("how", ["starttls", "tls"])
async def test_a_mail_goes_through_a_real_server(tmp_path, how):
    write_certificate(tmp_path, datetime.now(UTC))
    outbound = Outbound(
        allow=["ops.example"], ca_file=str(tmp_path / "own.pem"), make_resolver=lambda: Names("127.0.0.1")
    )
    notice = Notice(
        "node_offline", "node:n1", Severity.CRITICAL, "node_offline", {"name": "节点 1"}, NOW, path="/nodes/n1"
    )

    async def mail(port, password):
        settings = NewEmailSettings(
            "ops.example", "ops@example.com", ("a@example.com", "b@example.com"), port, how, "ops", password
        )
        made = made_channel("chn_1", NewChannel("mail", ChannelKind.EMAIL, "zh", email=settings), "ann", NOW)
        return await send(
            outbound, *made, bundle_of([notice]), message_id="7", at=NOW, public_url="https://ops.example"
        )

    async with running_server(tmp_path, how) as (port, output):
        assert await mail(port, "pw-81") is None
        async with asyncio.timeout(30):
            told = json.loads(await output.readline())
        refused = await mail(port, "wrong")
    assert (told["from"], told["to"]) == ("ops@example.com", ["a@example.com", "b@example.com"])
    assert told["user"].startswith("ops by")
    read = email.message_from_string(told["content"], policy=default)
    assert read["Subject"] == "[严重] 节点 节点 1 离线"
    assert "https://ops.example/nodes/n1" in read.get_content()
    assert (refused.code, refused.message) == ("smtp_refused", f"ops.example:{port} answered AUTH with 535")

import asyncio
import contextlib
import smtplib
import ssl
from datetime import UTC, datetime
from email import message_from_bytes

import msgspec
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
from ops_system.master.channels.senders import MAX_REPLY_LINES, send
from ops_system.master.outbound.client import Outbound
from tests.fakes.certificates import write_certificate
from tests.fakes.mailserver import mail_server
from tests.fakes.receiver import Names, receiver

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BUNDLE = bundle_of([Notice("node_offline", "node:n1", Severity.CRITICAL, "node_offline", {"name": ".n1"}, NOW)])
EMAIL = NewEmailSettings("ops.example", "ops@example.com", ("a@example.com", "b@example.com"))


@pytest.fixture
def tls(tmp_path):
    write_certificate(tmp_path, datetime.now(UTC))
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(tmp_path / "own.pem", tmp_path / "own.key")
    return made


@pytest.fixture
def outbound(tmp_path, tls):
    return Outbound(
        allow=["ops.example", "127.0.0.1"],
        ca_file=str(tmp_path / "own.pem"),
        make_resolver=lambda: Names("127.0.0.1"),
        within_s=3,
    )


async def mail(outbound, port, **changes):
    email = msgspec.structs.replace(EMAIL, port=port, **changes)
    made = made_channel("chn_1", NewChannel("mail", ChannelKind.EMAIL, email=email), "ann", NOW)
    return await send(outbound, *made, BUNDLE, message_id="7", at=NOW, public_url="https://ops.example")


@pytest.mark.parametrize("methods", ["PLAIN LOGIN", "LOGIN"])
@pytest.mark.parametrize("how", ["starttls", "tls"])
async def test_a_mail_goes_out_encrypted(outbound, tls, how, methods):
    async with mail_server(tls, is_implicit=how == "tls", methods=methods) as server:
        fault = await mail(outbound, server.port, tls=how, username="ops", password="pw-81")
    assert fault is None
    (got,) = server.mails
    assert (got.sender, got.recipients) == ("ops@example.com", ["a@example.com", "b@example.com"])
    assert (got.was_encrypted, got.user) == (True, "ops")
    told = message_from_bytes(got.raw)
    assert (told["Subject"], told["Message-ID"]) == ("[CRITICAL] Node .n1 is offline", "<7.chn_1@example.com>")


async def test_no_login_without_a_user_name(outbound, tls):
    async with mail_server(tls) as server:
        assert await mail(outbound, server.port) is None
    assert "AUTH" not in server.verbs
    assert server.mails[0].was_encrypted


@pytest.mark.parametrize("verb", ["EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA"])
async def test_a_refusal_is_told_by_its_number_alone(outbound, tls, verb):
    async with mail_server(tls, refuse={verb: "554 secret words"}) as server:
        fault = await mail(outbound, server.port, username="ops", password="pw-81")
    assert (fault.code, fault.message) == ("smtp_refused", f"ops.example:{server.port} answered {verb} with 554")
    assert server.mails == []


async def test_a_wrong_password_is_told_and_never_sent_in_the_clear(outbound, tls):
    async with mail_server(tls) as server:
        fault = await mail(outbound, server.port, username="ops", password="wrong-82")
    assert "535" in fault.message
    assert "wrong-82" not in fault.message
    assert "pw-echoed" not in fault.message


async def test_what_is_slipped_in_before_the_handshake_is_not_believed(outbound, tls):
    async with mail_server(tls, inject=b"250-evil\r\n250 AUTH LOGIN\r\n") as server:
        fault = await mail(outbound, server.port, username="ops", password="pw-81")
    assert fault is not None or server.mails[0].user == "ops"
    assert fault is None or server.mails == []


async def test_a_certificate_for_another_name_is_refused(outbound, tls):
    for how in ("starttls", "tls"):
        async with mail_server(tls, is_implicit=how == "tls") as server:
            fault = await mail(outbound, server.port, tls=how, host="127.0.0.1")
        assert fault.code == "tls_failed", how
        assert server.mails == []


async def test_a_server_that_goes_or_babbles_is_given_up(outbound):
    async def babble(reader, writer):
        with contextlib.suppress(OSError):
            for _ in range(MAX_REPLY_LINES + 10):
                writer.write(b"220-hello\r\n")
            await writer.drain()
            await reader.read()
        writer.transport.abort()

    async def shout(reader, writer):
        with contextlib.suppress(OSError):
            writer.write(b"2" * 100_000)
            await reader.read()
        writer.transport.abort()

    async def leave(_reader, writer):
        writer.transport.abort()

    for serve, code in ((babble, "smtp_refused"), (shout, "unreachable"), (leave, "unreachable")):
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            fault = await mail(outbound, server.sockets[0].getsockname()[1])
        assert fault.code == code, serve


async def test_a_mail_server_that_hangs_is_given_up(tmp_path, tls):
    ended = asyncio.Event()

    async def hang(reader, writer):
        await reader.read()
        writer.transport.abort()
        ended.set()

    hasty = Outbound(allow=["127.0.0.1"], within_s=1.0)
    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        fault = await mail(hasty, server.sockets[0].getsockname()[1], host="127.0.0.1")
        async with asyncio.timeout(30):
            await ended.wait()
    assert fault.code == "outbound_timeout"


async def test_a_mail_server_on_this_machine_needs_permission(tls):
    async with mail_server(tls) as server:
        fault = await mail(Outbound(), server.port, host="127.0.0.1")
    assert fault.code == "outbound_refused"
    assert server.verbs == []


async def test_a_post_goes_out_and_a_refusal_comes_back(outbound):
    async with receiver() as site:
        made = made_channel("chn_1", NewChannel("ops", ChannelKind.SLACK, url=site.url()), "ann", NOW)
        assert await send(outbound, *made, BUNDLE, message_id="7", at=NOW, public_url="https://ops.example") is None
        made = made_channel("chn_1", NewChannel("ops", ChannelKind.WECOM, url=site.url()), "ann", NOW)
        fault = await send(outbound, *made, BUNDLE, message_id="7", at=NOW, public_url="https://ops.example")
    assert fault.code == "answered_error"
    assert len(site.got) == 2


async def test_the_fake_server_serves_pythons_own_client(tmp_path, tls):
    trust = ssl.create_default_context(cafile=str(tmp_path / "own.pem"))
    trust.check_hostname = False

    def submit(port):
        with smtplib.SMTP("127.0.0.1", port, timeout=5) as client:
            client.starttls(context=trust)
            client.login("ops", "pw-81")
            client.sendmail("x@example.com", ["y@example.com"], b".hello\r\n")

    async with mail_server(tls) as server:
        await asyncio.to_thread(submit, server.port)
    assert (server.mails[0].raw, server.mails[0].user) == (b".hello\r\n", "ops")

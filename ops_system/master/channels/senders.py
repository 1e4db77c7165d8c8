"""Brings one message out: HTTP for most kinds, SMTP for mail, both through `outbound`. Called by the service.

The SMTP client (RFC 5321, 3207, 4954) speaks just what a submission needs: it stays on the loop, under one deadline,
and reads bounded lines. TLS comes before the password, always, and the certificate must fit the host.
"""

import asyncio
import base64
import socket
import ssl
from collections.abc import Sequence
from datetime import datetime

from ops_system.master.channels.messages import fault_of, mail_of, post_of
from ops_system.master.channels.rules import Bundle, Channel, EmailSettings, Secrets
from ops_system.master.outbound.client import Outbound
from ops_system.model.errors import OpsError, TimedOut, Unavailable
from ops_system.model.reasons import Reason

MAX_LINE_BYTES = 8192
MAX_REPLY_LINES = 100
_READY, _DONE, _AUTHENTICATED, _GO_ON, _SEND = 220, 250, 235, 334, 354


async def send(
    outbound: Outbound,
    channel: Channel,
    secrets: Secrets,
    bundle: Bundle,
    *,
    message_id: str,
    at: datetime,
    public_url: str,
) -> Reason | None:
    """Bring a bundle to a channel; return why it was not taken, None when it was."""
    try:
        if channel.email is not None:
            mail = mail_of(channel, bundle, message_id=message_id, at=at, public_url=public_url)
            await send_mail(outbound, channel.email, secrets.password, mail)
            return None
        post = post_of(channel, secrets, bundle, message_id=message_id, at=at, public_url=public_url)
        answer = await outbound.post(post.url, post.body, post.headers)
        return fault_of(channel.kind, answer.status, answer.body)
    except OpsError as problem:
        return Reason(str(problem.details.get("reason", problem.code)), problem.message)


async def send_mail(outbound: Outbound, email: EmailSettings, password: str, mail: bytes) -> None:
    """Hand one mail to a server. Raises `Forbidden`, `TimedOut`, `Unavailable` with `details["reason"]`."""
    where = f"{email.host}:{email.port}"
    try:
        async with asyncio.timeout(outbound.within_s):
            sock = await outbound.dial(email.host, email.port)
            reader, writer = await _open(sock, email, outbound.tls)
            submission = _Submission(reader, writer, where)
            try:
                await submission.run(email, password, mail, outbound.tls)
            finally:
                submission.close()
    except TimeoutError as problem:
        raise TimedOut(f"{where} took more than {outbound.within_s:g} s", reason="outbound_timeout") from problem
    except ssl.SSLError as problem:
        words = f"{where} shows a certificate that is not trusted, or no TLS; outbound.ca_file adds authorities"
        raise Unavailable(words, reason="tls_failed") from problem
    except (OSError, EOFError, asyncio.LimitOverrunError) as problem:
        raise Unavailable(f"{where} broke off ({type(problem).__name__})", reason="unreachable") from problem


async def _open(
    sock: socket.socket, email: EmailSettings, tls: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        if email.tls == "tls":
            return await asyncio.open_connection(sock=sock, limit=MAX_LINE_BYTES, ssl=tls, server_hostname=email.host)
        return await asyncio.open_connection(sock=sock, limit=MAX_LINE_BYTES)
    except BaseException:
        sock.close()
        raise


class _Submission:
    """One conversation."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str) -> None:
        self._reader = reader
        self._writer = writer
        self._where = where
        self._plain: asyncio.StreamWriter | None = None  # kept: it would close the connection when it is forgotten

    def close(self) -> None:
        """Drop the connection."""
        self._writer.transport.abort()
        if self._plain is not None:
            self._plain.transport.abort()

    async def run(self, email: EmailSettings, password: str, mail: bytes, tls: ssl.SSLContext) -> None:
        """Greet, log in, hand over."""
        await self._expect("greeting", _READY)
        offered = await self._greet()
        if email.tls == "starttls":
            await self._ask("STARTTLS", "STARTTLS", _READY)
            await self._begin_tls(tls, email.host)
            offered = await self._greet()
        if email.username:
            await self._log_in(email.username, password, offered)
        await self._ask("MAIL", f"MAIL FROM:<{email.sender}>", _DONE)
        for recipient in email.recipients:
            await self._ask("RCPT", f"RCPT TO:<{recipient}>", _DONE, 251)
        await self._ask("DATA", "DATA", _SEND)
        self._writer.write(stuffed(mail))
        await self._writer.drain()
        await self._expect("DATA", _DONE)
        self._writer.write(b"QUIT\r\n")
        await self._writer.drain()

    async def _begin_tls(self, tls: ssl.SSLContext, host: str) -> None:
        """Go on encrypted, with a new reader: what somebody slipped in before the handshake is never read."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MAX_LINE_BYTES, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport = await loop.start_tls(self._writer.transport, protocol, tls, server_hostname=host)
        if transport is None:
            raise ConnectionResetError("the connection ended during the TLS handshake")
        protocol.connection_made(transport)
        self._plain, self._reader = self._writer, reader
        self._writer = asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _greet(self) -> Sequence[str]:
        return await self._ask("EHLO", "EHLO [127.0.0.1]", _DONE)

    async def _log_in(self, username: str, password: str, offered: Sequence[str]) -> None:
        methods = next((line.upper().split()[1:] for line in offered if line.upper().startswith("AUTH")), [])
        if "PLAIN" in methods or "LOGIN" not in methods:
            word = _base64(f"\0{username}\0{password}")
            await self._ask("AUTH", f"AUTH PLAIN {word}", _AUTHENTICATED)
            return
        await self._ask("AUTH", "AUTH LOGIN", _GO_ON)
        await self._ask("AUTH", _base64(username), _GO_ON)
        await self._ask("AUTH", _base64(password), _AUTHENTICATED)

    async def _ask(self, verb: str, line: str, *wanted: int) -> Sequence[str]:
        self._writer.write(f"{line}\r\n".encode())
        await self._writer.drain()
        return await self._expect(verb, *wanted)

    async def _expect(self, verb: str, *wanted: int) -> Sequence[str]:
        """Return the lines of a reply without its code. Raises `Unavailable` for another code; its text is not told."""
        lines: list[str] = []
        while len(lines) < MAX_REPLY_LINES:
            line = (await self._reader.readuntil(b"\n")).decode("utf-8", "replace").rstrip("\r\n")
            code, is_last = line[:3], line[3:4] != "-"
            lines.append(line[4:])
            if is_last:
                if code.isdecimal() and int(code) in wanted:
                    return lines
                number = int(code) if code.isascii() and code.isdecimal() else 0
                raise Unavailable(f"{self._where} answered {verb} with {number}", reason="smtp_refused")
        raise Unavailable(f"{self._where} answers {verb} without end", reason="smtp_refused")


def stuffed(mail: bytes) -> bytes:
    """Return a mail as it travels after DATA: leading dots doubled, CRLF, a lone dot at the end (RFC 5321, 4.5.2)."""
    lines = mail.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines) + b"\r\n.\r\n"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()

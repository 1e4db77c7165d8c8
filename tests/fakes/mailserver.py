"""A mail server for submission: EHLO, STARTTLS or TLS from the start, AUTH PLAIN and LOGIN, one mail after another.

Python's own `smtplib` gets its mail through it (a test looks), so that what it takes is what servers take.
"""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

_LOGIN = ("ops", "pw-81")


@dataclass
class Mail:
    """One mail that was taken."""

    sender: str
    recipients: list[str]
    raw: bytes
    was_encrypted: bool
    user: str


@dataclass
class MailServer:
    """What it takes, and how it refuses: `refuse` maps a verb to the reply it gets."""

    tls: ssl.SSLContext
    is_implicit: bool = False
    methods: str = "PLAIN LOGIN"
    refuse: dict[str, str] = field(default_factory=dict)
    inject: bytes = b""  # sent in the clear after the reply to STARTTLS
    port: int = 0
    mails: list[Mail] = field(default_factory=list)
    verbs: list[str] = field(default_factory=list)


class _Session:
    def __init__(self, server: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self._is_encrypted, self._user = server.is_implicit, ""
        self._sender, self._recipients = "", []

    async def say(self, *lines: str) -> None:
        for line in lines:
            self._writer.write(f"{line}\r\n".encode())
        await self._writer.drain()

    async def read(self) -> str:
        return (await self._reader.readuntil(b"\n")).decode().rstrip("\r\n")

    async def run(self) -> None:
        await self.say("220 mail.example ESMTP")
        while True:
            line = await self.read()
            verb = line.split(" ")[0].upper()
            self._server.verbs.append(verb)
            if verb == "QUIT":
                await self.say("221 bye")
                return
            if verb in self._server.refuse:
                await self.say(self._server.refuse[verb])
                continue
            await getattr(self, f"on_{verb.lower()}", self.on_unknown)(line)

    async def on_unknown(self, _line: str) -> None:
        await self.say("500 what?")

    async def on_ehlo(self, _line: str) -> None:
        offered = [f"250-AUTH {self._server.methods}"] if self._is_encrypted else ["250-STARTTLS"]
        await self.say("250-mail.example", *offered, "250 8BITMIME")

    async def on_starttls(self, _line: str) -> None:
        self._writer.write(b"220 go ahead\r\n" + self._server.inject)
        await self._writer.drain()
        await self._writer.start_tls(self._server.tls)
        self._is_encrypted = True

    async def on_auth(self, line: str) -> None:
        _, method, *given = line.split(" ")
        if method == "PLAIN":
            _, user, password = base64.b64decode(given[0]).decode().split("\0")
        else:
            await self.say("334 VXNlcm5hbWU6")
            user = base64.b64decode(await self.read()).decode()
            await self.say("334 UGFzc3dvcmQ6")
            password = base64.b64decode(await self.read()).decode()
        is_right = self._is_encrypted and (user, password) == _LOGIN
        self._user = user if is_right else ""
        await self.say("235 welcome" if is_right else "535 no: pw-echoed")

    async def on_mail(self, line: str) -> None:
        self._sender, self._recipients = line.partition("<")[2].partition(">")[0], []
        await self.say("250 ok")

    async def on_rcpt(self, line: str) -> None:
        self._recipients.append(line.partition("<")[2].partition(">")[0])
        await self.say("250 ok")

    async def on_data(self, _line: str) -> None:
        await self.say("354 end with a dot")
        lines = []
        while (line := await self._reader.readuntil(b"\r\n")) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        self._server.mails.append(Mail(self._sender, self._recipients, b"".join(lines), self._is_encrypted, self._user))
        await self.say("250 taken")


@contextlib.asynccontextmanager
async def mail_server(tls: ssl.SSLContext, **settings: object) -> AsyncIterator[MailServer]:
    """Run a mail server on a free port of 127.0.0.1."""
    made = MailServer(tls, **settings)
    ended = asyncio.Event()
    ended.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.clear()
        with contextlib.suppress(OSError, EOFError, ssl.SSLError):
            await _Session(made, reader, writer).run()
        writer.transport.abort()
        ended.set()

    options = {"ssl": tls} if made.is_implicit else {}
    server = await asyncio.start_server(serve, "127.0.0.1", 0, **options)
    async with server:
        made.port = server.sockets[0].getsockname()[1]
        yield made
        async with asyncio.timeout(30):
            await ended.wait()

"""Is it well? One question to a running instance: http, tcp, command; the supervisor itself answers `process`.

HTTP is spoken by hand over a stream: one GET, the status line read, the connection closed. Redirects are not
followed: 2xx and 3xx are well.
"""

import asyncio
import contextlib
import shlex
import ssl
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

import msgspec

from ops_system.processes.commands import run_command
from ops_system.processes.spec import ProbeRules

_MAX_STATUS_LINE = 4096


class Passed(msgspec.Struct, frozen=True):
    """The probe succeeded."""


class Failed(msgspec.Struct, frozen=True):
    """It did not; `detail` says what was seen instead."""

    detail: str


Result = Passed | Failed


async def probe(rules: ProbeRules, cwd: str, env: Mapping[str, str], prefix: tuple[str, ...] = ()) -> Result:
    """Ask once, at most `rules.timeout_s` long. Never raises for what a sick or hostile service does.

    `prefix` goes before a command (to run it as another user).
    """
    try:
        async with asyncio.timeout(rules.timeout_s):
            return await _ask(rules, cwd, env, prefix)
    except TimeoutError:
        return Failed(f"no answer within {rules.timeout_s:g} s")
    except (OSError, ValueError, EOFError) as error:
        return Failed(f"{rules.target}: {str(error) or type(error).__name__}")


async def _ask(rules: ProbeRules, cwd: str, env: Mapping[str, str], prefix: tuple[str, ...]) -> Result:
    match rules.type:
        case "process":
            return Passed()
        case "tcp":
            return await _ask_tcp(rules.target)
        case "http":
            return await _ask_http(rules.target)
        case "command":
            return await _ask_command((*prefix, *shlex.split(rules.target)), cwd, env)


async def _ask_tcp(target: str) -> Result:
    host, _, port = target.rpartition(":")
    if not port.isdigit():
        return Failed(f'"{target}" is not host:port')
    _, writer = await asyncio.open_connection(host.strip("[]") or "127.0.0.1", int(port))
    await _close(writer)
    return Passed()


async def _ask_http(target: str) -> Result:
    url = urlsplit(target)
    if url.scheme not in {"http", "https"} or not url.hostname:
        return Failed(f'"{target}" is not an http or https URL')
    tls = _tls_without_verification() if url.scheme == "https" else None
    port = url.port or (443 if tls else 80)
    reader, writer = await asyncio.open_connection(url.hostname, port, ssl=tls, limit=_MAX_STATUS_LINE)
    try:
        writer.write(_request(url))
        line = await reader.readline()
    finally:
        await _close(writer)
    return _judge(line)


def _request(url: SplitResult) -> bytes:
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    host = url.netloc.rpartition("@")[2]
    head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ops-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    return head.encode("ascii", "replace")


def _judge(line: bytes) -> Result:
    words = line.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():  # noqa: PLR2004 - version and code
        shown = line[:80].decode(errors="replace").strip()
        return Failed(f'answered "{shown}" instead of HTTP' if shown else "closed without an answer")
    code = int(words[1])
    return Passed() if 200 <= code < 400 else Failed(f"HTTP status {code}")  # noqa: PLR2004 - success and redirects


def _tls_without_verification() -> ssl.SSLContext:
    """A probe asks whether the service answers, on this node; it sends and trusts nothing."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


async def _ask_command(argv: tuple[str, ...], cwd: str, env: Mapping[str, str]) -> Result:
    if not argv:
        return Failed("the command is empty")
    result = await run_command(argv, cwd, env)
    if result.code == 0:
        return Passed()
    said = f": {result.last_line[:200]}" if result.last_line else ""
    return Failed(f"command ended with {result.code}{said}")

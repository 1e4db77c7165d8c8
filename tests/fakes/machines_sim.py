"""Thousands of machines that install at once, each with its own session, lease and steps: the agent's protocol on asyncio.

    python -m tests.fakes.machines_sim --regional-url http://127.0.0.1:8081 --count 10000 --interval-s 5 --updates 12

Nothing is written anywhere: where the agent would write an image, these wait and report bytes. Their tasks must be there
and are approved by whoever runs this (serial numbers PREFIX00001…, one disk "DISK-PREFIX00001"). Prints a JSON line every
few seconds, the last one at the end; after `--within-s` it ends in any case. HTTP is spoken by hand, a connection a
machine: what plays ten thousand machines must leave the processors to those that serve them.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import random
import resource
import statistics
import time
from collections.abc import Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from ops_system.installer.reporter import RENEW_AHEAD_S
from ops_system.model.machines import DiskInfo, Hardware, NicInfo
from ops_system.protocol.agent import (
    LEASE_RENEW_S,
    LONG_POLL_S,
    BeginCall,
    CompleteCall,
    DeviceCall,
    Done,
    InstallCompleteCall,
    LeaseAnswer,
    LeaseCall,
    NextOperation,
    ProgressAnswer,
    ProgressCall,
    Report,
    ReportAnswer,
)
from ops_system.runtime.tasks import every, running

T = TypeVar("T")
IMAGE_BYTES = 2 * 1024**3
RETRY_S = 1.0
TOLD_EVERY_S = 2.0
ANSWER_WITHIN_S = LONG_POLL_S + 20
STEPS = ("check-disks", "wipe", "write-image", "verify-image", "grow-root")
DESTRUCTIVE = frozenset({"wipe", "write-image", "grow-root"})


def serial(prefix: str, number: int) -> str:
    """Return the serial number of the n-th machine."""
    return f"{prefix}{number:05d}"


def mac(number: int) -> str:
    """Return the card of the n-th machine."""
    digits = f"02{number:010x}"
    return ":".join(digits[place : place + 2] for place in range(0, 12, 2))


class Numbers:
    """What all machines together saw."""

    def __init__(self) -> None:
        self.progress_s: list[float] = []
        self.calls = self.retries = self.installing = 0
        self.ended: dict[str, int] = {}
        self.why: dict[str, int] = {}  # of retries

    def summary(self) -> dict[str, Any]:
        """Return them for people and programs."""
        times = sorted(self.progress_s) or [0.0]
        return {
            "ended": self.ended,
            "calls": self.calls,
            "machines_cpu_s": round(time.process_time(), 1),
            "retries": self.retries,
            "why": self.why,
            "installing": self.installing,
            "progress": len(self.progress_s),
            "progress_p50_ms": round(statistics.median(times) * 1000, 1),
            "progress_p95_ms": round(times[int(len(times) * 0.95) - 1] * 1000, 1),
            "progress_max_ms": round(times[-1] * 1000, 1),
        }


class Refused(Exception):
    """The region said no, and why: its code and reason."""

    def __init__(self, raw: bytes) -> None:
        words = msgspec.json.decode(raw)
        super().__init__(f"{words['code']} {words['details'].get('reason', '')}")


class Line(asyncio.Protocol):
    """One connection to a region: a request, then its answer."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: Any = None  # uvloop's is no asyncio.Transport
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        self._transport, self.is_open = transport, True

    def connection_lost(self, exc: Exception | None) -> None:
        """It broke; whoever waits for an answer is told."""
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the region closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer."""
        self._kept += data
        end = self._kept.find(b"\r\n\r\n") + 4
        if end < 4 or self._answer is None:
            return
        size = bytes(self._kept[:end]).lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(self._kept) < end + int(size):
            return
        answer, self._kept = (int(self._kept[9:12]), bytes(self._kept[end:])), bytearray()
        if not self._answer.done():
            self._answer.set_result(answer)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer. Raises OSError, TimeoutError."""
        if self._transport is None or not self.is_open:
            raise ConnectionResetError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await self._answer
        except BaseException:
            self.close()  # an answer that comes later must not be taken for the next one's
            raise

    def close(self) -> None:
        """End it."""
        self.is_open = False
        if self._transport is not None:
            self._transport.close()


class Region:
    """Where calls go."""

    def __init__(self, url: str) -> None:
        split = urlsplit(url)
        self._host, self._port = split.hostname or "", split.port or 80

    async def open(self) -> Line:
        """Return a new connection. Raises OSError."""
        _, line = await asyncio.get_running_loop().create_connection(Line, self._host, self._port)
        return line

    def request(self, path: str, body: bytes, token: str) -> bytes:
        """Return a call as it is sent."""
        head = f"POST /api/v1/{path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Type: application/json\r\n"
        shown = f"Authorization: Bearer {token}\r\n" if token else ""
        return f"{head}{shown}Content-Length: {len(body)}\r\n\r\n".encode() + body


class PlayedMachine:
    """One boot of one machine, from its report to the end of its installation."""

    def __init__(self, region: Region, sn: str, card: str, numbers: Numbers) -> None:
        self._region, self.sn, self._mac, self._numbers = region, sn, card, numbers
        self._token = ""
        self._line: Line | None = None
        self._is_busy = False
        self._task_id, self._fence = "", 0
        self._disks = (f"DISK-{sn}",)
        self._due_at_s = 0.0  # when the lease is to be renewed, by the loop's clock

    async def run(self, updates: int, interval_s: float) -> None:
        """Report, wait for the approval, install with so many updates of progress, end."""
        await self._report()
        async with running(self._keep_lease(), f"lease {self.sn}"):
            try:
                how = await self._install(updates, interval_s)
            except Refused as refusal:
                how = f"refused: {refusal}"
        if self._line is not None:
            self._line.close()
        self._numbers.ended[how] = self._numbers.ended.get(how, 0) + 1

    async def _report(self) -> None:
        """Open the session of this boot."""
        hardware = Hardware(
            disks=(DiskInfo("vda", 2 * IMAGE_BYTES, serial=self._disks[0]),), nics=(NicInfo("e", self._mac),)
        )
        report = Report(self.sn, self._mac, f"uuid-{self.sn}", hardware, boot_id=f"boot-{self.sn}")
        answer = await self._persist("report", report, ReportAnswer)
        self._token = answer.session_token

    async def _install(self, updates: int, interval_s: float) -> str:
        order = await self._order()
        if order.operation != "install":
            return order.operation
        self._task_id, self._fence = order.data.task_id, order.data.fence
        with self._counted():
            await self._take_steps(updates, interval_s)
        return "completed"

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._numbers.installing += 1
        try:
            yield
        finally:
            self._numbers.installing -= 1

    async def _take_steps(self, updates: int, interval_s: float) -> None:
        for step in STEPS:
            begin = BeginCall(self.sn, self._task_id, self._fence, step, self._disks, step in DESTRUCTIVE)
            await self._persist("device/operationBegin", begin, Done)
            if step == "write-image":
                await self._write(step, updates, interval_s)
            done = CompleteCall(self.sn, step, success=True, fence=self._fence)
            await self._persist("device/operationComplete", done, Done)
        end = InstallCompleteCall(self.sn, "completed", fence=self._fence)
        await self._persist("device/installComplete", end, Done)

    async def _order(self) -> NextOperation:
        call = DeviceCall(self.sn)
        while True:
            try:
                order = await self._persist("device/getNextOperation", call, NextOperation)
            except Refused:  # the session is over
                await asyncio.sleep(RETRY_S)
                await self._report()
                continue
            if order.operation != "wait":
                return order
            await asyncio.sleep(order.data.retry_after_s)

    async def _write(self, step: str, updates: int, interval_s: float) -> None:
        await asyncio.sleep(random.uniform(0, interval_s))
        for number in range(1, updates + 1):
            done = IMAGE_BYTES * number // updates
            call = ProgressCall(
                self.sn,
                self._task_id,
                step,
                100 * number / updates,
                "",
                done,
                IMAGE_BYTES,
                (f"{done} bytes",),
                self._fence,
                self._is_due(RENEW_AHEAD_S),
            )
            began_s = time.perf_counter()
            answer = await self._persist("progress", call, ProgressAnswer)
            took_s = time.perf_counter() - began_s
            if answer.lease is not None:
                self._is_renewed()
            self._numbers.progress_s.append(took_s)
            await asyncio.sleep(max(0.0, interval_s - took_s))

    async def _keep_lease(self) -> None:
        """Ask for the lease where no progress did."""
        loop = asyncio.get_running_loop()
        self._due_at_s = loop.time() + random.uniform(0, LEASE_RENEW_S)
        while True:
            await asyncio.sleep(self._due_at_s - loop.time())
            if not self._is_due(0.0):
                continue
            with contextlib.suppress(Refused):
                await self._persist("lease", LeaseCall(self.sn), LeaseAnswer)
            self._is_renewed()

    def _is_due(self, ahead_s: float) -> bool:
        return self._due_at_s - asyncio.get_running_loop().time() <= ahead_s

    def _is_renewed(self) -> None:
        self._due_at_s = asyncio.get_running_loop().time() + LEASE_RENEW_S

    async def _persist(self, path: str, body: msgspec.Struct, answer: type[T]) -> T:
        while True:
            try:
                return await self._call(path, body, answer)
            except (OSError, TimeoutError) as error:
                self._numbers.retries += 1
                why = f"{path}: {str(error)[:120] or type(error).__name__}"
                self._numbers.why[why] = self._numbers.why.get(why, 0) + 1
                await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.5))

    async def _call(self, path: str, body: msgspec.Struct, answer: type[T]) -> T:
        self._numbers.calls += 1
        request = self._region.request(path, msgspec.json.encode(body), self._token)
        status, raw = await self._send(request)
        if status >= 500 or status == 429:
            raise ConnectionError(f"{status} {raw[:80].decode(errors='replace')}")
        if status != 200:
            raise Refused(raw)
        return msgspec.json.decode(raw, type=answer)

    async def _send(self, request: bytes) -> tuple[int, bytes]:
        """Use the machine's own connection; while a long poll is on it, one for this call alone."""
        if self._is_busy:
            line = await self._region.open()
            try:
                return await line.ask(request)
            finally:
                line.close()
        self._is_busy = True
        try:
            if self._line is None or not self._line.is_open:
                self._line = await self._region.open()
            return await self._line.ask(request)
        finally:
            self._is_busy = False


async def play(  # each is a number of its own, given by its name
    url: str,
    count: int,
    *,
    prefix: str = "m",
    updates: int = 12,
    interval_s: float = 5.0,
    ramp_s: float = 10.0,
    numbers: Numbers | None = None,
) -> Numbers:
    """Play `count` machines, begun over `ramp_s` seconds; return what they saw when all have ended."""
    seen, region = numbers or Numbers(), Region(url)

    async def one(number: int) -> None:
        await asyncio.sleep(ramp_s * number / count)
        await PlayedMachine(region, serial(prefix, number), mac(number), seen).run(updates, interval_s)

    async with asyncio.TaskGroup() as group:
        for number in range(1, count + 1):
            group.create_task(one(number))
    return seen


async def play_aloud(given: argparse.Namespace) -> None:
    """Play, and print how it goes; at the end of `--within-s` what was seen until then."""
    numbers = Numbers()

    async def tell() -> None:
        print(json.dumps(numbers.summary()), flush=True)

    async with running(every(TOLD_EVERY_S, tell, "numbers"), "numbers"):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(given.within_s):
                await play(
                    given.regional_url,
                    given.count,
                    prefix=given.prefix,
                    updates=given.updates,
                    interval_s=given.interval_s,
                    ramp_s=given.ramp_s,
                    numbers=numbers,
                )
    await tell()


def main() -> int:
    """Play machines from the command line. Collections would show as waits that the region had no part in."""
    import uvloop

    gc.disable()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regional-url", required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--prefix", default="m")
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--interval-s", type=float, default=5.0)
    parser.add_argument("--ramp-s", type=float, default=10.0)
    parser.add_argument("--within-s", type=float, default=3600.0)
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, given.count * 3 + 200)), hard))
    uvloop.run(play_aloud(given))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Thousands of machines that install at once, each with its own session, lease and steps: the agent's protocol on asyncio.

    python -m tests.fakes.machines_sim --regional-url http://127.0.0.1:8081 --count 10000 --interval-s 5 --updates 12

Nothing is written anywhere: where the agent would write an image, these wait and report bytes. Their tasks must be there
and are approved by whoever runs this (serial numbers PREFIX00001…, one disk "DISK-PREFIX00001"). Prints one JSON line.
"""

import argparse
import asyncio
import contextlib
import json
import random
import resource
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp
import msgspec

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
    ProgressCall,
    Report,
    ReportAnswer,
)
from ops_system.runtime.tasks import running

T = TypeVar("T")
IMAGE_BYTES = 2 * 1024**3
RETRY_S = 1.0
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
        self.calls = self.retries = 0
        self.ended: dict[str, int] = {}

    def summary(self) -> dict[str, Any]:
        """Return them for people and programs."""
        times = sorted(self.progress_s) or [0.0]
        return {
            "ended": self.ended,
            "calls": self.calls,
            "retries": self.retries,
            "progress": len(self.progress_s),
            "progress_p50_ms": round(statistics.median(times) * 1000, 1),
            "progress_p95_ms": round(times[int(len(times) * 0.95) - 1] * 1000, 1),
            "progress_max_ms": round(times[-1] * 1000, 1),
        }


class Refused(Exception):
    """The region said no."""


class PlayedMachine:
    """One boot of one machine, from its report to the end of its installation."""

    def __init__(self, http: aiohttp.ClientSession, url: str, sn: str, card: str, numbers: Numbers) -> None:
        self._http, self._url, self.sn, self._mac, self._numbers = http, url, sn, card, numbers
        self._headers: dict[str, str] = {}
        self._task_id, self._fence = "", 0
        self._disks = (f"DISK-{sn}",)

    async def run(self, updates: int, interval_s: float) -> None:
        """Report, wait for the approval, install with so many updates of progress, end."""
        hardware = Hardware(
            disks=(DiskInfo("vda", 2 * IMAGE_BYTES, serial=self._disks[0]),), nics=(NicInfo("e", self._mac),)
        )
        report = Report(self.sn, self._mac, f"uuid-{self.sn}", hardware, boot_id=f"boot-{self.sn}")
        answer = await self._persist(lambda: self._call("report", report, ReportAnswer))
        self._headers = {"Authorization": f"Bearer {answer.session_token}"}
        async with running(self._keep_lease(), f"lease {self.sn}"):
            try:
                how = await self._install(updates, interval_s)
            except Refused as refusal:
                how = f"refused: {refusal}"
        self._numbers.ended[how] = self._numbers.ended.get(how, 0) + 1

    async def _install(self, updates: int, interval_s: float) -> str:
        order = await self._order()
        if order.operation != "install":
            return order.operation
        self._task_id, self._fence = order.data.task_id, order.data.fence
        for step in STEPS:
            begin = BeginCall(self.sn, self._task_id, self._fence, step, self._disks, step in DESTRUCTIVE)
            await self._persist(lambda begin=begin: self._call("device/operationBegin", begin, Done))
            if step == "write-image":
                await self._write(step, updates, interval_s)
            done = CompleteCall(self.sn, step, success=True, fence=self._fence)
            await self._persist(lambda done=done: self._call("device/operationComplete", done, Done))
        end = InstallCompleteCall(self.sn, "completed", fence=self._fence)
        await self._persist(lambda: self._call("device/installComplete", end, Done))
        return "completed"

    async def _order(self) -> NextOperation:
        call = DeviceCall(self.sn)
        while True:
            order = await self._persist(lambda: self._call("device/getNextOperation", call, NextOperation))
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
            )
            began_s = time.perf_counter()
            await self._persist(lambda call=call: self._call("progress", call, Done))
            took_s = time.perf_counter() - began_s
            self._numbers.progress_s.append(took_s)
            await asyncio.sleep(max(0.0, interval_s - took_s))

    async def _keep_lease(self) -> None:
        await asyncio.sleep(random.uniform(0, LEASE_RENEW_S))
        while True:
            with contextlib.suppress(Refused):
                await self._persist(lambda: self._call("lease", LeaseCall(self.sn), LeaseAnswer))
            await asyncio.sleep(LEASE_RENEW_S)

    async def _persist(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except (aiohttp.ClientError, TimeoutError, OSError):
                self._numbers.retries += 1
                await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.5))

    async def _call(self, path: str, body: msgspec.Struct, answer: type[T]) -> T:
        self._numbers.calls += 1
        headers = {**self._headers, "Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=LONG_POLL_S + 20)
        async with self._http.post(
            f"{self._url}/api/v1/{path}", data=msgspec.json.encode(body), headers=headers, timeout=timeout
        ) as reply:
            raw = await reply.read()
            if reply.status >= 500 or reply.status == 429:
                raise aiohttp.ClientError(raw.decode(errors="replace"))
            if reply.status != 200:
                raise Refused(raw.decode(errors="replace")[:200])
            return msgspec.json.decode(raw, type=answer)


async def play(
    url: str, count: int, *, prefix: str = "m", updates: int = 12, interval_s: float = 5.0, ramp_s: float = 10.0
) -> Numbers:
    """Play `count` machines, begun over `ramp_s` seconds; return what they saw when all have ended."""
    numbers = Numbers()
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)

    async def one(number: int) -> None:
        await asyncio.sleep(ramp_s * number / count)
        await PlayedMachine(http, url, serial(prefix, number), mac(number), numbers).run(updates, interval_s)

    async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as group:
        for number in range(1, count + 1):
            group.create_task(one(number))
    return numbers


def main() -> int:
    """Play machines from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regional-url", required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--prefix", default="m")
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--interval-s", type=float, default=5.0)
    parser.add_argument("--ramp-s", type=float, default=10.0)
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, given.count * 3 + 200)), hard))
    numbers = asyncio.run(
        play(
            given.regional_url, given.count, prefix=given.prefix, updates=given.updates, interval_s=given.interval_s,
            ramp_s=given.ramp_s,
        )
    )  # fmt: skip
    print(json.dumps(numbers.summary()), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

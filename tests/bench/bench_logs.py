"""Logs under load: a flood with ten viewers of which one never reads, and a search through 1 GB of old files.

Usage: bench_logs.py [--seconds 20] [--megabytes 1000]
"""

import argparse
import asyncio
import gzip
import json
import os
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import aiohttp

from ops_system.model.ids import InstanceId
from ops_system.model.logtimes import LineTimes, fixed_zone
from ops_system.processes.filelog import FileLog
from ops_system.processes.logsearch import search
from ops_system.processes.matching import open_matcher
from ops_system.protocol.logs import SearchLog
from tests.bench.measure import emit, median, memory_mb
from tests.fakes.fleet import PASSWORD, Fleet, pack, until

VIEWERS = 10
RATE = 200_000  # lines a second
FLOOD = f"""\
#!/usr/bin/env python3
import os, time
block = b"".join(b"%09d a line of a service that says far too much about nothing\\n" % n for n in range({RATE // 100}))
due = time.monotonic()
while True:
    os.write(1, block)
    due += 0.01
    time.sleep(max(0.0, due - time.monotonic()))
"""
QUIET = "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 0.1; done\n"


def service(folder: Path, name: str, text: str) -> Path:
    """Return the zip of a service of one script."""
    home = folder / name
    home.mkdir()
    (home / "run.sh").write_text(text)
    (home / "run.sh").chmod(0o755)
    (home / "service.json").write_text(
        json.dumps({"schema": 1, "name": name, "version": "1.0.0", "entrypoint": "run.sh"})
    )
    return pack(home, folder / f"{name}.zip")


async def watch(fleet: Fleet, path: str, seen: dict[str, int], *, reads: bool, seconds: float) -> None:
    """Follow for a while and count; one that never reads only holds its socket open."""
    headers = {"Authorization": f"Bearer {fleet.token}"}
    address = f"{fleet.url}/api/v1{path}"
    async with aiohttp.ClientSession(headers=headers) as session, session.ws_connect(address, max_msg_size=0) as viewer:
        if not reads:
            viewer._response.connection.transport.pause_reading()
            await asyncio.sleep(seconds)
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                frame = json.loads((await viewer.receive(timeout=2)).data)
            except (TimeoutError, TypeError):
                continue
            seen["lines"] += len(frame.get("lines", ()))
            seen["left out"] += frame.get("dropped", 0) if frame.get("bytes") else 0
            seen["lost by the viewer"] += 0 if frame.get("bytes") else frame.get("dropped", 0)


def restart_s(fleet: Fleet, instance_id: str) -> float:
    """Return how long a restart of the other service takes until it runs anew."""
    before = fleet.get(f"/instances/{instance_id}")["pid"]
    began = time.monotonic()
    fleet.post(f"/instances/{instance_id}/restart", {})

    def is_new() -> bool:
        now = fleet.get(f"/instances/{instance_id}")
        return now["pid"] not in {None, before}

    until(is_new, "the other service runs anew")
    return time.monotonic() - began


async def flood(folder: Path, seconds: float) -> None:
    """Measure the first part."""
    with Fleet(folder) as fleet:
        fleet.start_master()
        fleet.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        node_id = fleet.start_worker("w1")
        loud = fleet.deploy(fleet.upload(service(folder, "loud", FLOOD)), node_id, name="loud")
        quiet = fleet.deploy(fleet.upload(service(folder, "quiet", QUIET)), node_id, name="quiet")
        pids = {name: process.pid for name, process in fleet.programs.items()}
        at_rest = {name: memory_mb([pid]) for name, pid in pids.items()}
        path = f"/instances/{loud['id']}/logs/stdout/follow"
        seen = [dict.fromkeys(("lines", "left out", "lost by the viewer"), 0) for _ in range(VIEWERS)]
        times: list[float] = []
        peak = dict(at_rest)

        async def control() -> None:
            deadline = time.monotonic() + seconds - 2
            while time.monotonic() < deadline:
                times.append(await asyncio.to_thread(restart_s, fleet, quiet["id"]))
                for name, pid in pids.items():
                    peak[name] = max(peak[name], memory_mb([pid]))

        async with asyncio.TaskGroup() as group:
            for number in range(VIEWERS):
                group.create_task(watch(fleet, path, seen[number], reads=number > 0, seconds=seconds))
            group.create_task(control())
        for name, before in at_rest.items():
            emit(f"log flood, memory of {name} at most", peak[name], "MB", at_rest=round(before, 1))
        for what, lines in seen[1].items():
            emit(f"log flood, one of {VIEWERS} viewers: {what}", lines / seconds, "lines/s")
        emit("log flood, restart of another service", median(times), "s", most=round(max(times), 3), count=len(times))


async def search_through(folder: Path, megabytes: int) -> None:
    """Measure the second part: half plain, half gzip, 50 MB each."""
    home = folder / "app"
    home.mkdir()
    block = "".join(
        f"2026-01-02T03:{n // 60 % 60:02d}:{n % 60:02d}Z INFO request {n * 7919 % 1_000_003} took {n % 977} ms from 10.0.{n % 256}.{n % 251}\n"
        for n in range(650_000)
    ).encode()[:50_000_000]
    for number in range(1, megabytes // 50 + 1):
        path = home / f"app.log.{number}{'.gz' if number % 2 else ''}"
        path.write_bytes(gzip.compress(block, 1) if number % 2 else block)
        os.utime(path, (1_000_000 - number, 1_000_000 - number))
    (home / "app.log").write_bytes(b"the end\n")
    log = FileLog(home, PurePosixPath("app.log"))
    times = LineTimes(fixed_zone(0), datetime.now(UTC))
    for what, more in (
        ("text", {}),
        ("text, any case", {"ignore_case": True}),
        ("expression", {"is_regex": True}),
    ):
        text = "NOWHERE to be found" if what != "expression" else r"took 97[0-9]{2} ms"
        began, start, answers = time.monotonic(), None, 0
        while True:
            wish = SearchLog(InstanceId("ins_1"), "app", text, start=start, **more)
            async with open_matcher(text, is_regex=wish.is_regex, ignore_case=wish.ignore_case) as matcher:
                found = await search(log, wish, matcher, times.of, time.monotonic)
            answers += 1
            if (start := found.next) is None:
                break
        took_s = time.monotonic() - began
        rate = found.total_bytes / took_s / 1e6
        emit(
            f"log search by {what}", took_s, "s", answers=answers, mb_per_s=round(rate), rss_mb=memory_mb([os.getpid()])
        )


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--megabytes", type=int, default=1000)
    parsed = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-logs-"))
    try:
        if parsed.megabytes:
            asyncio.run(search_through(folder, parsed.megabytes))
        if parsed.seconds:
            asyncio.run(flood(folder, parsed.seconds))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

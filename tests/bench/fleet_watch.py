"""Those who look at a fleet under load, each as a program of its own, so that none slows another down. For `bench_fleet`.

    viewers URL TOKEN COUNT SECONDS     browsers on `metrics:fleet`: how old is a sample when the socket gives it
    probe URL KEY NUMBER SECONDS        a worker whose Ping follows its Sample on the same link: when was it taken in
    pages URL TOKEN SECONDS             GET /nodes again and again: how long the API takes

Prints one JSON line with percentiles in ms.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
import uvloop

from ops_system.model.metrics import NODE_SERIES
from ops_system.protocol.frames import Ping, Pong, Sample
from ops_system.runtime.tasks import running
from tests.bench.measure import percentile
from tests.bench.ops_sim import age_ms, make_worker, stamp_of
from tests.bench.sim import make_sample

PROBE_EVERY_S = 0.02
PAGE_EVERY_S = 0.1
_STAMP = NODE_SERIES.index("load1")


class FleetData(msgspec.Struct):
    """The part of a `metrics:fleet` message that is looked at."""

    nodes: dict[str, list[float | None]]


class FleetMessage(msgspec.Struct):
    """One message."""

    type: str
    data: FleetData


def summary(values_ms: list[float], **more: Any) -> dict[str, Any]:
    """Return percentiles."""
    values_ms = values_ms or [-1.0]
    points = {f"p{int(share * 100)}_ms": round(percentile(values_ms, share), 2) for share in (0.5, 0.95, 0.99)}
    return {"count": len(values_ms), **points, "max_ms": round(max(values_ms), 2), **more}


async def view(session: aiohttp.ClientSession, url: str, ages_ms: list[float], until_s: float, *, looks: bool) -> None:
    """Watch as one browser. Only one that `looks` decodes; the others read."""
    decoder = msgspec.json.Decoder(FleetMessage)
    async with session.ws_connect(f"{url}/api/v1/live", max_msg_size=0) as socket:
        await socket.send_str(json.dumps({"subscribe": ["metrics:fleet"]}))
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                text = await socket.receive_str(timeout=left_s)
            except TimeoutError:
                return
            now_s = time.time()
            if looks and (message := decoder.decode(text)).type == "change":
                stamps = (values[_STAMP] for values in message.data.nodes.values())
                ages_ms += [age_ms(stamp, now_s) for stamp in stamps if stamp is not None]


async def viewers(url: str, token: str, count: str, seconds: str) -> dict[str, Any]:
    """Watch as so many browsers."""
    ages_ms: list[list[float]] = [[] for _ in range(int(count))]
    until_s = time.monotonic() + float(seconds)
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session, asyncio.TaskGroup() as group:
        for number, ages in enumerate(ages_ms):
            group.create_task(view(session, url, ages, until_s, looks=number in {0, int(count) - 1}))
    every_age = [age for ages in ages_ms for age in ages]
    return summary(every_age, viewers=int(count))


async def probe(url: str, key: str, number: str, seconds: str) -> dict[str, Any]:
    """Measure from before the Sample is written to after the Pong behind it is read."""
    worker, rounds_ms, heard = make_worker(url, key, int(number)), [], asyncio.Event()

    async def hear(frame: object) -> None:
        if isinstance(frame, Pong):
            heard.set()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
        link = await worker.dial(session)
        async with running(link.run(hear), "probe"):
            until_s = time.monotonic() + float(seconds)
            while time.monotonic() < until_s:
                heard.clear()
                asked_s = time.perf_counter()
                await link.send_now(stamped_sample(time.time()))  # past the outbox, which would send the Ping first
                await link.send_now(Ping(1, datetime.now(UTC)))
                await heard.wait()
                rounds_ms.append((time.perf_counter() - asked_s) * 1000)
                await asyncio.sleep(PROBE_EVERY_S)
    return summary(rounds_ms)


def stamped_sample(at_s: float) -> Sample:
    """Return a sample that carries when it was made."""
    sample = make_sample(at_s)
    values = [*sample.node]
    values[_STAMP] = stamp_of(at_s)
    return msgspec.structs.replace(sample, node=tuple(values))


async def pages(url: str, token: str, seconds: str) -> dict[str, Any]:
    """Ask for the first page of nodes, one question at a time."""
    until_s, times_ms, failed = time.monotonic() + float(seconds), [], 0
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        while time.monotonic() < until_s:
            asked_s = time.perf_counter()
            try:
                async with session.get(f"{url}/api/v1/nodes?limit=100") as answer:
                    await answer.read()
                    failed += answer.status != 200
            except aiohttp.ClientError:
                failed += 1
            times_ms.append((time.perf_counter() - asked_s) * 1000)
            await asyncio.sleep(PAGE_EVERY_S)
    return summary(times_ms, failed=failed)


def main() -> None:
    """Run the one named on the command line."""
    looks: dict[str, Any] = {"viewers": viewers, "probe": probe, "pages": pages}
    look: Awaitable[dict[str, Any]] = looks[sys.argv[1]](*sys.argv[2:])
    gc.freeze()
    gc.disable()  # a pause of ours is no age of theirs

    async def run() -> None:
        print(json.dumps(await look), flush=True)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


if __name__ == "__main__":
    main()

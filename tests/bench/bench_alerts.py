"""Alerts: from the sample that breaches until the webhook is received, beyond the rule's own `for`; and what a look costs.

The cost is one `look` at 5 000 nodes by five rules on metrics, a tenth of the nodes near a level, per second of time.
"""

import asyncio
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec

from ops_system.master.alerts.cases import Case
from ops_system.master.alerts.fleet import Fleet
from ops_system.master.alerts.views import StoredRule
from ops_system.master.alerts.watch import Watch
from ops_system.master.bus import Bus
from ops_system.master.metrics.service import MetricsBook
from ops_system.model.alerts import Condition, ConditionKind, NewRule
from ops_system.model.ids import NodeId
from ops_system.model.metrics import NODE_SERIES
from ops_system.model.nodes import NodeStatus
from ops_system.protocol.frames import Sample
from ops_system.runtime.clock import SystemClock
from ops_system.runtime.tasks import running
from tests.bench.measure import emit, percentile
from tests.bench.sim import SimWorker, make_sample
from tests.fakes.attacker import join, linked
from tests.fakes.master import run_master
from tests.fakes.receiver import Receiver, receiver

ROUNDS = 4  # the simulated worker sends samples alone; without heartbeats its link ends after 25 s
FOR_S = 1.0
NODES = 5000
LOOKS = 30


@dataclass
class Load:
    """The CPU load a worker sends once a second."""

    percent: float = 0.0
    sent: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self, worker: SimWorker) -> None:
        """Send until cancelled."""
        while True:
            sample = make_sample(time.time())
            assert worker.link is not None
            worker.link.send(msgspec.structs.replace(sample, node=(self.percent, *sample.node[1:])))
            async with self.sent:
                self.sent.notify_all()
            await asyncio.sleep(1)

    async def turn(self, percent: float) -> float:
        """Send this from now on; return the moment of the first such sample."""
        self.percent = percent
        async with self.sent:
            await self.sent.wait()
        return time.monotonic()


async def breach(api: Any, site: Receiver, load: Load, number: int) -> float:
    """Return the seconds from the sample that breaches until the webhook, without `for`."""
    hook = {"name": f"c{number}", "kind": "webhook", "url": site.url(), "secret": "hush-83", "events": ["alert"]}
    channel = await api.post("/channels", hook)
    level = {"kind": "node_metric", "series": "cpu_percent", "fire_level": 90 + number / 100}
    rule = {"name": f"r{number}", "condition": level, "for_s": FOR_S, "channels": [channel["id"]]}
    made = await api.post("/alert-rules", rule)
    before = len(site.got)
    began_s = await load.turn(99.0)
    await site.wait_for(before + 1, within_s=30)
    took_s = time.monotonic() - began_s
    for _ in range(3):  # a look a second may miss a single fine sample
        await load.turn(10.0)
    await api.delete(f"/alert-rules/{made['id']}")
    return took_s - FOR_S


async def latency(scratch: Path) -> list[float]:
    """Return the latency of each round."""
    async with (
        receiver() as site,
        run_master(scratch, outbound__allow="127.0.0.1") as master,
        master.admin_client() as api,
        aiohttp.ClientSession() as session,
    ):
        worker = await join(master, session, "n1")
        load = Load()
        async with linked(worker, session), running(load.run(worker), "samples"):
            return [await breach(api, site, load, number) for number in range(ROUNDS)]


def look_s() -> list[float]:
    """Return the seconds of each look."""
    clock, bus = SystemClock(), Bus()
    book = MetricsBook(bus, clock, budget_bytes=1 << 30)
    nodes = []
    for number in range(NODES):
        values = tuple(89.0 if number % 10 == 0 else 20.0 for _ in NODE_SERIES)
        book.ingest(NodeId(f"n{number}"), Sample(at_s=time.time(), node=values))
        node = SimpleNamespace(id=f"n{number}", name=f"n{number}", labels={}, status=NodeStatus.ONLINE, last_seen=1)
        nodes.append(SimpleNamespace(**vars(node), revoked=False, clone_of=None))
    watch = Watch(Fleet(bus, nodes, []), book, dict, SimpleNamespace(watch=list), started_s=0.0)
    watch.plan(_rule(number, series) for number, series in enumerate(NODE_SERIES[:5]))
    none: dict[str, dict[str, Case]] = {}
    return [_timed(watch, none) for _ in range(LOOKS)]


def _rule(number: int, series: str) -> StoredRule:
    condition = Condition(kind=ConditionKind.NODE_METRIC, series=series, fire_level=90, clear_level=80)
    now = SystemClock().now()
    return StoredRule(f"r{number}", "", NewRule(name=f"r{number}", condition=condition), now, "", now)


def _timed(watch: Watch, cases: dict[str, dict[str, Case]]) -> float:
    began_s = time.thread_time()
    found = [one for piece in watch.look(cases, time.monotonic()) for one in piece]
    assert found == []
    return time.thread_time() - began_s


def main() -> None:
    """Measure and print."""
    costs = [100 * cost_s for cost_s in look_s()]
    emit(
        "one look a second at 5 000 nodes by 5 rules",
        percentile(costs, 0.5),
        "% of a core",
        p95=percentile(costs, 0.95),
    )
    with tempfile.TemporaryDirectory() as scratch:
        values = asyncio.run(latency(Path(scratch)))
    emit("breach until webhook beyond `for`", percentile(values, 0.5), "s", worst=round(max(values), 3), rounds=ROUNDS)


if __name__ == "__main__":
    main()

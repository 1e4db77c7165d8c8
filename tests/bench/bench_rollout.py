"""Rollouts: 204 instances on twelve workers to another version, and the plan of a module with 500 instances.

    python -m tests.bench.bench_rollout [--modules 17] [--planned 500]

A module has one instance a node, so 17 modules with twelve instances each are rolled out at the same time, each at most
two instances at once. The bake times, one second a wave, are taken off. The 500 nodes of the plan are on record and
silent: the plan looks at every instance in full and names that, too.
"""

import argparse
import io
import tempfile
import time
from pathlib import Path
from typing import Any

from ops_system.storage.folder import DataFolder
from tests.bench.measure import emit, median
from tests.bench.ops_sim import seed
from tests.fakes.fleet import Fleet, until
from tests.fakes.packages import make_zip, service_json

WORKERS = 12
BAKE_S = 1.0
WAVES = 2  # without a canary: a quarter, then the rest
STRATEGY = {"canary": 0, "max_parallel": 2, "bake_s": BAKE_S}
SCRIPT = b"#!/bin/sh\nexec sleep 100000\n"
PROBE = {"type": "command", "target": "/bin/true", "interval": "1s", "start_timeout": "60s"}
WITHIN_S = 300.0
PLANS = 7


def upload(fleet: Fleet, version: str) -> None:
    """Put a version of the small service into the catalogue."""
    manifest = service_json(name="small", version=version, env={"VERSION": version}, health=PROBE)
    archive = io.BytesIO(make_zip({"run.sh": SCRIPT}, manifest)).getvalue()
    fleet.call("POST", "/packages", archive, media="application/zip")


def ended(fleet: Fleet, operations: list[dict[str, Any]]) -> bool:
    """Whether all have ended; raises where one went wrong."""
    now = [fleet.get(f"/operations/{one['id']}") for one in operations]
    wrong = [one for one in now if one["state"] in {"failed", "cancelled"}]
    if wrong:
        raise AssertionError(wrong[0])
    return all(one["state"] == "succeeded" for one in now)


def roll_all(fleet: Fleet, modules: list[str], version: str) -> float:
    """Return the seconds from the first word to the last end, the bake times taken off."""
    started = time.monotonic()
    body = {"version": version, "strategy": STRATEGY}
    begun = [fleet.post(f"/modules/{one}/rollout", body)["operation"] for one in modules]
    until(lambda: ended(fleet, begun), f"{len(modules)} rollouts end", WITHIN_S)
    return time.monotonic() - started - WAVES * BAKE_S


def measure_rollouts(folder: Path, count: int) -> None:
    """Deploy, roll forward and back."""
    with Fleet(folder) as fleet:
        fleet.start_master()
        for number in range(WORKERS):
            fleet.start_worker(f"w{number}")
        upload(fleet, "1.0.0")
        upload(fleet, "2.0.0")
        system = fleet.post("/systems", {"name": "many"})
        draft = {"package": "small", "version": "1.0.0"}
        path = f"/systems/{system['id']}/modules"
        modules = [fleet.post(path, {**draft, "name": f"m{number}"})["id"] for number in range(count)]
        deployed = fleet.post(f"/systems/{system['id']}/actions", {"action": "deploy"})
        if fleet.operation(deployed, WITHIN_S)["state"] != "succeeded":
            raise AssertionError("the deploy failed")
        values = [roll_all(fleet, modules, version) for version in ("2.0.0", "1.0.0", "2.0.0")]
        instances = count * WORKERS
        emit("rollout of small instances beyond the bake times", median(values), "s", instances=instances, runs=values)


def measure_plan(folder: Path, count: int) -> None:
    """Plan a module that has many instances."""
    with Fleet(folder) as fleet:
        fleet.start_master()  # it makes the data folder
        fleet.stop("master")
        seed(DataFolder(fleet.data), "plan", count)
        fleet.start_master()
        upload(fleet, "1.0.0")
        upload(fleet, "2.0.0")
        system = fleet.post("/systems", {"name": "wide"})
        draft = {"name": "wide", "package": "small", "version": "1.0.0"}
        module = fleet.post(f"/systems/{system['id']}/modules", draft)["id"]
        nodes = [node["id"] for node in fleet.get(f"/nodes?limit={count}")["items"]]
        for node_id in nodes:
            fleet.post("/instances", {"module_id": module, "node_id": node_id})
        values = [plan_s(fleet, module, count) for _ in range(PLANS)]
        emit("plan of a rollout", median(values), "s", instances=count, worst=max(values))
        for one in fleet.get(f"/instances?limit={count}")["items"]:
            fleet.call("DELETE", f"/instances/{one['id']}?force=1")


def plan_s(fleet: Fleet, module: str, count: int) -> float:
    """Return the seconds of one plan over HTTP."""
    started = time.perf_counter()
    plan = fleet.post(f"/modules/{module}/plan", {"version": "2.0.0", "strategy": STRATEGY})
    if len(plan["items"]) != count:
        raise AssertionError(f"{len(plan['items'])} of {count} instances are in the plan")
    return time.perf_counter() - started


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modules", type=int, default=17)
    parser.add_argument("--planned", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-plan-") as folder:
        measure_plan(Path(folder), options.planned)
    with tempfile.TemporaryDirectory(prefix="bench-rollout-") as folder:
        measure_rollouts(Path(folder), options.modules)


if __name__ == "__main__":
    main()

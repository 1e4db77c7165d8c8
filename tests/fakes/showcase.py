"""A fleet with content as people have it, for looking at the console: names, packages, schedules, backups, alerts.

with showcase(folder) as fleet: …
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.fakes.fleet import PASSWORD, Fleet, until
from tests.fakes.packages import make_zip, service_json

ROOT = Path(__file__).resolve().parents[2]
SIMULATED = 40
RACKS = 5
SOON = {"type": "command", "target": "/bin/true", "interval": "1s", "start_timeout": "20s"}
SERVE = """#!/bin/sh
n=0
while :; do
  n=$((n + 1))
  echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) INFO order $n accepted in $((n % 37 + 3)) ms"
  [ $((n % 9)) -eq 0 ] && echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) WARN stock of item $n is low" >&2
  sleep 1
done
"""
VERSIONS = {"shop-web": ("2.3.0", "2.4.0"), "orders": ("1.9.2",), "search": ("0.8.1", "0.9.0")}
TEXTS = {"shop-web": "The web shop.", "orders": "Takes orders and keeps them.", "search": "Finds articles."}


@contextmanager
def showcase(folder: Path, **options: Any) -> Iterator[Fleet]:
    """Start a master, three workers and 40 simulated ones, and fill them; all ends with the block."""
    with Fleet(folder, **options) as fleet:
        fleet.start_master()
        nodes = [fleet.start_worker(f"web-{number}") for number in (1, 2, 3)]
        fleet.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        simulator = _simulate(fleet)
        try:
            _fill(fleet, nodes)
            yield fleet
        finally:
            simulator.terminate()
            simulator.wait(10)


def _simulate(fleet: Fleet) -> subprocess.Popen[bytes]:
    token = fleet.master_command("join-token", "create", "--uses", str(SIMULATED)).strip()
    command = [sys.executable, "-m", "tests.bench.ops_sim", "--master", fleet.url, "--token", token]
    with (fleet.folder / "sim.log").open("wb") as log:
        return subprocess.Popen(
            [*command, "--workers", str(SIMULATED)], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def _fill(fleet: Fleet, nodes: list[str]) -> None:
    for name, versions in VERSIONS.items():
        for version in versions:
            _upload(fleet, name, version)
    fleet.call(
        "PATCH", "/packages/shop-web/2.3.0", {"tags": ["stable"], "note": "In use since May.", "is_pinned": True}
    )
    fleet.call("PATCH", "/packages/search/0.9.0", {"tags": ["canary", "beta"], "note": "", "is_pinned": False})
    system = fleet.post("/systems", {"name": "shop"})
    for name in VERSIONS:
        wanted = {"name": name, "package": name, "version": VERSIONS[name][0]}
        module = fleet.post(f"/systems/{system['id']}/modules", wanted)
        for node in nodes:
            fleet.operation(fleet.post("/instances", {"module_id": module["id"], "node_id": node}))
    until(lambda: fleet.get("/nodes?status=online&limit=1")["total"] > SIMULATED, "simulated nodes online")
    _name_nodes(fleet)
    _watch(fleet)
    _plan(fleet, nodes, system["id"])


def _upload(fleet: Fleet, name: str, version: str) -> None:
    manifest = service_json(name=name, version=version, description=TEXTS[name], health=SOON, env={"RELEASE": version})
    fleet.call("POST", "/packages", make_zip({"run.sh": SERVE}, manifest), media="application/zip")


def _name_nodes(fleet: Fleet) -> None:
    simulated = [node for node in fleet.get("/nodes?limit=500")["items"] if not node["name"].startswith("web-")]
    for number, node in enumerate(simulated, 1):
        labels = {"rack": str(number % RACKS + 1), "zone": "ab"[number % 2]}
        fleet.call("PATCH", f"/nodes/{node['id']}", {"name": f"edge-{number:02}", "labels": labels})


def _watch(fleet: Fleet) -> None:
    condition = {"kind": "node_metric", "series": "mem_percent", "op": ">=", "fire_level": 60}
    rule = {"name": "Memory in rack 1", "condition": condition, "keep_firing_for_s": 600}
    fleet.post("/alert-rules", {**rule, "scope": {"labels": {"rack": "1"}}})
    ends_at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    matchers = {"labels": {"rack": "2"}}
    fleet.post("/silences", {"reason": "Rack 2 moves to the new hall.", "matchers": matchers, "ends_at": ends_at})
    until(lambda: fleet.get("/alerts?state=firing&limit=1")["total"] > 0, "an alert")


def _plan(fleet: Fleet, nodes: list[str], system: str) -> None:
    fleet.operation(fleet.post("/backups", {"note": "before the move to the new hall"}))
    fleet.operation(fleet.post("/backups", {"passphrase": PASSWORD, "artefacts": False}))
    jobs: dict[str, tuple[str, str, dict[str, Any]]] = {
        "nightly backup": ("backup", "30 3 * * *", {"place": "local"}),
        "disk use": ("exec", "0 * * * *", {"command": "df -h /", "node_ids": nodes, "timeout_s": 30}),
        "old versions": ("retention", "0 4 * * 0", {}),
        "weekly restart": ("restart", "0 5 * * 1", {"system_id": system}),
    }
    made = [
        fleet.post(
            "/schedules", {"name": name, "kind": kind, "cron": cron, "timezone": "Asia/Shanghai", "params": params}
        )
        for name, (kind, cron, params) in jobs.items()
    ]
    for schedule in made[:2]:
        fleet.post(f"/schedules/{schedule['id']}/run")
    fleet.post(f"/schedules/{made[3]['id']}/pause")
    with_output = {"node_ids": nodes, "command": "uname -a; df -h / >&2; exit 3"}
    fleet.operation(fleet.post("/exec", with_output))

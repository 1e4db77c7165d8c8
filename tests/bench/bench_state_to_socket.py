"""A state change on the worker (its service is killed) until a browser's socket shows it. Percentiles of 60 kills."""

import asyncio
import json
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench.bench_deploy import SERVER
from tests.bench.measure import emit, percentile
from tests.fakes.fleet import Fleet, free_port, pack

ROUNDS = 60


def package_folder(scratch: Path) -> Path:
    """Return a service that listens at once and comes back at once."""
    folder = scratch / "package"
    folder.mkdir()
    (folder / "serve.py").write_text(SERVER)
    (folder / "serve.py").chmod(0o755)
    service = {
        "name": "phoenix", "version": "1.0.0", "entrypoint": "serve.py", "args": ["${port.tcp}"],
        "ports": {"tcp": free_port()},
        "health": {"type": "tcp", "target": "127.0.0.1:${port.tcp}", "interval": "100ms", "timeout": "1s"},
        "restart": {"policy": "always", "delay": "10ms", "max_delay": "10ms", "max_restarts": 1000, "window": "1h"},
    }  # fmt: skip
    (folder / "service.json").write_text(json.dumps(service))
    return folder


async def next_state(socket: aiohttp.ClientWebSocketResponse, instance_id: str, wanted: bool) -> dict[str, Any]:
    """Return the next change of the instance whose being `running` is `wanted`."""
    async for message in socket:
        frame = json.loads(message.data)
        if frame.get("topic") != "instances" or frame.get("type") != "change":
            continue
        for item in frame["data"]["items"]:
            if item["id"] == instance_id and (item["state"] == "running") is wanted and (not wanted or item["pid"]):
                return dict(item)
    raise AssertionError("the socket closed")


async def kill_and_watch(fleet: Fleet, instance: dict[str, Any]) -> list[float]:
    """Kill the service ROUNDS times; return the seconds until the socket showed each."""
    values = []
    headers = {"Authorization": f"Bearer {fleet.token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(f"{fleet.url}/api/v1/live") as socket,
    ):
        await socket.send_json({"subscribe": ["instances"]})
        await socket.receive()
        pid = instance["pid"]
        for _ in range(ROUNDS):
            async with asyncio.timeout(30):
                started = time.perf_counter()
                os.kill(pid, signal.SIGKILL)
                await next_state(socket, instance["id"], wanted=False)
                values.append(time.perf_counter() - started)
                pid = (await next_state(socket, instance["id"], wanted=True))["pid"]
    return values


def main() -> None:
    """Measure over a real worker and master."""
    with tempfile.TemporaryDirectory() as name, Fleet(Path(name)) as fleet:
        folder = Path(name)
        fleet.start_master()
        node_id = fleet.start_worker()
        package = fleet.upload(pack(package_folder(folder), folder / "p.zip"))
        instance = fleet.deploy(package, node_id)
        values = asyncio.run(kill_and_watch(fleet, instance))
        emit("state change to browser socket, p95", 1000 * percentile(values, 0.95), "ms",
             median=round(1000 * percentile(values, 0.5), 1))  # fmt: skip


if __name__ == "__main__":
    main()

"""A 5 MB package: POST deploy to `running` proven. The probe asks every 100 ms: its own delay is at most that."""

import json
import os
import tempfile
import time
from pathlib import Path

from tests.bench.measure import emit, median
from tests.fakes.fleet import Fleet, free_port, pack

ROUNDS = 7
SERVER = """#!/usr/bin/env python3
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        server.accept()[0].close()
"""


def package_folder(scratch: Path, number: int) -> Path:
    """Return a service of 5 MB that listens at once; each round has other bytes, so nothing is cached."""
    folder = scratch / f"p{number}"
    folder.mkdir()
    (folder / "blob.bin").write_bytes(os.urandom(5_000_000))
    (folder / "serve.py").write_text(SERVER)
    (folder / "serve.py").chmod(0o755)
    service = {
        "name": "five", "version": f"1.0.{number}", "entrypoint": "serve.py", "args": ["${port.tcp}"],
        "ports": {"tcp": free_port()},
        "health": {"type": "tcp", "target": "127.0.0.1:${port.tcp}", "interval": "100ms", "timeout": "1s"},
    }  # fmt: skip
    (folder / "service.json").write_text(json.dumps(service))
    return folder


def deploy_s(fleet: Fleet, node_id: str, archive: Path, number: int) -> float:
    """Deploy once; return the seconds from the POST to `running`."""
    package = fleet.upload(archive)
    system = fleet.post("/systems", {"name": f"five-{number}"})
    wanted = {"name": "five", "package": package["name"], "version": package["version"]}
    module = fleet.post(f"/systems/{system['id']}/modules", wanted)
    started = time.perf_counter()
    answer = fleet.post("/instances", {"module_id": module["id"], "node_id": node_id})
    while fleet.get(f"/instances/{answer['instance']['id']}")["state"] != "running":
        time.sleep(0.01)
    taken_s = time.perf_counter() - started
    fleet.operation(fleet.call("DELETE", f"/instances/{answer['instance']['id']}?stop=1"))
    return taken_s


def main() -> None:
    """Measure ROUNDS deploys of fresh packages."""
    with tempfile.TemporaryDirectory() as name, Fleet(Path(name)) as fleet:
        folder = Path(name)
        fleet.start_master()
        node_id = fleet.start_worker()
        archives = [pack(package_folder(folder, n), folder / f"{n}.zip") for n in range(ROUNDS)]
        values = [deploy_s(fleet, node_id, archive, n) for n, archive in enumerate(archives)]
        emit("deploy of a 5 MB package until running", median(values), "s", worst=round(max(values), 3))


if __name__ == "__main__":
    main()

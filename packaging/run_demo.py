"""`make demo`: what `make run` gives, and things to look at: services, a simulated fleet, a data centre with machines.

Everything lies in one folder of its own (`demo` unless DATA says otherwise) and is made at the first start; a second
one finds it. The person `demo` gets a password of its own, printed and kept in FOLDER/demo-password (0600). Nothing
here is real: nodes and machines are played, the image holds random bytes.
"""

import argparse
import gzip
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import run_local
import run_regional

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = run_local.PROGRAMS
IDC = "dc1"
SYSTEM = "demo"
SERVICES = {"http-service": {"http": 8090}, "noisy-logger": {}}
IMAGE = {"name": "demo-disk", "version": "1.0", "format": "raw.gz", "os_type": "Debian", "os_version": "12"}
IMAGE_BYTES = 32 * 1024 * 1024
PROFILE = "demo"
SIMULATED = "simulated"
RULE = {"name": "Demo machines", "idc": IDC, "max_uses": 2}
CONFLICT = 409
READY_WITHIN_S = 60.0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("demo"))
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--tls-port", type=int, default=8443)
    parser.add_argument("--worker-port", type=int, default=8082)
    parser.add_argument("--regional-port", type=int, default=8081)
    parser.add_argument("--nodes", type=int, default=40, help="simulated nodes")
    parser.add_argument("--machines", type=int, default=6, help="simulated bare machines")
    parser.add_argument("--etcd", default="")
    return parser.parse_args()


class Api:
    """The master's API, as an administrator's token sees it."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = f"{url}/api/v1", token

    def ask(self, method: str, path: str, body: Any = None, media: str = "application/json") -> dict[str, Any]:
        """Send one request. Raises HTTPError."""
        raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": media}
        request = urllib.request.Request(self._url + path, data=raw, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return dict(json.load(answer))

    def make(self, path: str, body: Any, media: str = "application/json") -> dict[str, Any] | None:
        """POST; None where it is there already."""
        try:
            return self.ask("POST", path, body, media)
        except urllib.error.HTTPError as error:
            if error.code == CONFLICT:
                return None
            sys.exit(f"POST {path}: {error.code} {error.read().decode(errors='replace')}")

    def items(self, path: str) -> list[dict[str, Any]]:
        """Return the rows of a list."""
        return list(self.ask("GET", path)["items"])


def master_command(options: argparse.Namespace, *words: str, stdin: str = "") -> str:
    """Run a command of the master on the folder; return what it printed."""
    command = [PROGRAMS / "ops-master", *words, "-data_dir", options.data]
    return subprocess.run(command, input=stdin, text=True, check=True, stdout=subprocess.PIPE).stdout.strip()


def make_person(options: argparse.Namespace) -> str:
    """Return the password of `demo`, making both at the first start."""
    path = options.data / "demo-password"
    if not path.exists():
        password = secrets.token_urlsafe(12)
        master_command(options, "user", "create", "demo", "--role", "admin", "--password-stdin", stdin=password)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(password)
    return str(path.read_text())


def add_services(options: argparse.Namespace, api: Api) -> None:
    """Package the examples, plan them as one system, deploy them on the node of this machine."""
    system = api.make("/systems", {"name": SYSTEM})
    if system is None:
        return
    node = next(one for one in api.items("/nodes?status=online&limit=500") if one["labels"].get("demo") != SIMULATED)
    for name, ports in SERVICES.items():
        package = options.data / f"{name}.zip"
        subprocess.run(
            [PROGRAMS / "pack-tool", "build", ROOT / "examples" / name, "-o", package],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        api.make("/packages", package.read_bytes(), "application/zip")
        wanted = {"name": name, "package": name, "version": "1.0.0", "ports": ports}
        module = api.make(f"/systems/{system['id']}/modules", wanted)
        if module is not None:
            api.make("/instances", {"module_id": module["id"], "node_id": node["id"]})


def add_image(api: Api) -> None:
    """Upload an image of random bytes, a profile that writes it, and a rule that approves the first machines."""
    if any(image["name"] == IMAGE["name"] for image in api.items("/images")):
        return
    query = "&".join(f"{name}={text}" for name, text in IMAGE.items())
    api.make(f"/images?{query}", gzip.compress(secrets.token_bytes(IMAGE_BYTES), 1), "application/octet-stream")
    wanted = {"os_type": "Debian", "os_version": "12", "method": "image", "image": IMAGE["name"]}
    api.make("/profiles", {"name": PROFILE, **wanted})
    api.make("/approval-rules", RULE)


def add_tasks(options: argparse.Namespace, api: Api) -> list[str]:
    """Make a task for each played machine; return those that have not ended."""
    names = [f"demo-{number:03d}" for number in range(1, options.machines + 1)]
    known = {task["sn"]: task["status"] for task in api.items(f"/tasks?idc={IDC}&limit=500")}
    for name in names:
        if name not in known:
            task = {"idc": IDC, "sn": name, "mac": mac_of(name), "profile": PROFILE}
            api.make("/tasks", task | {"os_type": "Debian", "os_version": "12"})
    return [name for name in names if known.get(name) not in {"completed", "needs_operator", "cancelled"}]


def mac_of(name: str) -> str:
    """Return the address of a played machine's card."""
    return f"02:00:5e:00:00:{int(name.rpartition('-')[2]) % 256:02x}"


def start_fleet(options: argparse.Namespace) -> "subprocess.Popen[bytes]":
    """Start the simulated nodes; they join anew at each start."""
    token = master_command(
        options, "join-token", "create", "--uses", str(options.nodes), "--labels", f"demo={SIMULATED}"
    )
    command = [sys.executable, "-m", "tests.bench.ops_sim", "--master", f"http://127.0.0.1:{options.port}"]
    with (options.data / "fleet.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--token", token, "--workers", str(options.nodes)],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0,
        )  # fmt: skip


def start_regional(options: argparse.Namespace) -> "subprocess.Popen[bytes]":
    """Start the regional client of the data centre."""
    asked = argparse.Namespace(
        data=options.data, idc=IDC, port=options.regional_port, master_port=options.port, listen="127.0.0.1", store=""
    )
    with (options.data / "regional.log").open("ab") as log:
        return subprocess.Popen(
            run_regional.command_of(asked), stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
        )


def start_machine(options: argparse.Namespace, name: str) -> "subprocess.Popen[bytes]":
    """Power a played machine on."""
    url = f"http://127.0.0.1:{options.regional_port}"
    command = [PROGRAMS / "ops-agent", "--mode", "simulate", "--regional-url", url, "--sn", name, "--mac", mac_of(name)]
    folder = options.data / "machines" / name
    folder.mkdir(parents=True, exist_ok=True)
    with (options.data / "machines.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--work-dir", folder, "--disk-size", "1GiB"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0,
        )  # fmt: skip


def wait_for(is_so: Callable[[], bool], what: str) -> None:
    """Wait until something is so. Exits when it takes too long."""
    deadline = time.monotonic() + READY_WITHIN_S
    while not is_so():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {READY_WITHIN_S:.0f} s")
        time.sleep(0.2)


def fill(options: argparse.Namespace, programs: "list[subprocess.Popen[bytes]]") -> None:
    """Add everything to look at, and the programs that play it."""
    token = master_command(options, "token", "create", f"demo-{secrets.token_hex(4)}", "--role", "admin", "--ttl", "1h")
    api = Api(f"http://127.0.0.1:{options.port}", token)
    programs.append(start_fleet(options))
    regional = start_regional(options)
    programs.append(regional)
    wait_for(lambda: bool(api.items("/nodes?status=online&limit=1")), "a node is online")
    add_services(options, api)
    add_image(api)
    waiting = add_tasks(options, api)
    api.ask("PATCH", f"/idcs/{IDC}/settings", {"master_url": f"http://127.0.0.1:{options.port}"})
    regional_url = f"http://127.0.0.1:{options.regional_port}"
    run_local.wait_until(bool, regional_url, regional, f"the regional client ({options.data}/regional.log)")
    programs += [start_machine(options, name) for name in waiting]


def main() -> int:
    """Run all of it until a signal comes or master, worker or regional client ends."""
    options = parse_arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, run_local.interrupt)
    programs: list[subprocess.Popen[bytes]] = []
    try:
        programs.append(run_local.start_master(options))
        run_local.wait_until(bool, f"http://127.0.0.1:{options.port}", programs[0], "the master")
        password = make_person(options)
        programs.append(run_local.start_worker(options))
        url = f"http://127.0.0.1:{options.worker_port}"
        run_local.wait_until(run_local.is_linked, url, programs[1], "the worker")
        fill(options, programs)
        print(f"The demo is ready / 演示已就绪: http://127.0.0.1:{options.port}  demo / {password}", flush=True)
        lasting = programs[:2]
        while all(program.poll() is None for program in lasting):
            time.sleep(0.2)
        return next(program.returncode for program in lasting if program.returncode is not None) or 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return 0
    finally:
        for program in reversed(programs):
            run_local.stop(program)
        run_local.list_services(options)


if __name__ == "__main__":
    sys.exit(main())

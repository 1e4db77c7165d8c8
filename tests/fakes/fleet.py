"""A real master and real workers as programs of their own, on free ports, in one folder. For end-to-end tests and benchmarks.

with Fleet(folder) as fleet:
    fleet.start_master()
    fleet.start_worker("w1")
    fleet.get("/nodes")
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fakes.ports import free_port

PROGRAMS = Path(sys.executable).parent
READY_WITHIN_S = 30.0
PASSWORD = "correct horse battery"


class ApiError(Exception):
    """The master's error answer."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


def until(condition: Callable[[], Any], what: str, within_s: float = 60.0) -> Any:
    """Return the first true value of `condition`; fail with `what` when none comes in time."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.03)


class Fleet:
    """The programs of one test and an administrator's API client."""

    def __init__(
        self,
        folder: Path,
        *,
        master: Path | None = None,
        worker: Path | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.tls_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = ""
        self.programs: dict[str, subprocess.Popen[bytes]] = {}
        self._master = master or PROGRAMS / "ops-master"
        self._worker = worker or PROGRAMS / "ops-worker"
        self._settings = settings or {}
        self._worker_ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close; where nothing went wrong before, the audit log of the master must hold."""
        self.close()
        if kind is None and self.token:
            self.master_command("audit", "verify")

    # --- programs --------------------------------------------------------------------------------------------------
    def start_master(self) -> None:
        """Start (or start again) the master and wait for its first good answer."""
        self._spawn("master", [self._master, *self.master_arguments(), "-open_browser", "0"])
        self.wait_ready("master", self.url)
        if not self.token:
            self.token = self.master_command("token", "create", "test", "--role", "admin").strip()

    def master_arguments(self) -> list[str]:
        """Return the flags of this fleet's master."""
        return [
            "-data_dir",
            str(self.data),
            "-port",
            str(self.port),
            "-tls_port",
            str(self.tls_port),
            "-listen",
            "127.0.0.1",
        ]

    def master_command(self, *words: str, stdin: str = "") -> str:
        """Run a command of the master on its data folder; return what it printed."""
        command = [self._master, *words, "-data_dir", str(self.data)]
        return subprocess.run(
            command, input=stdin, text=True, check=True, stdout=subprocess.PIPE, env=self._environment()
        ).stdout

    def start_worker(self, name: str = "w1", *flags: str) -> str:
        """Start a worker, enrolled by a join token when it is new; return its node id once it is online."""
        work_dir = self.folder / name
        port = self._worker_ports.setdefault(name, free_port())
        command = [self._worker, "-master", self.url, "-work_dir", work_dir, "-port", str(port), "-name", name, *flags]
        if not (work_dir / "node.json").exists():
            token = self.folder / f"{name}.token"
            token.write_text(self.master_command("join-token", "create").strip())
            command += ["-token", f"@{token}"]
        self._spawn(name, command)
        self.wait_ready(name, f"http://127.0.0.1:{port}")
        return str(until(lambda: self._online(name), f"worker {name} online")["id"])

    def _online(self, name: str) -> dict[str, Any] | None:
        nodes = self.get("/nodes")["items"]
        return next((node for node in nodes if node["name"] == name and node["status"] == "online"), None)

    def _spawn(self, name: str, command: list[Any]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.programs[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=self._environment()
            )

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("OPS_")}
        return {**kept, **self._settings}

    def wait_ready(self, name: str, url: str) -> None:
        """Wait for the first good answer of `url`/health."""

        def is_ready() -> bool:
            code = self.programs[name].poll()
            if code is not None:
                raise AssertionError(f"{name} ended with {code}:\n{self.log(name)}")
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        until(is_ready, f"{name} answers on {url}/health", READY_WITHIN_S)

    def log(self, name: str) -> str:
        """Return what a program printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self, name: str, number: int = signal.SIGTERM) -> int:
        """Signal one program and return its exit code."""
        program = self.programs.pop(name)
        if program.poll() is None:
            program.send_signal(number)
        try:
            return program.wait(15)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
            raise AssertionError(f"{name} did not stop within 15 s:\n{self.log(name)}") from None

    def close(self) -> None:
        """Stop every service that was deployed and every program that runs."""
        with contextlib.ExitStack() as stack:  # a program that resists leaves no other one behind
            for name in self.programs:
                stack.callback(self.stop, name)
            if "master" in self.programs and self.token:
                self._destroy_instances()

    def _destroy_instances(self) -> None:
        try:
            for instance in self.get("/instances?limit=500")["items"]:
                self.call("DELETE", f"/instances/{instance['id']}?stop=1")
            until(lambda: not self.get("/instances")["items"], "all instances destroyed", 30)
        except (ApiError, OSError, AssertionError):
            kill_marked(self.folder)
            raise

    # --- API -------------------------------------------------------------------------------------------------------
    def call(
        self, method: str, path: str, body: Any = None, *, media: str = "application/json", timeout_s: float = 30
    ) -> Any:
        """Call the API as the administrator; return the decoded answer or raise ApiError."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data=data, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        if data is not None:
            request.add_header("Content-Type", media)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(error.code, json.loads(error.read() or b"{}")) from None

    def get(self, path: str) -> Any:
        """GET."""
        return self.call("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        """POST."""
        return self.call("POST", path, body)

    def upload(self, archive: Path) -> Any:
        """Upload a package."""
        return self.call("POST", "/packages", archive.read_bytes(), media="application/zip", timeout_s=120)

    def operation(self, answer: dict[str, Any], within_s: float = 60) -> dict[str, Any]:
        """Wait for the end of the operation in a 202 answer; return it."""
        path = f"/operations/{answer['operation']['id']}"
        ended = ("succeeded", "failed", "cancelled")
        until(lambda: self.get(path)["state"] in ended, f"operation {path} ends", within_s)
        return dict(self.get(path))

    def deploy(self, package: dict[str, Any], node_id: str, *, name: str = "", **module: Any) -> dict[str, Any]:
        """Create a system and a module for a package and deploy it; return the instance when the operation succeeded."""
        name = name or package["name"]
        system = self.post("/systems", {"name": f"system-{name}"})
        wanted = {"name": name, "package": package["name"], "version": package["version"], **module}
        created = self.post(f"/systems/{system['id']}/modules", wanted)
        answer = self.post("/instances", {"module_id": created["id"], "node_id": node_id})
        operation = self.operation(answer)
        if operation["state"] != "succeeded":
            raise AssertionError(f"deploy of {name} {operation['state']}: {operation}")
        return dict(self.get(f"/instances/{answer['instance']['id']}"))


def pack(folder: Path, archive: Path) -> Path:
    """Build a package by the pack tool."""
    subprocess.run([PROGRAMS / "pack-tool", "build", folder, "-o", archive], check=True, capture_output=True)
    return archive


def kill_marked(folder: Path) -> None:
    """Kill the processes whose working directory lies below `folder`: services a failed test left behind."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = (process / "cwd").resolve().is_relative_to(folder.resolve())
            if inside and int(process.name) != os.getpid() and b"OPS_INSTANCE=" in (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue

"""The examples are packages that do what their README says; here without a worker, straight from the unpacked zip."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from ops_system.model.placeholders import expand
from ops_system.packtool.archive import write_package
from ops_system.packtool.sources import read_folder
from ops_system.runtime.archives import hash_file, install_archive

EXAMPLES = sorted(path.parent for path in (Path(__file__).parents[2] / "examples").glob("*/service.json"))
DEADLINE_S = 20.0


def eventually(check):
    """Ask until the answer is true; the wait between two questions is the poll's, not the service's."""
    end_s = time.monotonic() + DEADLINE_S
    while not (found := check()):
        assert time.monotonic() < end_s, "not in time"
        time.sleep(0.02)
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def marked(marker):
    """Every living process that carries the marker in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("OPS_INSTANCE") == marker and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


class Running:
    def __init__(self, folder, marker, process, port, out):
        self.folder, self.marker, self.process, self.port, self.out = folder, marker, process, port, out

    def output(self):
        return self.out.read_bytes()


@pytest.fixture
def start(tmp_path):
    started = []

    def run(name):
        source = next(path for path in EXAMPLES if path.name == name)
        built = write_package(read_folder(source), tmp_path / "a.zip", lambda _: None)
        folder = install_archive(built.path, hash_file(built.path), tmp_path / name)
        port, marker = free_port(), f"ins_{name}_{os.getpid()}"
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OPS_INSTANCE": marker, **built.manifest.env}
        values = {f"port.{key}": str(port) for key in built.manifest.ports}
        values |= {"node.name": "here"} | {f"env.{key}": text for key, text in built.manifest.env.items()}
        argv = [folder / built.manifest.entrypoint, *(expand(text, values) for text in built.manifest.args)]
        out = tmp_path / "out"
        with out.open("wb") as file:
            process = subprocess.Popen(argv, cwd=folder, env=env, stdout=file, stderr=file, start_new_session=True)
        started.append(Running(folder, marker, process, port, out))
        return started[-1]

    yield run
    for running in started:
        for process in marked(running.marker):
            process.kill()
        running.process.wait(30)
        eventually(lambda marker=running.marker: not marked(marker))


def test_there_are_three():
    assert [path.name for path in EXAMPLES] == ["http-service", "noisy-logger", "stubborn-forker"]


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def test_http_service_answers_and_ends_politely(start):
    running = start("http-service")
    assert "ok" in eventually(lambda: get(running.port, "/health"))
    assert get(running.port, "/") == "Hello from here\n"
    assert running.marker in get(running.port, "/env")
    assert "GET /health" in (running.folder / "logs" / "access.log").read_text()
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(30) == 0


def test_noisy_logger_is_noisy(start):
    running = start("noisy-logger")
    eventually(lambda: running.output().count(b"\n") > 1500)
    assert b"<script>" in running.output()
    assert (running.folder / "logs" / "burst.log").exists()
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(30) == 0


def test_stubborn_forker_needs_the_whole_tree_killed(start):
    running = start("stubborn-forker")
    eventually(lambda: running.output().count(b": pid ") == 6)
    for process in marked(running.marker):
        process.terminate()
    running.process.kill()
    running.process.wait(30)
    left = marked(running.marker)
    assert len(left) == 5
    assert len({os.getsid(process.pid) for process in left}) == 2
    with socket.create_connection(("127.0.0.1", running.port), timeout=5):
        pass

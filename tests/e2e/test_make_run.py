"""The README's first command, as a new user: a fresh clone, a fresh virtual environment, an empty data folder."""

import contextlib
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.fleet import Fleet, free_port, kill_marked, pack, until

ROOT = Path(__file__).resolve().parents[2]
PORTS = {"PORT": free_port(), "TLS_PORT": free_port(), "WORKER_PORT": free_port()}


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("fresh") / "ops-system"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, folder], check=True)
    yield folder
    kill_marked(folder)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def environment() -> dict[str, str]:
    dropped = ("OPS_", "VIRTUAL_ENV", "MAKE", "MFLAGS", "PYTEST", "DISPLAY")
    return {key: value for key, value in os.environ.items() if not key.startswith(dropped)}


@contextlib.contextmanager
def running(clone: Path, within_s: float) -> Iterator[Path]:
    """Run `make run` until the node is online, then press Ctrl-C on leaving; yield the file with what it printed."""
    words = [f"{key}={port}" for key, port in PORTS.items()]
    output = clone.parent / "run.log"
    with output.open("wb") as log:
        program = subprocess.Popen(
            ["sh", "-c", 'trap "" INT; exec "$@"', "sh", "make", "run", *words],  # as a job of a script: SIGINT ignored
            cwd=clone,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def is_up() -> bool:
        assert program.poll() is None, output.read_text()
        return "node is online" in output.read_text()

    try:
        until(is_up, "the node is online", within_s)
        yield output
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGINT)
        program.wait(30)


def deploy_example(clone: Path) -> tuple[dict, int]:
    """Deploy the HTTP example through the API of the running master; return the instance and its port."""
    fleet = Fleet(clone.parent)
    fleet.url = f"http://127.0.0.1:{PORTS['PORT']}"
    command = [
        clone / ".venv/bin/ops-master",
        "token",
        "create",
        "test",
        "--role",
        "admin",
        "-data_dir",
        clone / "data",
    ]
    fleet.token = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    port = free_port()
    package = fleet.upload(pack(clone / "examples/http-service", clone.parent / "http.zip"))
    return fleet.deploy(package, fleet.get("/nodes")["items"][0]["id"], ports={"http": port}), port


@pytest.mark.timeout(600)
def test_make_run_gives_a_console_with_one_node_starts_again_and_leaves_services_to_make_stop(clone):
    with running(clone, 420) as output:
        text = output.read_text()
        code = (clone / "data/setup-code").read_text().strip()
        assert f"http://127.0.0.1:{PORTS['PORT']}" in text
        assert f"#code={code}" in text
    assert not answers(f"http://127.0.0.1:{PORTS['PORT']}/health")
    left = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True
    ).stdout
    assert left == ""

    with running(clone, 30) as output:
        instance, port = deploy_example(clone)
    assert instance["id"] in output.read_text()  # Ctrl-C lists what goes on
    assert not answers(f"http://127.0.0.1:{PORTS['PORT']}/health")
    assert answers(f"http://127.0.0.1:{port}/health")

    stopped = subprocess.run(["make", "stop"], cwd=clone, env=environment(), capture_output=True, text=True)
    assert stopped.returncode == 0, stopped.stderr
    assert "http-service" in stopped.stdout
    assert not answers(f"http://127.0.0.1:{port}/health")
    assert not Path(f"/proc/{instance['pid']}").exists()

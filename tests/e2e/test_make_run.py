"""The README's first command, as a new user: a fresh clone, a fresh virtual environment, an empty data folder."""

import contextlib
import os
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.fakes.fleet import free_port, until

ROOT = Path(__file__).resolve().parents[2]
PORTS = {"PORT": free_port(), "TLS_PORT": free_port(), "WORKER_PORT": free_port()}


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fresh") / "ops-system"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, folder], check=True)
    return folder


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def environment() -> dict[str, str]:
    dropped = ("OPS_", "VIRTUAL_ENV", "MAKE", "MFLAGS", "PYTEST", "DISPLAY")
    return {key: value for key, value in os.environ.items() if not key.startswith(dropped)}


def run_until_online(clone: Path, within_s: float) -> str:
    """Run `make run` until the worker is up, press Ctrl-C; return what it printed."""
    words = [f"{key}={port}" for key, port in PORTS.items()]
    output = clone.parent / "run.log"
    with output.open("wb") as log:
        program = subprocess.Popen(
            ["make", "run", *words],
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
        until(lambda: "#code=" in output.read_text(), "the set-up address is printed", 5)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGINT)
        program.wait(20)
    return output.read_text()


@pytest.mark.timeout(600)
def test_make_run_gives_a_console_with_one_node_and_starts_again(clone):
    text = run_until_online(clone, 420)
    code = (clone / "data/setup-code").read_text().strip()
    assert f"http://127.0.0.1:{PORTS['PORT']}" in text
    assert code in text
    assert not answers(f"http://127.0.0.1:{PORTS['PORT']}/health")
    assert (clone / "data/worker/node.json").is_file()
    left = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True
    ).stdout
    assert left == ""
    run_until_online(clone, 30)

"""A signal switches played machines off at once, and leaves nothing of them behind."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.fakes.fleet import PROGRAMS
from tests.fakes.ports import free_port

GUARD_S = 30


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_played_machines_and_their_folder(tmp_path: Path, number: signal.Signals) -> None:
    command = [PROGRAMS / "ops-agent", "--mode", "simulate", "--count", "3"]
    agent = subprocess.Popen(
        [*command, "--regional-url", f"http://127.0.0.1:{free_port()}"],
        env={**os.environ, "TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert agent.stderr is not None
        assert "is not answered" in agent.stderr.readline()
        assert list(tmp_path.iterdir())
        agent.send_signal(number)
        told = agent.communicate(timeout=GUARD_S)[1]
    finally:
        agent.kill()
        agent.wait()
    assert told.splitlines()[-1] == f"install-agent: stopped by {number.name}"
    assert agent.returncode == 1
    assert not list(tmp_path.iterdir())

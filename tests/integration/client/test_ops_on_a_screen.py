"""`ops` on a real pseudo terminal: a shell of a node, left and rejoined; completion in a real bash."""

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ptyprocess
import pytest

from tests.fakes.opscli import Ops
from tests.integration.client.test_ops_on_master import fleet

PROGRAM = [sys.executable, "-m", "ops_system.client.main"]
ROOT = Path(__file__).parents[3]
WITHIN_S = 30.0


class Screen:
    """One `ops` on a pseudo terminal; what it shows is read in a thread."""

    def __init__(self, ops: Ops, *argv: str) -> None:
        environ = {"PATH": os.environ["PATH"], "TERM": "xterm", "PYTHONPATH": str(ROOT), **ops.environ}
        self._process = ptyprocess.PtyProcess.spawn([*PROGRAM, *argv], env=environ, dimensions=(24, 80))
        self.shown = ""

    async def until(self, pattern: str) -> re.Match[str]:
        async with asyncio.timeout(WITHIN_S):
            while not (found := re.search(pattern, self.shown)):
                self.shown += (await asyncio.to_thread(self._process.read, 65536)).decode(errors="replace")
        self.shown = self.shown[found.end() :]
        return found

    def type(self, text: str) -> None:
        self._process.write(text.encode())

    def resize(self, rows: int, cols: int) -> None:
        self._process.setwinsize(rows, cols)

    async def end(self) -> int:
        async def drain() -> None:
            with contextlib.suppress(EOFError):
                while True:
                    self.shown += (await asyncio.to_thread(self._process.read, 65536)).decode(errors="replace")

        async with asyncio.timeout(WITHIN_S):
            await drain()
        return await asyncio.to_thread(self._process.wait)

    def close(self) -> None:
        self._process.close(force=True)


async def test_a_terminal_is_left_and_rejoined(tmp_path):
    async with fleet(tmp_path, "n1") as (_, ops):
        screen = Screen(ops, "terminal", "n1", "--name", "mine")
        try:
            session = (await screen.until(r"session (\S+);"))[1]
            screen.type("PS1='> '; stty size; echo $((6*7))\r")
            await screen.until(r"24 80\s+42")
            screen.resize(40, 120)
            screen.type("sleep 0.2; stty size\r")
            await screen.until(r"40 120")
            screen.type("\x1d")
            assert await screen.end() == 0
            assert f"--session {session}" in screen.shown
        finally:
            screen.close()
        listed = (await ops("terminals", "list", "n1", "-o", "json")).json()["items"]
        assert [(one["id"], one["name"], one["viewers"]) for one in listed] == [(session, "mine", 0)]
        again = Screen(ops, "terminal", "n1", "--session", session)
        try:
            await again.until(r"42")
            again.type("exit 3\r")
            assert await again.end() == 1
            assert "ended (3)" in again.shown
        finally:
            again.close()


async def test_what_cannot_be_opened_is_told(tmp_path):
    async with fleet(tmp_path) as (_, ops):
        piped = await ops("terminal", "n1")
        assert (piped.code, "a terminal is needed" in piped.err) == (2, True)
        assert (await ops("nodes", "plan", "later")).code == 0
        screen = Screen(ops, "terminal", "later")
        try:
            assert await screen.end() == 1
            assert "no worker has joined" in screen.shown or "node_offline" in screen.shown, screen.shown
        finally:
            screen.close()


async def test_a_destructive_act_asks_first(tmp_path):
    async with fleet(tmp_path) as (_, ops):
        assert (await ops("systems", "create", "shop")).code == 0
        no = Screen(ops, "systems", "delete", "shop")
        try:
            await no.until(r"Go on\? \[y/N\] ")
            no.type("\r")
            assert await no.end() == 1
        finally:
            no.close()
        assert (await ops("systems", "list")).out.count("shop") == 1
        yes = Screen(ops, "systems", "delete", "shop")
        try:
            await yes.until(r"Go on\? \[y/N\] ")
            yes.type("y\r")
            assert await yes.end() == 0
        finally:
            yes.close()
        assert (await ops("systems", "list")).out == ""


COMPLETE = r"""
ops() { "$PYTHON" -m ops_system.client.main "$@"; }
eval "$(ops completion bash)"
ask() {
    COMP_LINE="$1" COMP_POINT=${#1}
    read -ra COMP_WORDS <<<"$1"
    case "$1" in *' ') COMP_WORDS+=("") ;; esac
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _ops_complete
    printf '%s|' "${COMPREPLY[@]}"
    echo
}
ask 'ops nod'
ask 'ops systems sh'
ask 'ops systems show '
ask 'ops nodes list --stat'
ask 'ops nodes -o '
"""


async def test_bash_completes_words_flags_and_names(tmp_path):
    bash = shutil.which("bash")
    async with fleet(tmp_path) as (_, ops):
        assert (await ops("systems", "create", "shop")).code == 0
        environ = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), **ops.environ}
        done = await asyncio.to_thread(
            subprocess.run, [bash, "-c", COMPLETE], env=environ, capture_output=True, text=True, timeout=60
        )
        assert done.stderr == ""
        assert done.stdout.splitlines() == ["nodes|", "show|", "shop|", "--status|", "table|json|yaml|"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_understand_their_script(tmp_path, shell):
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(Ops(tmp_path).call("completion", shell).out)
    assert subprocess.run([program, "-n", script], capture_output=True, timeout=30).returncode == 0

"""The peers of `bench_supervision`, each with its daemon up, its services known, and nothing started before the clock.

They are asked in the cheapest way they have: s6 and runit by their control pipes, Supervisor by one XML-RPC call,
circus and PM2 by their own clients.
"""

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path
from typing import Protocol

from tests.bench.bench_start200 import cache_dir, install_pm2, wait_for_api

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
BOOT_S = 60.0
INSTALL_S = 600.0
END_S = 30.0
CLIENT_S = 120.0


class Peer(Protocol):
    """Raises OSError or SubprocessError when it cannot be had here. Waits for nothing without a limit."""

    def boot(self, root: Path, program: str, count: int) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...
    def pid(self) -> int: ...


class Ours:
    """See `supervised_node`."""

    def boot(self, root: Path, program: str, count: int) -> None:
        script = Path(__file__).with_name("supervised_node.py")
        self.argv = [sys.executable, str(script), str(root), str(count), program]
        self.run()

    def run(self) -> None:
        """Start the program, again where it was killed, and wait until it is up."""
        self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._hear()

    def _hear(self) -> None:
        """Wait for its next line."""
        if not select.select([self.process.stdout], [], [], CLIENT_S)[0] or not self.process.stdout.readline():
            raise TimeoutError("the supervised node says nothing")

    def _say(self, word: str) -> None:
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def start(self) -> None:
        self._say("start")

    def stop(self) -> None:
        self._say("stop")

    def wait_for_pids(self) -> None:
        """Return when every instance has a pid in its picture."""
        self._say("wait")
        self._hear()

    def pid(self) -> int:
        return self.process.pid

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        end(self.process)
        self.process.stdout.close()


class _Directories:
    """s6 and runit: a folder per service, `down` so that nothing starts by itself, one control pipe each."""

    program: str
    marker: str

    def boot(self, root: Path, program: str, count: int) -> None:
        daemon = shutil.which(self.program)
        if daemon is None:
            raise FileNotFoundError(f"{self.program} is not installed")
        self.folders = [root / f"s{number}" for number in range(count)]
        for folder in self.folders:
            folder.mkdir()
            (folder / "run").symlink_to(program)
            (folder / "down").touch()
        self.process = subprocess.Popen(self._argv(daemon, root), **QUIET)
        wait_until(lambda: all((folder / self.marker).exists() for folder in self.folders))
        time.sleep(1)  # the pipes are there a moment before they are read

    def _argv(self, daemon: str, root: Path) -> list[str]:
        raise NotImplementedError

    def _say(self, word: bytes) -> None:
        for folder in self.folders:
            fd = os.open(folder / "supervise" / "control", os.O_WRONLY | os.O_NONBLOCK)
            os.write(fd, word)
            os.close(fd)

    def start(self) -> None:
        self._say(b"u")

    def stop(self) -> None:
        self._say(b"d")

    def pid(self) -> int:
        return self.process.pid


class S6(_Directories):
    """s6-svscan and one s6-supervise a service."""

    program, marker = "s6-svscan", "supervise/control"

    def _argv(self, daemon: str, root: Path) -> list[str]:
        return [daemon, "-c", "1000", str(root)]

    def close(self) -> None:
        self.process.terminate()
        end(self.process)


class Runit(_Directories):
    """runsvdir and one runsv a service."""

    program, marker = "runsvdir", "supervise/ok"

    def _argv(self, daemon: str, root: Path) -> list[str]:
        return [daemon, str(root)]

    def close(self) -> None:
        self.process.send_signal(1)  # SIGHUP: end the runsvs too
        end(self.process)
        with contextlib.suppress(OSError):
            self._say(b"x")


class Supervisor:
    """supervisord, Debian's package; without waiting for startsecs."""

    _asker: threading.Thread | None = None

    def boot(self, root: Path, program: str, count: int) -> None:
        daemon = shutil.which("supervisord")
        if daemon is None:
            raise FileNotFoundError("supervisord is not installed")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        config = root / "supervisord.conf"
        config.write_text(
            f"[supervisord]\nnodaemon=true\nlogfile={root}/log\npidfile={root}/pid\nchildlogdir={root}\nminfds=4096\n"
            f"[inet_http_server]\nport=127.0.0.1:{port}\n[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[program:s]\ncommand={program}\nnumprocs={count}\nprocess_name=%(process_num)d\nautostart=false\n"
            "autorestart=true\nstartsecs=0\n"
        )
        self.process = subprocess.Popen([daemon, "-c", str(config)], **QUIET)
        self._api = wait_for_api(f"http://127.0.0.1:{port}/RPC2")

    def start(self) -> None:
        self._ask(self._api.supervisor.startAllProcesses)

    def stop(self) -> None:
        self._ask(self._api.supervisor.stopAllProcesses)

    def _ask(self, call: object) -> None:
        self._asker = threading.Thread(target=call, args=(False,), daemon=True)  # a call has no limit of its own
        self._asker.start()

    def pid(self) -> int:
        return self.process.pid

    def close(self) -> None:
        if self._asker is not None:
            self._asker.join(END_S)
        self.process.terminate()
        end(self.process)


class Circus:
    """circusd in a virtual environment of its own; one watcher with `count` processes."""

    def boot(self, root: Path, program: str, count: int) -> None:
        self._bin = install_circus()
        ports = [free_port() for _ in range(3)]
        names = ("endpoint", "pubsub_endpoint", "stats_endpoint")
        head = "".join(f"{name} = tcp://127.0.0.1:{port}\n" for name, port in zip(names, ports, strict=True))
        watcher = f"[watcher:s]\ncmd = {program}\nnumprocesses = {count}\nautostart = False\n"
        config = root / "circus.ini"
        config.write_text(f"[circus]\n{head}\n{watcher}")
        self.process = subprocess.Popen([self._bin / "circusd", str(config)], **QUIET)
        self._ctl = [str(self._bin / "circusctl"), "--endpoint", f"tcp://127.0.0.1:{ports[0]}", "--timeout", "60"]
        wait_until(lambda: self._ask("numwatchers").wait(CLIENT_S) == 0)

    def _ask(self, *words: str) -> "subprocess.Popen[bytes]":
        self._client = subprocess.Popen([*self._ctl, *words], **QUIET)
        return self._client

    def start(self) -> None:
        self._ask("start", "s")

    def stop(self) -> None:
        end(self._client, CLIENT_S)
        self._ask("stop", "s")

    def pid(self) -> int:
        return self.process.pid

    def close(self) -> None:
        end(self._client)
        self.process.terminate()
        end(self.process)


class Pm2:
    """PM2's daemon; its client is the only way to ask it."""

    def boot(self, root: Path, program: str, count: int) -> None:
        self._argv = install_pm2()
        self._env = {**os.environ, "PM2_HOME": str(root / "pm2")}
        apps = [{"name": f"s{n}", "script": program, "interpreter": "none"} for n in range(count)]
        self._ecosystem = root / "ecosystem.config.json"
        self._ecosystem.write_text(json.dumps({"apps": apps}))
        self._run("ping").wait(CLIENT_S)
        self._pid = int((root / "pm2" / "pm2.pid").read_text())

    def _run(self, *words: str) -> "subprocess.Popen[bytes]":
        self._client = subprocess.Popen([*self._argv, *words], env=self._env, **QUIET)
        return self._client

    def start(self) -> None:
        self._run("start", str(self._ecosystem))

    def stop(self) -> None:
        end(self._client, CLIENT_S)
        self._run("stop", "all")

    def pid(self) -> int:
        return self._pid

    def close(self) -> None:
        end(self._client)
        end(self._run("kill"))


PEERS: dict[str, type[Peer]] = {
    "ops": Ours,
    "s6": S6,
    "runit": Runit,
    "supervisor": Supervisor,
    "circus": Circus,
    "pm2": Pm2,
}


def install_circus() -> Path:
    """Return the folder with circus's programs."""
    home = cache_dir() / "circus"
    if not (home / "bin" / "circusd").exists():
        venv.create(home, with_pip=True)
        argv = [home / "bin" / "python", "-m", "pip", "install", "-q", "circus==0.19.0", "setuptools<81"]
        subprocess.run(argv, check=True, timeout=INSTALL_S)
    return home / "bin"


def end(process: "subprocess.Popen[bytes] | subprocess.Popen[str]", within_s: float = END_S) -> None:
    """Wait for what was told to end; kill it when it does not."""
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        print(f"{process.args} did not end within {within_s:g} s and is killed", file=sys.stderr)
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until(condition: object) -> None:
    """Look every 20 ms."""
    deadline = time.monotonic() + BOOT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it does not come up")
        time.sleep(0.02)

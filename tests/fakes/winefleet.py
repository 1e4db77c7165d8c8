"""A Linux master whose workers run under Wine: from source by Windows' Python, or frozen."""

import contextlib
import os
import subprocess
import textwrap
import threading
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.fakes.fleet import Fleet

SERVICE = """
import os, time
print("serving as", os.getpid(), flush=True)
while True:
    with open("alive", "w") as file:
        file.write(str(os.getpid()))
    time.sleep(0.1)
"""


class WineFleet(Fleet):
    """See `Fleet`. A worker's output goes through `cat`: on a file Wine's console output is lost."""

    def __init__(self, lane: ModuleType, folder: Path, worker: list[str] | None = None, **options: Any) -> None:
        super().__init__(folder, **options)
        self._lane = lane
        self._worker_argv = worker or lane.python_argv("-m", "ops_system.worker.main")
        self._cats: list[subprocess.Popen[bytes]] = []

    def _spawn(self, name: str, command: list[Any]) -> None:
        if name == "master":
            super()._spawn(name, command)
            return
        environment = self._lane.make_environment({"OPS_WORKER_LOG_LEVEL": "info"})
        program = subprocess.Popen(
            [*self._worker_argv, *map(str, command[1:])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=environment,
        )
        with (self.folder / f"{name}.log").open("ab") as log:
            self._cats.append(subprocess.Popen(["cat"], stdin=program.stdout, stdout=log))
        assert program.stdout is not None
        program.stdout.close()
        self.programs[name] = program

    def windows(self, *argv: str) -> str:
        """Run one of Windows' own programs; return what it said."""
        return run_wine(self._lane, *argv)[1]

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._lane.end_server()
            for cat in self._cats:
                cat.wait(10)

    def crash(self, name: str) -> None:
        """End a worker as a power cut would, without a word; what it started stays."""
        program = self.programs.pop(name)
        os.kill(program.pid, 9)
        program.wait(15)


def run_wine(lane: ModuleType, *argv: object, timeout_s: float = 120) -> tuple[int, str]:
    """Run a program under Wine; return its exit code and what it said. What it leaves running may hold the pipe open."""
    said: list[bytes] = []
    with subprocess.Popen(
        ["wine", *map(str, argv)],
        env=lane.make_environment({}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as program:
        assert program.stdout is not None
        output = program.stdout.fileno()

        def read() -> None:
            with contextlib.suppress(OSError):
                while data := os.read(output, 65536):
                    said.append(data)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            code = program.wait(timeout_s)
        except subprocess.TimeoutExpired:
            program.kill()
            raise
        reader.join(2)
    return code, b"".join(said).decode(errors="replace")


def windows_package(lane: ModuleType, archive: Path, version: str = "1.0.0") -> Path:
    """Build a package for Windows: a batch file that starts Python."""
    manifest = """
        {"schema": 1, "name": "win-service", "version": "VERSION", "os": "windows", "arch": "amd64",
         "entrypoint": "run.cmd", "args": ["--mode", "release"], "stop": {"timeout": "1s"},
         "restart": {"policy": "on-failure", "delay": "100ms"}, "log_paths": {"Alive": "alive"}}
    """
    batch = f'@echo started with %*\r\n@"{lane.as_windows(lane.PYTHON)}" -I service.py\r\n@exit /b %ERRORLEVEL%\r\n'
    with zipfile.ZipFile(archive, "w") as package:
        package.writestr("service.json", textwrap.dedent(manifest).replace("VERSION", version))
        package.writestr("run.cmd", batch)
        package.writestr("service.py", SERVICE)
    return archive

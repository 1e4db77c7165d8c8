"""Rescue: nothing is installed. A shell on the machine's own console, and a web terminal in the product's console.

The web terminal is the one every node has: where an enrolment was sealed for this boot, the worker is started from RAM
with it, and the machine stands among the nodes until it restarts.
"""

import contextlib
import hashlib
import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from ops_system.installer.boxes import BootKey
from ops_system.installer.download import Download
from ops_system.installer.guard import Halt
from ops_system.installer.region import Region
from ops_system.installer.system import unpack_worker
from ops_system.installer.works import open_enrolment
from ops_system.model.errors import OpsError
from ops_system.model.system_files import WORKER_CONFIG, WORKER_DATA, worker_files
from ops_system.protocol.agent import DeviceCall, Done, InstallConfig, NextOperation, ProgressCall
from ops_system.service.surroundings import clean_environment

_log = logging.getLogger(__name__)


class Rescue:
    """One rescue; it ends when the region wants something else."""

    def __init__(self, region: Region, sn: str, key: BootKey, scratch: Path) -> None:
        self._region, self._sn, self._key, self._folder = region, sn, key, scratch / "rescue"
        self._shell: subprocess.Popen[bytes] | None = None

    def run(self, order: NextOperation, ask: Callable[[], NextOperation | None]) -> None:
        """Keep shell and worker running while the region says so."""
        worker = self._start_worker()
        said = "a shell on the console" + (", a web terminal at its node" if worker else "")
        try:
            answer: NextOperation | None = order
            while answer is None or answer.operation == "rescue":
                self._keep_shell()
                self._tell(answer or order, said)
                answer = ask()
        finally:
            for process in (self._shell, worker):
                if process is not None:
                    process.terminate()
                    process.wait()

    def _tell(self, order: NextOperation, said: str) -> None:
        """Say that the machine is there: a task without any sign is taken for stuck."""
        data = order.data
        call = ProgressCall(self._sn, data.task_id, "rescue", 0.0, said, fence=data.fence)
        try:
            self._region.call("/api/v1/progress", call, Done)
        except OpsError as problem:
            _log.info("rescue: %s", problem.message)

    def _keep_shell(self) -> None:
        if self._shell is None or self._shell.poll() is not None:
            with contextlib.suppress(OSError):
                self._shell = subprocess.Popen(("sh", "-i"), env=clean_environment(os.environ))

    def _start_worker(self) -> subprocess.Popen[bytes] | None:
        """Start the worker out of RAM; None, and a word in the log, where that cannot be."""
        try:
            config = self._region.call("/api/v1/device/getOSInstallConfig", DeviceCall(self._sn), InstallConfig)
            return self._enrolled_worker(config)
        except (OpsError, Halt, OSError) as problem:
            _log.warning("rescue without a web terminal: %s", problem)
            return None

    def _enrolled_worker(self, config: InstallConfig) -> subprocess.Popen[bytes]:
        enrolment = open_enrolment(config, self._key)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        archive, digest = self._folder / "worker.tar.gz", hashlib.sha256()
        with archive.open("wb") as file:
            for piece in Download(self._region, config.worker_url, check=lambda: None).pieces():
                digest.update(piece)
                file.write(piece)
        if digest.hexdigest() != config.worker_sha256:
            raise Halt("checksum_mismatch", "the worker's files are not those that were promised")
        unpack_worker(archive, self._folder)
        archive.unlink()
        named = replace(enrolment, node_name=f"rescue-{enrolment.node_name or self._sn}")
        files = worker_files(named.master_url, named.node_name, named.labels, allow_plain_http=named.allow_plain_http)
        token, settings = self._folder / "token", self._folder / "worker.yaml"
        token.touch(mode=0o600)
        token.write_text(f"{named.join_token}\n", encoding="utf-8")
        text = files[0].text.replace(WORKER_CONFIG, str(self._folder)).replace(WORKER_DATA, str(self._folder / "data"))
        settings.write_text(text, encoding="utf-8")
        return subprocess.Popen(
            (str(self._folder / "worker"), "-config", str(settings)), env=clean_environment(os.environ)
        )

"""A data centre of played machines: a real master, real regional clients behind one address, real `ops-agent` processes.

with PlayedSite(folder) as site:
    site.start()
    machine = site.order("SN-1")
    machine.power_on(); machine.wait("pending_approval"); machine.approve()
Each agent runs under strace(1), which counts every write to its disk, whatever the agent itself says of it.
"""

import json
import random
import re
import shutil
import signal
import subprocess
import tarfile
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.fakes.fleet import PROGRAMS, ApiError, Fleet, until
from tests.fakes.ports import free_port
from tests.fakes.vip import Vip

IDC = "dc1"
MIB = 1024 * 1024
CONTENT = random.Random(11).randbytes(24 * MIB + 4096)
LEAD_TTL_S = 2
SLOW = 4 * MIB  # bytes a second: an image takes about 6 s, and its first byte is written after 2 s
_TRACE = (
    "--seccomp-bpf",
    "-D",
    "-f",
    "-qq",
    "-y",
    "-s",
    "0",
    "-e",
    "trace=write,pwrite64,pwritev",
    "-e",
    "signal=none",
)
_CALL = re.compile(r"^(\d+) +(write|pwrite64|pwritev)\(\d+<(.*?)>, .*?(?:, (\d+))?(?:, (\d+))?(?:\) += (-?\d+)| <unf)")


def why_not() -> str:
    """Return why writes cannot be counted here, empty when they can."""
    missing = [name for name in ("strace", "wipefs") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    probe = subprocess.run(["strace", "--seccomp-bpf", "-f", "-qq", "-o", "/dev/null", "true"], capture_output=True)
    return "strace may not look at programs here" if probe.returncode else ""


class Write(NamedTuple):
    """One write to a disk."""

    offset: int
    size: int


class PlayedMachine:
    """A machine of a folder. It may be switched on with another disk, and another may claim to be it."""

    def __init__(self, site: "PlayedSite", sn: str, folder: Path, mac: str = "") -> None:
        self._site, self.sn, self.folder, self._mac = site, sn, folder, mac
        self.disk = folder / sn / "sda.disk"
        self.disk_id = f"{sn}-sda"
        self.boots = 0
        folder.mkdir(parents=True)

    @property
    def program(self) -> str:
        """The name of its agent among the programs of the site."""
        return f"agent-{self.folder.name}"

    def power_on(self, disk_size: str = "64MiB") -> None:
        """Start its agent."""
        self.boots += 1
        words = ["--regional-url", self._site.agent_url, "--mode", "simulate", "--sn", self.sn]
        words += ["--work-dir", str(self.folder), "--disk-size", disk_size]
        words += ["--mac", self._mac] if self._mac else []
        trace = ("strace", *_TRACE, "-o", self._trace(self.boots))
        self._site.run(self.program, [*trace, PROGRAMS / "ops-agent", *words])

    def cut_power(self) -> None:
        """End its agent without a word."""
        self._site.stop(self.program, signal.SIGKILL)

    def has_restarted(self) -> bool:
        """Whether its agent ended by itself, as before a restart."""
        return self._site.programs[self.program].poll() == 0

    # --- what was written ---------------------------------------------------------------------------------------------
    def writes(self, boot: int = 0) -> list[Write]:
        """Return the writes to its disk, of one boot or of all."""
        boots = [boot] if boot else range(1, self.boots + 1)
        return [write for each in boots for write in _writes_in(self._trace(each), self.disk)]

    def check_written_once(self) -> None:
        """Fail unless its disk holds the image, and each byte of that was written exactly once."""
        end = 0
        for write in sorted(self.writes()):
            assert write.offset == end, f"{self.sn}: {write} follows byte {end}"
            end += write.size
        assert end == len(CONTENT)
        with self.disk.open("rb") as disk:
            assert disk.read(len(CONTENT)) == CONTENT
            assert not any(disk.read())

    def check_never_written(self) -> None:
        """Fail unless its disk is as it came."""
        assert self.writes() == []
        assert self.disk.stat().st_blocks == 0

    def _trace(self, boot: int) -> Path:
        return self.folder / f"{boot}.trace"

    # --- its task -----------------------------------------------------------------------------------------------------
    def task(self) -> dict[str, Any]:
        """Return its task."""
        return dict(self._site.get(f"/tasks/{IDC}/{self.sn}"))

    def log(self) -> list[str]:
        """Return every line of its log."""
        return list(self._site.get(f"/tasks/{IDC}/{self.sn}/log")["lines"])

    def machine(self) -> dict[str, Any]:
        """Return what is known of it."""
        return dict(self._site.get(f"/machines/{IDC}/{self.sn}"))

    def approve(self, *disks: str, **body: Any) -> dict[str, Any]:
        """Approve what it reported."""
        body.setdefault("inventory_hash", self.machine()["inventory_hash"])
        return dict(self._site.post(f"/tasks/{IDC}/{self.sn}/approve", {"disks": disks or [self.disk_id], **body}))

    def wait(self, *statuses: str, within_s: float = 60.0) -> dict[str, Any]:
        """Return its task as soon as it has one of `statuses`."""
        last: dict[str, Any] = {}

        def is_so() -> bool:
            with suppress(OSError, ApiError):  # nobody answers while a master or its store is away
                last.update(self.task())
            return last.get("status") in statuses

        try:
            until(is_so, f"{self.sn} is {statuses}", within_s)
        except AssertionError as late:
            seen = {key: last.get(key) for key in ("status", "reason", "progress", "intents")}
            told = [self._site.log(name)[-2000:] for name in (self.program, *self._site.regions)]
            raise AssertionError("\n".join([str(late), json.dumps(seen, indent=1), *told])) from None
        return last

    def wait_writing(self) -> None:
        """Return when the first of the image is on its disk."""
        until(self.writes, f"{self.sn} is being written", 60)


class PlayedSite(Fleet):
    """The programs of a data centre. `etcd`: addresses of a cluster that keeps everything; else the master does.

    The regional clients share one address (`vip`); with `is_shared` False each has its own, and machines are told that
    of the first alone when they boot.
    """

    def __init__(self, folder: Path, etcd: Sequence[str] = (), *, is_shared: bool = True) -> None:
        super().__init__(folder, settings={"OPS_REGIONAL_REGION_LEAD_TTL": f"{LEAD_TTL_S}s"})
        self._etcd, self._is_shared = etcd, is_shared
        self.vip = Vip()
        self.vips: dict[str, Vip] = {}
        self.regions: dict[str, int] = {}
        self._stack = ExitStack()

    @property
    def agent_url(self) -> str:
        """The address of the boot line."""
        return self.vip.url

    def __enter__(self) -> Self:
        self._stack.enter_context(self.vip)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            super().__exit__(kind, error, trace)

    def master_arguments(self) -> list[str]:
        """Return the flags of the master."""
        return [*super().master_arguments(), *(("-etcd", ",".join(self._etcd)) if self._etcd else ())]

    def start(self, *regions: str) -> None:
        """Start the master, give it an image, start the regional clients; the first one serves."""
        _pack_worker(self.folder / "boot")
        self.start_master()
        facts = "name=debian&version=1&format=raw&os_type=Debian&os_version=12"
        self.call("POST", f"/images?{facts}", CONTENT, media="application/octet-stream", timeout_s=120)
        for name in regions or ("region",):
            self.start_region(name)
            self.wait_role("active", "standby", name=name)
        if self._is_shared:
            self.vip.target = next(iter(self.regions.values()))
        until(self.is_heard, "the data centre is heard")
        self.call("PATCH", f"/idcs/{IDC}/settings", {"master_url": self.url})

    def is_heard(self) -> bool:
        """Whether the master hears the data centre."""
        return any(idc["is_alive"] for idc in self.get("/idcs")["items"])

    def start_region(self, name: str = "region") -> None:
        """Start (or start again) a regional client."""
        port = self.regions.setdefault(name, free_port())
        vip = self._vip_of(name)
        if not self._is_shared:
            vip.target = port
        token = self.folder / "region.token"
        if not token.exists():
            token.write_text(self.post("/tokens", {"name": IDC, "role": "regional", "idc": IDC})["token"])
        words = ["--idc", IDC, "--store", ",".join(self._etcd) or self.url, "--master", self.url]
        words += ["--token", f"@{token}", "--api-port", str(port), "--listen", "127.0.0.1", "--api-url", vip.url]
        words += ["--data_dir", str(self.folder / name), "--boot-root", str(self.folder / "boot")]
        self.run(name, [PROGRAMS / "ops-regional", *words])
        self.wait_ready(name, f"http://127.0.0.1:{port}")

    def _vip_of(self, name: str) -> Vip:
        """Return the address in front of a regional client; the first one's is `vip` in any case."""
        if self._is_shared or not self.vips:
            return self.vips.setdefault(name, self.vip)
        if name not in self.vips:
            self.vips[name] = self._stack.enter_context(Vip())
        return self.vips[name]

    def run(self, name: str, command: list[Any]) -> None:
        """Start a program of the site."""
        self._spawn(name, command)

    def health(self, name: str = "region") -> dict[str, Any]:
        """Return what a regional client says of itself; nothing while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.regions[name]}/health", timeout=5) as answer:
                return dict(json.load(answer))
        except OSError:
            return {}

    def wait_role(self, *roles: str, name: str = "region") -> str:
        """Return the role of a regional client as soon as it is one of these."""
        return str(until(lambda: (role := self.health(name).get("role")) in roles and role, f"{name} is {roles}"))

    def order(self, sn: str) -> PlayedMachine:
        """Return a machine with a task, switched off."""
        machine = PlayedMachine(self, sn, self.folder / "machines" / sn)
        order = {"idc": IDC, "sn": sn, "mac": "02:00:00:00:00:01", "os_type": "Debian", "os_version": "12"}
        self.post("/tasks", order)
        return machine

    def twin(self, machine: PlayedMachine) -> PlayedMachine:
        """Return another machine with the same serial number."""
        return PlayedMachine(self, machine.sn, machine.folder.with_name(f"{machine.sn}-twin"), "02:00:00:00:00:02")

    def approved(self, sn: str) -> PlayedMachine:
        """Return a machine with a task that was switched on and approved."""
        machine = self.order(sn)
        machine.power_on()
        machine.wait("pending_approval")
        machine.approve()
        return machine

    def _destroy_instances(self) -> None:
        """There are none."""


def _pack_worker(folder: Path) -> None:
    """Make what new systems get: here nobody starts it."""
    folder.mkdir()
    with tarfile.open(folder / "worker.tar.gz", "w:gz") as tar:
        entry, text = tarfile.TarInfo("worker"), b"#!/bin/sh\n"
        entry.size, entry.mode = len(text), 0o755
        tar.addfile(entry, BytesIO(text))


def _writes_in(trace: Path, disk: Path) -> list[Write]:
    """Return the writes to `disk` that strace saw; one that was cut off counts as done."""
    found: list[Write] = []
    for line in trace.read_text().rpartition("\n")[0].splitlines():
        if f"<{disk}>" not in line:
            continue
        call = _CALL.match(line)
        assert call, line
        _, name, _, size, offset, done = call.groups()
        if done is not None and int(done) <= 0:
            continue
        assert name == "pwrite64", f"a write without a place: {line}"
        found.append(Write(int(offset), int(done or size)))
    return found

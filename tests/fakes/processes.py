"""A supervisor under test with real processes: a preparer that needs no package, and waits on what it reports."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import psutil
from msgspec.structs import replace

from ops_system.model.ids import InstanceId, ModuleId, SystemId
from ops_system.model.instances import Desired, InstanceSpec, State
from ops_system.model.manifest import Manifest
from ops_system.processes import procfs
from ops_system.processes.spec import PreparedInstance, PrepareFailed, RunSpec
from ops_system.processes.supervisor import Supervisor
from ops_system.runtime.tasks import running

if sys.platform != "win32":
    from ops_system.processes.cgroups import Groups, find_hierarchies
    from ops_system.processes.keepers import end_keeper, is_keeper

ID = f"i1-{os.getpid()}"  # markers are seen by the whole machine
SH = "/bin/sh"
PYTHON = sys.executable
PATIENCE_S = 60.0  # a computer with much else to do is slow, and no fault


def make_spec(
    instance_id=ID,
    argv=(SH, "-c", "exec sleep 1000"),
    *,
    desired=Desired.RUNNING,
    generation=1,
    restart_seq=0,
    stop_now=False,
    **rules,
):
    """A resolved wish; `rules` are fields of RunSpec."""
    source = InstanceSpec(
        instance_id=InstanceId(instance_id),
        generation=generation,
        desired=desired,
        system_id=SystemId("sys"),
        module_id=ModuleId("mod"),
        name="test",
        package=None,
        service=Manifest(name="test", version="1.0"),
        restart_seq=restart_seq,
        stop_now=stop_now,
    )
    return RunSpec(source=source, entrypoint=argv[0], args=tuple(argv[1:]), **rules)


def rewish(spec, desired=None, **changes):
    """The same instance under the next generation."""
    source = spec.source
    changes.setdefault("generation", source.generation + 1)
    return replace(spec, source=replace(source, desired=desired or source.desired, **changes))


class FakePreparer:
    """Makes folders; `failures` are raised first, one a call."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.failures: list[PrepareFailed | OSError] = []
        self.prepared: list[str] = []
        self.removed: list[str] = []

    async def prepare(self, spec, progress):
        if self.failures:
            raise self.failures.pop(0)
        self.prepared.append(spec.instance_id)
        home = self.root / spec.instance_id
        if not (home / "logs").is_dir():
            (home / "logs").mkdir(parents=True)
        stop = (spec.stop_entrypoint, *spec.stop_args) if spec.stop_entrypoint else ()
        return PreparedInstance(str(home), (spec.entrypoint, *spec.args), spec.env, str(home / "logs"), stop)

    async def remove(self, spec):
        self.removed.append(spec.instance_id)


class Rig:
    """A running supervisor and all that it said."""

    def __init__(self, root: Path, **options) -> None:
        self.root = root
        self.preparer = FakePreparer(root / "instances")
        self.events = []
        self.latest = {}
        self._news = asyncio.Event()
        self.supervisor = Supervisor(
            root / "state",
            self.preparer,
            on_report=self._on_report,
            on_event=self._on_event,
            dice=lambda: 0.5,
            **options,
        )

    def _on_report(self, report):
        self.latest[report.instance_id] = report
        self._news.set()

    def _on_event(self, event):
        self.events.append(event)
        self._news.set()

    def reasons(self, instance_id=ID):
        return [event.reason.code for event in self.events if event.instance_id == instance_id and event.reason]

    async def until(self, condition, within_s=PATIENCE_S):
        """Wait until `condition()` is true, looking each time something was said."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not reached; latest: {self.latest}; events: {self.events}") from None

    async def until_state(self, state, instance_id=ID, within_s=PATIENCE_S):
        await self.until(lambda: instance_id in self.latest and self.latest[instance_id].state is state, within_s)
        return self.latest[instance_id]

    async def until_pid(self, instance_id=ID, unlike=None):
        await self.until(lambda: instance_id in self.latest and self.latest[instance_id].pid not in {None, unlike})
        return self.latest[instance_id].pid

    def log(self, instance_id=ID, name="stdout.log"):
        return (self.root / "instances" / instance_id / "logs" / name).read_text()


@contextlib.asynccontextmanager
async def running_rig(root: Path, *, leave=False, **options):
    """Run a supervisor; at the end kill what its instances left, unless `leave`."""
    reap_keepers()
    rig, keepers = Rig(root, **options), []
    try:
        async with running(rig.supervisor.run(), "supervisor"):
            try:
                yield rig
            finally:
                keepers = keepers_of(os.getpid())
    finally:  # what a failed test leaves must not be found by the next one
        if not leave:
            kill_marked(rig.latest)
            for pid in keepers:
                end_keeper(pid, 2.0)
            if sys.platform != "win32":
                Groups(root / "state", find_hierarchies(root / "state"))  # removes what is empty now


def marked_pids(instance_id):
    """Living processes with the instance's marker."""
    if sys.platform == "win32":
        return [pid for pid in psutil.pids() if _marker_on_windows(pid) == instance_id]
    return [
        pid for pid, row in procfs.read_table().items() if not row.is_dead and procfs.read_marker(pid) == instance_id
    ]


def keepers_of(pid):
    """The keepers that `pid` started and that live. Windows has none."""
    if sys.platform == "win32":
        return []
    return [child for child in procfs.read_children(pid) or () if is_keeper(procfs.read_argv(child))]


def _marker_on_windows(pid):
    try:
        return psutil.Process(pid).environ().get("OPS_INSTANCE")
    except (psutil.Error, OSError):
        return None


async def start_stranger(argv, record):
    """Start a process that no identity in the text `record` fits: not in the clock tick (10 ms) in which one began."""
    while True:
        stranger = await asyncio.create_subprocess_exec(*argv)
        if f'"start_time":{procfs.read_row(stranger.pid).start_time}' not in record:
            return stranger
        stranger.kill()
        await stranger.wait()


def kill_marked(instance_ids):
    if sys.platform == "win32":
        for pid in [pid for instance_id in instance_ids for pid in marked_pids(instance_id)]:
            with contextlib.suppress(psutil.Error, OSError):
                psutil.Process(pid).kill()
        return
    for _ in range(3):
        for pid, row in procfs.read_table().items():
            if not row.is_dead and procfs.read_marker(pid) in instance_ids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def zombies_of(pid):
    """Dead children of `pid` that nobody waited for."""
    return [row.pid for row in procfs.read_table().values() if row.ppid == pid and row.is_dead]


def reap_keepers():
    """Wait for the keepers that earlier supervisors left in this process."""
    for pid in zombies_of(os.getpid()):
        os.waitpid(pid, os.WNOHANG)


async def until_true(condition, within_s=PATIENCE_S):
    """Wait for a fact outside the supervisor, such as a file; looked at every 5 ms."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - nothing tells of facts outside this process
            await asyncio.sleep(0.005)


__all__ = [
    "ID",
    "PYTHON",
    "SH",
    "FakePreparer",
    "Rig",
    "State",
    "keepers_of",
    "kill_marked",
    "make_spec",
    "marked_pids",
    "rewish",
    "running_rig",
    "until_true",
    "zombies_of",
]

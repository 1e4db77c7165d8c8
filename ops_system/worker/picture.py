"""How a node is, seen from the command line: asked from the running worker, else read from its disk. Used by `main`."""

import logging
import urllib.request
from pathlib import Path

import msgspec

from ops_system.model.errors import SafetyRefusal
from ops_system.model.nodes import BootService
from ops_system.processes.journal import RunRecord, RunStore
from ops_system.processes.platforms import make_platform
from ops_system.runtime.files import write_atomic
from ops_system.service.local import local_services
from ops_system.service.words import tell_state
from ops_system.storage.lock import FileLock, acquire
from ops_system.worker.identity import LOCK_FILE, Identity, load_identity
from ops_system.worker.instances import DesiredStore
from ops_system.worker.status import LOOPBACK, Health, InstanceStatus
from ops_system.worker.words import say

PORT_FILE = "status-port"  # where the running worker answers; a stale one is harmless, the answer names its node
DESIRED = Path("state") / "desired"
_log = logging.getLogger(__name__)

CRASHES = Path("state") / "crashes"
JOURNAL = Path("state") / "processes"
_TIMEOUT_S = 3.0


class Picture(msgspec.Struct, frozen=True):
    """What `worker status` shows. `pid` of an instance is set only while its process lives."""

    running: bool
    node_id: str
    node_name: str
    master_url: str
    link: str
    link_message: str
    instances: tuple[InstanceStatus, ...]
    boot_service: BootService

    def text(self) -> str:
        """Return the picture for a person."""
        link = f"{self.link} ({self.link_message})" if self.link_message else self.link
        lines = [
            say("node", name=self.node_name, id=self.node_id, master=self.master_url),
            say("running", state=link) if self.running else say("not_running"),
            tell_state(self.boot_service),
        ]
        rows = [
            f"  {item.name:<20} {item.version:<12} {item.state:<10} {item.health:<10} "
            f"{'pid ' + str(item.pid) if item.pid else '-':<12} {item.instance_id}"
            for item in self.instances
        ]
        return "\n".join([*lines, *(rows or [say("no_instances")])])


def take_lock(work_dir: Path) -> FileLock:
    """Take the folder for this process. Raises SafetyRefusal (exit 3) when another worker has it."""
    work_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    try:
        return acquire(work_dir / LOCK_FILE)
    except SafetyRefusal as taken:
        raise SafetyRefusal(
            "another worker is already running on {work_dir}; stop it or choose another -work_dir",
            work_dir=work_dir,
        ) from taken


def note_port(work_dir: Path, port: int) -> None:
    """Note where the status port really is, so that `status` finds it; a full disk stops no start."""
    try:
        write_atomic(work_dir / PORT_FILE, str(port).encode(), 0o644)
    except OSError as problem:
        _log.warning("%s cannot be written (%s): `status` needs -port %d", work_dir / PORT_FILE, problem, port)


def _noted_port(work_dir: Path, default: int) -> int:
    try:
        return int((work_dir / PORT_FILE).read_text())
    except (OSError, ValueError):
        return default


def read_picture(work_dir: Path, port: int) -> Picture | None:
    """Return how the node is, None when it never joined a master."""
    identity = load_identity(work_dir)
    if identity is None:
        return None
    answers = (_ask(one) for one in dict.fromkeys((_noted_port(work_dir, port), port)))
    health = next((found for found in answers if found and found.node_id == identity.node_id), None)
    if health is not None:
        return Picture(
            running=True,
            node_id=health.node_id,
            node_name=health.node_name,
            master_url=identity.master_url,
            link=health.link.state,
            link_message=health.link.message,
            instances=health.instances,
            boot_service=local_services().status("worker"),
        )
    return _from_disk(work_dir, identity)


def _ask(port: int) -> Health | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{LOOPBACK}:{port}/health", timeout=_TIMEOUT_S) as answer:
            return msgspec.json.decode(answer.read(), type=Health)
    except (OSError, msgspec.MsgspecError):
        return None  # nobody there, or another program


def _from_disk(work_dir: Path, identity: Identity) -> Picture:
    wishes = DesiredStore(work_dir / DESIRED)
    wishes.load()
    records = RunStore(work_dir / JOURNAL).load_all()
    rows = [_status(record) for record in records.values() if wishes.get(record.spec.instance_id)]
    return Picture(
        running=False,
        node_id=identity.node_id,
        node_name=identity.node_name,
        master_url=identity.master_url,
        link="away",
        link_message="",
        instances=tuple(sorted(rows, key=lambda row: (row.name, row.instance_id))),
        boot_service=local_services().status("worker"),
    )


def _status(record: RunRecord) -> InstanceStatus:
    is_alive = record.leader is not None and make_platform().is_alive(record.leader)
    return InstanceStatus(
        instance_id=record.spec.instance_id,
        name=record.spec.source.name,
        version=record.spec.source.service.version,
        desired=record.spec.desired,
        state=record.state,
        pid=record.leader.pid if is_alive and record.leader is not None else None,
        restarts=record.restarts,
        reason=record.reason,
    )

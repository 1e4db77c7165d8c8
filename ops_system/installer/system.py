"""Inside the new system: found on its disk, its network set up, its worker put in place (trust P11).

Files are written below `target` and never through a link of the image that leads out of it.
"""

import os
import tarfile
from pathlib import Path

from ops_system.installer.guard import Halt
from ops_system.model.layouts import NetworkConfig
from ops_system.model.system_files import (
    WORKER_CONFIG,
    WORKER_DATA,
    WORKER_HOME,
    NetworkKind,
    TextFile,
    name_files,
    network_files,
    worker_files,
)
from ops_system.protocol.agent import Enrolment
from ops_system.service.base import Unit
from ops_system.service.units import systemd_unit, unit_name

_WANTS = "/etc/systemd/system/multi-user.target.wants"
_NETWORKD = ("lib/systemd/systemd-networkd", "usr/lib/systemd/systemd-networkd")
_MAX_WORKER_BYTES = 2 * 1024**3


def inside(target: Path, path: str) -> Path:
    """Return where a path of the new system lies below `target`, its links followed as the new system would.

    Raises Halt for one that leads out.
    """
    made = target
    left = [part for part in path.split("/") if part]
    for _ in range(256):
        if not left:
            return made
        part = left.pop(0)
        made = made.parent if part == ".." and made != target else made if part in {".", ".."} else made / part
        if made.is_symlink():
            link = str(made.readlink())
            left = [piece for piece in link.split("/") if piece] + left
            made = target if link.startswith("/") else made.parent
    raise Halt("bad_system", f"the new system's {path} is a circle of links")


def put_file(target: Path, file: TextFile) -> None:
    """Write a file of the new system, with its folders; what lies there under its name is replaced."""
    parent, _, name = file.path.rpartition("/")
    folder = inside(target, parent)
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / name
    if place.is_symlink() or place.exists():
        place.unlink()
    if file.link_to:
        place.symlink_to(file.link_to)
        return
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(file.text)
        os.fchmod(handle, file.mode)
        out.flush()
        os.fsync(handle)


def network_kind(target: Path) -> NetworkKind:
    """Return how the new system sets up its network."""
    if (target / "etc/netplan").is_dir():
        return "netplan"
    if (target / "etc/NetworkManager").is_dir() and not (target / "etc/network/interfaces").exists():
        return "networkmanager"
    if (target / "etc/network/interfaces").exists() or not any((target / path).exists() for path in _NETWORKD):
        return "ifupdown"
    return "networkd"


def set_up_network(target: Path, network: NetworkConfig) -> NetworkKind:
    """Write names and network; other configuration of the same kind that would win is left alone and not guessed at."""
    kind = network_kind(target)
    for file in (*name_files(network.hostname), *network_files(kind, network)):
        put_file(target, file)
    return kind


def put_worker(target: Path, archive: Path, enrolment: Enrolment) -> None:
    """Unpack the worker's files and leave configuration, token (0600) and the enabled unit. Raises Halt, OSError."""
    home = inside(target, WORKER_HOME)
    home.mkdir(parents=True, exist_ok=True)
    unpack_worker(archive, home)
    inside(target, WORKER_DATA).mkdir(parents=True, exist_ok=True, mode=0o700)
    inside(target, WORKER_CONFIG).mkdir(parents=True, exist_ok=True, mode=0o700)
    for file in enrolment_files(enrolment):
        put_file(target, file)
    unit = unit_name("worker")
    put_file(target, TextFile(f"/etc/systemd/system/{unit}", worker_unit()))
    put_file(target, TextFile(f"{_WANTS}/{unit}", link_to=f"/etc/systemd/system/{unit}"))


def enrolment_files(enrolment: Enrolment) -> tuple[TextFile, ...]:
    """Return the worker's configuration and its one-time token."""
    files = worker_files(
        enrolment.master_url, enrolment.node_name, enrolment.labels, allow_plain_http=enrolment.allow_plain_http
    )
    return (*files, TextFile(f"{WORKER_CONFIG}/token", f"{enrolment.join_token}\n", 0o600))


def worker_unit() -> str:
    """Return the boot service, as the worker itself would write it."""
    argv = (f"{WORKER_HOME}/worker", "-config", f"{WORKER_CONFIG}/worker.yaml")
    return systemd_unit(Unit("worker", "ops-system worker", argv, WORKER_DATA), is_user=False)


def unpack_worker(archive: Path, folder: Path) -> None:
    """Unpack worker.tar.gz, whose top holds the executable `worker`. Raises Halt for what it must not hold."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            members = tar.getmembers()
            if sum(member.size for member in members) > _MAX_WORKER_BYTES:
                raise Halt("bad_worker", "the worker's files unpack to more than 2 GiB")
            for member in members:
                safe = tarfile.data_filter(member, str(folder))
                tar.extract(safe, folder, set_attrs=True)
    except (tarfile.TarError, EOFError) as problem:
        raise Halt("bad_worker", f"the worker's files cannot be unpacked: {problem}") from problem
    if not (folder / "worker").is_file():
        raise Halt("bad_worker", "the worker's files hold no executable named worker")
    (folder / "worker").chmod(0o755)

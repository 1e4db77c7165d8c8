"""Which processes belong to one that was taken over: no keeper leads its session, and nothing of it carries our marker.

The leader and its descendants; who is in a session or group that the leader made; who was seen below it before and
lost its parent since; whom its start command left behind; and its control group when that is a unit of its own.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ops_system.model.ids import InstanceId
from ops_system.processes import procfs
from ops_system.processes.adopt import Facts, is_whole_unit
from ops_system.processes.adopt_facts import read_all, read_ancestors
from ops_system.processes.base import ADOPTED_MARKER, Handle, Identity
from ops_system.processes.procfs import Table

CGROUP_ROOTS = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")


def find_roots(
    table: Table, leader: Identity, known: Iterable[Identity], others: Iterable[int], never: frozenset[int]
) -> set[int]:
    """Return the living processes that surely belong to the leader, before their descendants are added.

    `known`: seen in its tree before. `others`: found by its unit or start command. A number that came to somebody else
    since proves nothing.
    """
    found = {one.pid for one in (leader, *known) if one.pid in table and table[one.pid].start_time == one.start_time}
    now = table.get(leader.pid)
    if leader.pid > 1 and (now is None or now.start_time == leader.start_time):
        found |= {row.pid for row in table.values() if leader.pid in {row.sid, row.pgrp}}
    return (found | {pid for pid in others if pid in table}) - never


class AdoptedTrees:
    """Remembers who was seen in each tree. Used by the platform, on its loop."""

    def __init__(self, boot_id: str) -> None:
        self._boot_id = boot_id
        self._known: dict[InstanceId, frozenset[Identity]] = {}
        self._units: dict[InstanceId, tuple[Identity, Path | None]] = {}
        own_pid = os.getpid()
        self._never = frozenset({0, 1, own_pid}) | read_ancestors(own_pid)

    def find(
        self, handle: Handle, table: Table, markers: Mapping[int, str], *, is_thorough: bool = False
    ) -> tuple[Identity, ...]:
        """Return the living processes of a tree. `markers`: who is in care as a service of ours, and never included.

        `is_thorough` looks into every environment for what the start command left behind.
        """
        leader = handle.leader or handle.keeper
        others = self._unit_pids(handle.instance_id, leader)
        if is_thorough:
            others += read_started(handle.instance_id, table)
        known = self._known.get(handle.instance_id, frozenset())
        never = self._never | markers.keys()
        roots = find_roots(table, leader, known, others, never)
        living = sorted(pid for pid in _below(table, roots, never) if not table[pid].is_dead)
        found = tuple(Identity(self._boot_id, pid, table[pid].start_time) for pid in living)
        self._known[handle.instance_id] = frozenset(found)
        return found

    def forget(self, instance_id: InstanceId) -> None:
        """Drop what is known of a tree that is empty, or let go."""
        self._known.pop(instance_id, None)
        self._units.pop(instance_id, None)

    def _unit_pids(self, instance_id: InstanceId, leader: Identity) -> list[int]:
        known = self._units.get(instance_id)
        if known is None or known[0] != leader:
            known = self._units[instance_id] = (leader, find_unit(leader, read_all(), self._never))
        return [] if known[1] is None else read_unit(known[1])


def _below(table: Table, roots: set[int], never: frozenset[int]) -> set[int]:
    """Return roots and descendants; what hangs below a process that is not ours is not ours either."""
    allowed = {pid: row for pid, row in table.items() if pid not in never}
    return procfs.descendants(allowed, roots) & allowed.keys()


def find_unit(
    leader: Identity, table: Mapping[int, Facts], never: frozenset[int], roots: Iterable[str] = CGROUP_ROOTS
) -> Path | None:
    """Return the folder of the leader's control group when it is a systemd service of its own, else None."""
    facts = table.get(leader.pid)
    if facts is None or facts.start_time != leader.start_time or not is_whole_unit(facts, table.values()):
        return None
    if any(table[pid].cgroup == facts.cgroup for pid in never if pid in table):
        return None
    folders = (Path(root + facts.cgroup) for root in roots)
    return next((folder for folder in folders if (folder / "cgroup.procs").is_file()), None)


def read_unit(folder: Path) -> list[int]:
    """Return the processes in a control group; none when it is gone."""
    try:
        return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
    except (OSError, ValueError):
        return []


def read_started(instance_id: InstanceId, table: Table) -> list[int]:
    """Return the living processes that the start command of this instance left behind, by their environment."""
    living = (row.pid for row in table.values() if not row.is_dead and row.pid != os.getpid())
    return [pid for pid in living if procfs.read_marker(pid, ADOPTED_MARKER) == instance_id]

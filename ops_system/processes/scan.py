"""Whose process is whose on Linux and macOS: by session, group, descent and marker. Used by `posix`."""

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet

from ops_system.model.ids import InstanceId
from ops_system.processes import procfs
from ops_system.processes.base import Handle, Identity, Member
from ops_system.processes.keepers import is_keeper
from ops_system.processes.procfs import Row, Table

_TABLE_AGE_S = 0.010


class Scanner:
    """Looks at the whole process table at most every 10 ms."""

    def __init__(self, boot_id: str) -> None:
        self._boot_id = boot_id
        self._table: Table = {}
        self._markers: dict[int, str] = {}
        self._table_at_s = -1.0

    def expire(self) -> None:
        """Look anew next time: something was started."""
        self._table_at_s = -1.0

    def identity(self, pid: int) -> Identity | None:
        """Return who `pid` is now; None when it does not live."""
        row = procfs.read_row(pid)
        return None if row is None or row.is_dead else self._identify(row)

    def is_alive(self, identity: Identity) -> bool:
        """True while exactly this process lives."""
        return self.identity(identity.pid) == identity

    def _identify(self, row: Row) -> Identity:
        return Identity(self._boot_id, row.pid, row.start_time)

    def members(self, handle: Handle, grouped: AbstractSet[int] = frozenset()) -> tuple[Member, ...]:
        """Return the living processes of one instance, `grouped` being those of its control group.

        The scan may be up to 10 ms old: an empty tree stays empty.
        """
        table = self._fresh_table()
        marked = {pid for pid, marker in self._markers.items() if marker == handle.instance_id}
        pids = procfs.descendants(table, marked | grouped | set(self._session(table, handle))) - {os.getpid(), 1}
        rows = (table.get(pid) for pid in sorted(pids))
        return tuple(Member(self._identify(row)) for row in rows if row is not None and not row.is_dead)

    def _session(self, table: Table, handle: Handle) -> list[int]:
        """Return the leader and who is in its session or group. A reused number proves nothing."""
        leader = handle.leader
        if leader is None or leader.boot_id != self._boot_id:
            return []
        now = table.get(leader.pid)
        if now is not None and now.start_time != leader.start_time:
            return []
        return [row.pid for row in table.values() if leader.pid in {row.pid, row.sid, row.pgrp}]

    def _fresh_table(self) -> Table:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._table_at_s > _TABLE_AGE_S:
            self._table = procfs.read_table()
            self._markers = _read_markers(self._table)
            self._table_at_s = now_s
        return self._table

    def trees(self, handles: Mapping[InstanceId, Handle]) -> dict[InstanceId, tuple[Identity, ...]]:
        """Return the living processes of many instances in one pass."""
        table = self._fresh_table()
        sessions = {handle.leader.pid: str(key) for key, handle in handles.items() if handle.leader is not None}
        found: dict[InstanceId, list[Identity]] = {instance_id: [] for instance_id in handles}
        for pid, owner in procfs.owners(table, self._markers, sessions).items():
            members = found.get(InstanceId(owner))
            if members is not None and pid != os.getpid():
                members.append(self._identify(table[pid]))
        return {instance_id: tuple(members) for instance_id, members in found.items()}

    def walk(
        self, leaders: Mapping[InstanceId, Identity], orphans: Iterable[int]
    ) -> dict[InstanceId, tuple[Identity, ...]]:
        """Return what lives below each leader, and below its orphans by marker; costs nothing for other processes."""
        roots: dict[InstanceId, list[int]] = {instance_id: [leader.pid] for instance_id, leader in leaders.items()}
        for pid in orphans:
            marker = procfs.read_marker(pid)
            if marker is not None and (mine := roots.get(InstanceId(marker))) is not None:
                mine.append(pid)
        return {instance_id: tuple(self._below(pids)) for instance_id, pids in roots.items()}

    def _below(self, roots: list[int]) -> Iterator[Identity]:
        seen: set[int] = set()
        todo = roots
        while todo:
            pid = todo.pop()
            identity = None if pid in seen else self.identity(pid)
            seen.add(pid)
            if identity is not None:
                yield identity
                todo.extend(procfs.read_children(pid) or ())

    def find_marked(self) -> dict[InstanceId, tuple[Member, ...]]:
        """Return all living processes with a marker, by instance."""
        table = procfs.read_table()
        found: dict[InstanceId, list[Member]] = {}
        for pid, marker in _read_markers(table).items():
            row = table[pid]
            is_leader = row.pid == row.sid and is_keeper(procfs.read_argv(row.ppid))
            member = Member(self._identify(row), is_leader=is_leader)
            found.setdefault(InstanceId(marker), []).append(member)
        return {instance_id: tuple(members) for instance_id, members in found.items()}


def _read_markers(table: Table) -> dict[int, str]:
    """Return the marker of each living process that has one; kernel threads (below pid 2) have none."""
    living = (row.pid for row in table.values() if not row.is_dead and row.ppid != 2 and row.pid != os.getpid())  # noqa: PLR2004
    return {pid: marker for pid in living if (marker := procfs.read_marker(pid)) is not None}


def oldest(members: Iterable[Member]) -> Identity:
    """Return the one that began first."""
    return min((member.identity for member in members), key=lambda identity: (identity.start_time, identity.pid))


def is_foreign(pid: int, instance_id: InstanceId) -> bool:
    """True when `pid` is dead or carries another instance's marker; without any it may be anybody's."""
    row = procfs.read_row(pid)
    if row is None or row.is_dead:
        return True
    marker = procfs.read_marker(pid)
    return marker is not None and marker != instance_id

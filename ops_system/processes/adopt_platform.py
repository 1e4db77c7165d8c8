"""The system's platform, and beside it the processes that others started: no keeper, no session of ours, no marker.

Everything about our own starts goes to the platform below unchanged. Windows needs no difference: there a handle tells
the end of any process. Built by `supervisor`.
"""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from ops_system.model.ids import InstanceId
from ops_system.processes import procfs
from ops_system.processes.adopt_start import wait_for_child
from ops_system.processes.adopt_tree import AdoptedTrees
from ops_system.processes.base import Exit, Handle, Identity, Launch, Member, OnExit, OnPid, Platform
from ops_system.processes.spec import LimitRules
from ops_system.processes.watch import Watch, make_watch


class AdoptingPlatform:
    """See `base.Platform`."""

    _watch: Watch  # from `open` on; Windows has none

    def __init__(self, inner: Platform) -> None:
        self._inner = inner
        self._leaders: dict[InstanceId, Identity] = {}

    def open(self, state_dir: Path) -> None:
        """See `base.Platform`."""
        self._inner.open(state_dir)
        if sys.platform != "win32":
            self._watch = make_watch()
        self._trees = AdoptedTrees(self._inner.boot_id())

    def close(self) -> None:
        """See `base.Platform`."""
        if sys.platform != "win32":
            self._watch.close()
        self._inner.close()

    # --- what differs ---------------------------------------------------------------------------------------------
    def readopt(self, handle: Handle, run_dir: str, on_exit: OnExit) -> bool:
        """See `base.Platform`. Only what became our child tells an exit code: orphans of a start command do."""
        if not _is_foreign(handle):
            return self._inner.readopt(handle, run_dir, on_exit)
        self._unwatch(handle.instance_id)
        leader = handle.leader or handle.keeper

        def ended() -> None:
            on_exit(_reap(leader.pid))

        try:
            self._watch.add(leader.pid, ended)
        except ProcessLookupError:
            return False
        if not self._inner.is_alive(leader):
            self._watch.discard(leader.pid)
            return False
        self._leaders[handle.instance_id] = leader
        self._trees.find(handle, procfs.read_table(), {})  # who loses its parent later is known by then
        return True

    def release(self, instance_id: InstanceId) -> None:
        """See `base.Platform`."""
        self._unwatch(instance_id)
        self._trees.forget(instance_id)
        self._inner.release(instance_id)

    def _unwatch(self, instance_id: InstanceId) -> None:
        leader = self._leaders.pop(instance_id, None)
        if leader is not None:
            self._watch.discard(leader.pid)

    def members(self, handle: Handle) -> tuple[Member, ...]:
        """See `base.Platform`."""
        if not _is_foreign(handle):
            return self._inner.members(handle)
        table = procfs.read_table()
        marked = {pid: marker for pid in table if (marker := procfs.read_marker(pid)) is not None}
        return tuple(Member(identity) for identity in self._trees.find(handle, table, marked, is_thorough=True))

    def trees(self, handles: Mapping[InstanceId, Handle]) -> dict[InstanceId, tuple[Identity, ...]]:
        """See `base.Platform`."""
        foreign = {instance_id: handle for instance_id, handle in handles.items() if _is_foreign(handle)}
        own = {instance_id: handle for instance_id, handle in handles.items() if instance_id not in foreign}
        found = self._inner.trees(own)
        if foreign:
            table = procfs.read_table()
            found |= {instance_id: self._trees.find(handle, table, {}) for instance_id, handle in foreign.items()}
        return found

    def is_surely_empty(self, handle: Handle) -> bool:
        """See `base.Platform`."""
        return not _is_foreign(handle) and self._inner.is_surely_empty(handle)

    def kill_at_once(self, handle: Handle) -> None:
        """See `base.Platform`. What others started has no group of ours."""
        if not _is_foreign(handle):
            self._inner.kill_at_once(handle)

    # --- what does not --------------------------------------------------------------------------------------------
    def make_ready(self) -> None:
        """See `base.Platform`."""
        self._inner.make_ready()

    def spawn(self, launch: Launch, on_pid: OnPid, on_exit: OnExit) -> Handle:
        """See `base.Platform`."""
        return self._inner.spawn(launch, on_pid, on_exit)

    def read_exit(self, run_dir: str, number: int) -> Exit | None:
        """See `base.Platform`."""
        return self._inner.read_exit(run_dir, number)

    def identity(self, pid: int) -> Identity | None:
        """See `base.Platform`."""
        return self._inner.identity(pid)

    def is_alive(self, identity: Identity) -> bool:
        """See `base.Platform`."""
        return self._inner.is_alive(identity)

    def signal(self, identity: Identity, name: str) -> bool:
        """See `base.Platform`."""
        return self._inner.signal(identity, name)

    def find_marked(self) -> dict[InstanceId, tuple[Member, ...]]:
        """See `base.Platform`."""
        return self._inner.find_marked()

    def find_start(self, instance_id: InstanceId, members: tuple[Member, ...]) -> Handle:
        """See `base.Platform`."""
        return self._inner.find_start(instance_id, members)

    def unenforced_limits(self, limits: LimitRules) -> tuple[str, ...]:
        """See `base.Platform`."""
        return self._inner.unenforced_limits(limits)

    def user_prefix(self, user: str) -> tuple[str, ...]:
        """See `base.Platform`."""
        return self._inner.user_prefix(user)

    def boot_id(self) -> str:
        """See `base.Platform`."""
        return self._inner.boot_id()


def _is_foreign(handle: Handle) -> bool:
    return handle.is_adopted and sys.platform != "win32"


def _reap(pid: int) -> Exit:
    """Return how a process ended, if it was our child at all."""
    try:
        status = wait_for_child(pid)
    except ChildProcessError:
        return Exit()
    if status is None:
        return Exit()
    code = os.waitstatus_to_exitcode(status)
    return Exit(code=code) if code >= 0 else Exit(signal=signal.Signals(-code).name)

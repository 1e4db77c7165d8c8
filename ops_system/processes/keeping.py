"""An instance's run record: made of what is known, written when it says something new. Used by `care`."""

import asyncio
import logging

from ops_system.model.ids import InstanceId
from ops_system.model.instances import State
from ops_system.processes.base import Handle
from ops_system.processes.journal import RunRecord, RunStore
from ops_system.processes.spec import PreparedInstance, RunSpec
from ops_system.processes.states import View

_log = logging.getLogger(__name__)

SOON_S = 0.3


def record_of(
    view: View, spec: RunSpec, handle: Handle | None, *, boot_id: str, number: int, prepared: PreparedInstance | None
) -> RunRecord:
    """Return what a later supervisor needs; `spec` is what runs, while the wish may be newer."""
    return RunRecord(
        spec=spec,
        boot_id=boot_id,
        number=number,
        keeper=handle.keeper if handle else None,
        leader=handle.leader if handle else None,
        started_at=view.started_at,
        is_proven=view.state is State.RUNNING,
        state=view.state,
        reason=view.reason,
        exit_code=view.exit_code,
        exit_signal=view.exit_signal,
        restarts=view.restarts,
        history=view.history,
        prepared=prepared,
    )


class LastRecord:
    """What was written last, and what is about to be.

    While the process lives its record may come a moment late: until then the keeper and the marker tell of it, and a
    burst of starts does not wait for the disk.
    """

    def __init__(self, store: RunStore, kept: RunRecord | None) -> None:
        self._store = store
        self._kept = kept
        self._due: RunRecord | None = None
        self._timer: asyncio.TimerHandle | None = None

    def keep(self, record: RunRecord, *, is_urgent: bool) -> None:
        """Write it, now or in a moment. A full disk is logged; the next change tries again."""
        self._due = record
        if is_urgent:
            self.write()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SOON_S, self.write)

    def hold(self) -> None:
        """Drop what was not written: it speaks of a process that is gone."""
        self._due = None

    def write(self) -> None:
        """Write what is due unless it is there."""
        record, self._due = self._due, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if record is None or record == self._kept:
            return
        try:
            self._store.save(record)
        except OSError as error:
            _log.error("%s: its run record cannot be written (%s); free disk space", record.spec.instance_id, error)
        else:
            self._kept = record

    def remove(self, instance_id: InstanceId) -> None:
        """Forget the instance."""
        self.hold()
        self._store.remove(instance_id)
        self._kept = None

"""An instance's run record: made of what is known, written when it says something new. Used by `care`."""

import logging

from ops_system.model.ids import InstanceId
from ops_system.model.instances import State
from ops_system.processes.base import Handle
from ops_system.processes.journal import RunRecord, RunStore
from ops_system.processes.spec import PreparedInstance, RunSpec
from ops_system.processes.states import View

_log = logging.getLogger(__name__)


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
    """What was written last."""

    def __init__(self, store: RunStore, boot_id: str, kept: RunRecord | None) -> None:
        self._store = store
        self._boot_id = boot_id
        self._kept = kept

    def keep(
        self, view: View, spec: RunSpec, handle: Handle | None, number: int, prepared: PreparedInstance | None
    ) -> None:
        """Write what is new; see `record_of`. A full disk is logged; the next change tries again."""
        record = record_of(view, spec, handle, boot_id=self._boot_id, number=number, prepared=prepared)
        if record == self._kept:
            return
        try:
            self._store.save(record)
        except OSError as error:
            _log.error("%s: its run record cannot be written (%s); free disk space", record.spec.instance_id, error)
        else:
            self._kept = record

    def remove(self, instance_id: InstanceId) -> None:
        """Forget the instance."""
        self._store.remove(instance_id)
        self._kept = None

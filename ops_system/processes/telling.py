"""What an instance says of itself: its picture whenever it changed, its timeline, its crashes. Used by `care`."""

from datetime import datetime, timedelta

import msgspec

from ops_system.model.instances import InstanceEvent, InstanceReport
from ops_system.model.reasons import Reason
from ops_system.processes.crashes import Ending, crash_of
from ops_system.processes.spec import RunSpec
from ops_system.processes.states import View, report_of
from ops_system.processes.surroundings import Surroundings


class Telling:
    """Remembers what was told last and when the next try is due."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._told: InstanceReport | None = None
        self._next_try_at: datetime | None = None

    def note_next_try(self, delay_s: float) -> None:
        """Remember when a back-off runs out."""
        self._next_try_at = self._around.clock() + timedelta(seconds=delay_s)

    def tell(self, view: View) -> None:
        """Report the picture, unless it is what was told last."""
        report, told = self._report_of(view), self._told
        if told is None or msgspec.structs.replace(told, at=report.at) != report:
            self._told = report
            self._around.on_report(report)

    def newest(self, view: View) -> InstanceReport:
        """Return the picture told last, or the first one."""
        return self._told or self._report_of(view)

    def _report_of(self, view: View) -> InstanceReport:
        return report_of(view, self._around.clock(), self._next_try_at)

    def emit(self, view: View, kind: str, reason: Reason | None) -> None:
        """Write a line of the timeline."""
        event = InstanceEvent(
            seq=0,
            instance_id=view.spec.instance_id,
            generation=view.spec.generation,
            at=self._around.clock(),
            kind=kind,
            state=view.state,
            health=view.health,
            reason=reason,
            pid=view.pid,
            exit_code=view.exit_code,
        )
        self._around.on_event(event)

    def tell_unenforced(self, view: View, launched: RunSpec | None) -> None:
        """Say once per wish which limits this system does not enforce. `launched`: what was started before."""
        limits = view.spec.limits
        names = self._around.platform.unenforced_limits(limits)
        if names and (launched is None or launched.limits != limits):
            listed = ", ".join(names)
            reason = Reason("limit_not_enforced", f"not enforced on this node: {listed}", {"limits": listed})
            self.emit(view, "state", reason)

    def tell_crash(self, ending: Ending) -> None:
        """Tell of an end, unless somebody asked for it."""
        crash = crash_of(ending)
        if crash is not None:
            self._around.on_crash(ending.spec.instance_id, crash)

"""What a worker says of its instances, brought within bounds before anybody believes it. Pure; called by the observer.

Numbers that no machine has and stamps without a zone are refused (`Invalid`): stored once, they would break every later
answer about the instance. Words are only cut.
"""

import math
from collections.abc import Iterable
from datetime import datetime

import msgspec

from ops_system.model.errors import Invalid
from ops_system.model.instances import InstanceEvent, InstanceReport, PrepareProgress
from ops_system.model.reasons import Reason

MAX_NUMBER = 2**53  # beyond it JSON readers disagree
MAX_WORD = 128
MAX_TEXT = 4096
MAX_PARAMS = 32


def bound_report(report: InstanceReport) -> InstanceReport:
    """Return the report with its words cut. Raises `Invalid`."""
    _check_word(report.instance_id)
    _check_numbers((report.generation, report.restart_seq, report.restarts, report.pid), report.exit_code)
    _check_numbers((report.restarts_in_window,), None)
    _check_stamps((report.at, report.started_at, report.next_try_at))
    return msgspec.structs.replace(
        report,
        version=report.version[:MAX_WORD],
        exit_signal=report.exit_signal and report.exit_signal[:MAX_WORD],
        reason=bound_reason(report.reason),
    )


def bound_event(event: InstanceEvent) -> InstanceEvent:
    """Return the event with its words cut. Raises `Invalid`."""
    _check_word(event.instance_id)
    _check_numbers((event.seq, event.generation, event.pid), event.exit_code)
    _check_stamps((event.at,))
    return msgspec.structs.replace(event, kind=event.kind[:MAX_WORD], reason=bound_reason(event.reason))


def check_progress(progress: PrepareProgress) -> None:
    """Raise `Invalid` for progress that cannot be shown."""
    _check_word(progress.instance_id)
    _check_word(progress.step)
    _check_numbers((progress.generation, progress.bytes_done, progress.bytes_total), None)


def bound_reason(reason: Reason | None) -> Reason | None:
    """Return the reason with its words cut; parameters that are no numbers are left out."""
    if reason is None:
        return None
    kept = [
        (name[:MAX_WORD], value[:MAX_TEXT] if isinstance(value, str) else value)
        for name, value in reason.params.items()
        if isinstance(value, str) or (math.isfinite(value) and abs(value) <= MAX_NUMBER)
    ]
    return Reason(reason.code[:MAX_WORD], reason.message[:MAX_TEXT], dict(kept[:MAX_PARAMS]))


def _check_word(word: str) -> None:
    if len(word) > MAX_WORD:
        raise Invalid(f"a name of {len(word)} characters, {word[:20]!r} and so on")


def _check_numbers(counts: Iterable[int | None], exit_code: int | None) -> None:
    for count in counts:
        if count is not None and not 0 <= count <= MAX_NUMBER:
            raise Invalid(f"{count} is no count")
    if exit_code is not None and abs(exit_code) > MAX_NUMBER:
        raise Invalid(f"{exit_code} is no exit code")


def _check_stamps(stamps: Iterable[datetime | None]) -> None:
    for stamp in stamps:
        if stamp is not None and stamp.tzinfo is None:
            raise Invalid(f"the stamp {stamp.isoformat()} has no zone")

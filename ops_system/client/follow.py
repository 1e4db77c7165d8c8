"""Follows an operation until it ends: a line that moves on a terminal, a line for each target elsewhere."""

import time
from collections.abc import Callable
from datetime import datetime

from ops_system.cli import EXIT_FAILED, EXIT_FINE
from ops_system.client import render
from ops_system.client.connection import fill
from ops_system.client.desk import Desk
from ops_system.client.shapes import Json, targets_of
from ops_system.model.errors import Unavailable
from ops_system.model.operations import ENDED
from ops_system.model.quantities import format_size

FIRST_POLL_S, LAST_POLL_S, SLOWER = 0.1, 1.0, 1.3
PATIENCE_S = 60.0  # a master that restarts is waited for
_ENDED = {state.value for state in ENDED}


def follow(desk: Desk, operation: Json, sleep: Callable[[float], None] = time.sleep) -> int:
    """Follow to the end and return the exit code. Ctrl-C leaves the operation running and says how to see it again."""
    id_ = str(operation["id"])
    teller = Teller(desk)
    try:
        operation = _watch(desk, operation, teller, sleep)
    except KeyboardInterrupt:
        teller.close()
        desk.note(desk.words.say("op.follow", id=id_))
        return EXIT_FAILED
    teller.close()
    return report(desk, operation)


def report(desk: Desk, operation: Json) -> int:
    """Write how an operation ended and return the exit code."""
    if desk.output != "table" or desk.is_quiet:
        desk.show(operation)
    else:
        words = [desk.words.say("op.ended", id=operation["id"], state=operation["state"])]
        error = operation.get("error")
        if isinstance(error, dict):
            words.append(render.clean(str(error.get("message", ""))))
        desk.print(": ".join(words))
    return EXIT_FINE if operation["state"] == "succeeded" else EXIT_FAILED


def _watch(desk: Desk, operation: Json, teller: "Teller", sleep: Callable[[float], None]) -> Json:
    path = fill("/operations/{id}", {"id": str(operation["id"])})
    pause_s, silent_s = FIRST_POLL_S, 0.0
    teller.tell(operation)
    while operation["state"] not in _ENDED:
        sleep(pause_s)
        pause_s = min(LAST_POLL_S, pause_s * SLOWER)
        try:
            operation, silent_s = desk.master.get(path), 0.0
        except Unavailable:
            silent_s += pause_s
            if silent_s > PATIENCE_S:
                raise
            continue
        teller.tell(operation)
    return operation


class Teller:
    """Shows how far an operation is, on standard error."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._is_live = desk.around.stderr.isatty() and not desk.is_quiet
        self._told: dict[str, str] = {}

    def tell(self, operation: Json) -> None:
        """Show this picture."""
        if self._desk.is_quiet:
            return
        for line in news(operation, self._told):
            self.close()
            self._desk.note(line)
        if self._is_live and operation["state"] not in _ENDED:
            line = render.cut(progress_line(operation, self._desk.around.now()), self._desk.screen_width or 100)
            self._desk.around.stderr.write(f"\r\x1b[K{line}")
            self._desk.around.stderr.flush()

    def close(self) -> None:
        """Clear the moving line."""
        if self._is_live:
            self._desk.around.stderr.write("\r\x1b[K")
            self._desk.around.stderr.flush()


def news(operation: Json, told: dict[str, str]) -> list[str]:
    """Return a line for each target that ended since `told`, which is brought up to date."""
    lines = []
    for target in targets_of(operation):
        state = str(target["state"])
        if state in _ENDED and told.get(str(target["id"])) != state:
            told[str(target["id"])] = state
            reason = target.get("reason") or {}
            why = f": {reason.get('message', '')}" if isinstance(reason, dict) and reason else ""
            lines.append(render.clean(f"{state}  {target.get('name') or target['id']}{why}"))
    return lines


def progress_line(operation: Json, now: datetime) -> str:
    """Return `state done/all step bytes rate left title` of an operation that runs."""
    targets = list(targets_of(operation))
    ended = sum(target["state"] in _ENDED for target in targets)
    parts = [str(operation["state"]), f"{ended}/{len(targets)}"]
    steps = sorted({str(target.get("step")) for target in targets if target["state"] == "running"} - {""})
    parts += [",".join(steps)] if steps else []
    moving = [one for one in targets if one["state"] == "running" and int(one.get("bytes_total") or 0) > 0]
    if moving:
        done = sum(int(one["bytes_done"]) for one in moving)
        total = sum(int(one["bytes_total"]) for one in moving)
        parts.append(f"{format_size(done)} / {format_size(total)}")
        rate = sum(float(one.get("bytes_per_s") or 0.0) for one in moving)
        parts += [f"{format_size(int(rate))}/s"] if rate > 0 else []
    left = max((float(one.get("eta_s") or 0.0) for one in targets if one["state"] == "running"), default=0.0)
    parts += [f"~{render.short_duration(left)}"] if left > 0 else []
    parts.append(render.age(operation.get("created_at"), now))
    return "  ".join([*parts, render.clean(str(operation.get("title", "")))])

"""Whether and when an ended process comes back. Pure: the clock and the dice are arguments.

delay = min(delay_s x 2^n, max_delay_s) +- 25 %, n restarts in a row; more than `max_restarts` within `window_s`
gives up; 60 s of health forget what was.
"""

import msgspec

from ops_system.processes.spec import RestartRules

JITTER = 0.25
RESET_AFTER_S = 60.0


class History(msgspec.Struct, frozen=True):
    """The restarts that still count, as monotonic seconds, oldest first."""

    times_s: tuple[float, ...] = ()
    in_a_row: int = 0


class Again(msgspec.Struct, frozen=True):
    """Start again after `delay_s`."""

    delay_s: float
    history: History


class Finished(msgspec.Struct, frozen=True):
    """The policy asks for no restart."""


class GaveUp(msgspec.Struct, frozen=True):
    """Too many restarts within the window."""

    restarts: int


Verdict = Again | Finished | GaveUp


def judge(rules: RestartRules, history: History, *, is_success: bool, now_s: float, dice: float) -> Verdict:
    """Say what follows an end nobody asked for. `dice` is uniform in [0, 1)."""
    if rules.policy == "never" or (rules.policy == "on-failure" and is_success):
        return Finished()
    recent = tuple(at_s for at_s in history.times_s if now_s - at_s < rules.window_s)
    if len(recent) >= rules.max_restarts:
        return GaveUp(len(recent))
    delay_s = delay_after(rules.delay_s, rules.max_delay_s, history.in_a_row, dice)
    return Again(delay_s, History((*recent, now_s), history.in_a_row + 1))


def delay_after(delay_s: float, max_delay_s: float, in_a_row: int, dice: float) -> float:
    """Return the back-off in seconds after `in_a_row` tries in a row, jitter included."""
    base_s = min(delay_s * 2.0 ** min(in_a_row, 30), max(max_delay_s, delay_s))
    return base_s * (1 + JITTER * (2 * dice - 1))

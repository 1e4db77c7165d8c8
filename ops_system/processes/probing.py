"""Asking a service how it is, again and again: quickly while it starts, then at its interval. Used by `care`."""

import asyncio
from collections.abc import Callable

from ops_system.processes.probes import Failed, Passed, probe
from ops_system.processes.spec import ProbeRules
from ops_system.processes.states import ProbeFailed, ProbePassed

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0  # while it starts

Answer = ProbePassed | ProbeFailed


async def keep_probing(
    rules: ProbeRules,
    cwd: str,
    env: dict[str, str],
    prefix: tuple[str, ...],
    tell: Callable[[Answer], bool | None],
) -> None:
    """Probe until `tell` returns None; True: it is still starting."""
    pause_s = min(_FIRST_PAUSE_S, rules.interval_s)
    while True:
        match await probe(rules, cwd, env, prefix):
            case Passed():
                is_starting = tell(ProbePassed())
            case Failed(detail):
                is_starting = tell(ProbeFailed(detail))
        if is_starting is None:
            return
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S, rules.interval_s) if is_starting else rules.interval_s
        await asyncio.sleep(pause_s)

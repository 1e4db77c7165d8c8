"""Which program a start of the worker becomes: the installed one, or one the master sent (trust S14). Pure.

    order --verified--> pending, 0 attempts --start--> pending, 1 attempt --link--> current
                                                         |
                   no link in time, an end, another start: what ran before, with the reason kept as the outcome

The installed executable is never written to and always starts first; it becomes what `choose` says. `switch` does it,
`updates` makes and proves the pending one.
"""

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from ops_system.model.reasons import Reason
from ops_system.model.versions import is_newer


class Program(msgspec.Struct, frozen=True):
    """A worker executable the master sent: `path` is absolute, `sha256` the package's, `file_sha256` its own."""

    version: str
    sha256: str
    path: str
    file_sha256: str


class Pending(msgspec.Struct, frozen=True):
    """A program that has yet to prove itself within `prove_within_s` of its start. It is started once."""

    order_id: str
    next: Program
    prove_within_s: float
    attempts: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """How the latest order ended; without a reason well."""

    order_id: str
    version: str
    reason: Reason | None = None


class ProgramState(msgspec.Struct, frozen=True):
    """What is remembered. `current` None: the installed program; `previous` is kept as the way back from `current`."""

    current: Program | None = None
    previous: Program | None = None
    pending: Pending | None = None
    outcome: Outcome | None = None

    def packages(self) -> frozenset[str]:
        """Return the packages that must stay unpacked."""
        pending = self.pending.next if self.pending else None
        return frozenset(program.sha256 for program in (self.current, self.previous, pending) if program)


class Choice(msgspec.Struct, frozen=True):
    """What to remember, then what to become; None: the installed program goes on."""

    state: ProgramState
    program: Program | None


def choose(state: ProgramState, installed_version: str, fault_of: Callable[[Program], str]) -> Choice:
    """Return what the installed program becomes. `fault_of` says what is wrong with a program's file, empty: nothing.

    An installed program that is as new as the one sent wins: somebody has put it there since.
    """
    pending = state.pending
    if pending is not None:
        fault = fault_of(pending.next)
        if pending.attempts == 0 and not fault:
            return Choice(replace(state, pending=replace(pending, attempts=1)), pending.next)
        words = fault or f"version {pending.next.version} ended before it had its link to the master"
        state = returned(state, Reason("update_failed", words))
    for program in (state.current, state.previous):
        if program is not None and is_newer(program.version, installed_version) and not fault_of(program):
            return Choice(state, program)
    return Choice(state, None)


def proven(state: ProgramState) -> ProgramState:
    """Return the state once the pending program has its link: it is the current one, the one before is kept."""
    pending = state.pending
    assert pending is not None
    outcome = Outcome(pending.order_id, pending.next.version)
    return ProgramState(current=pending.next, previous=state.current, outcome=outcome)


def returned(state: ProgramState, reason: Reason) -> ProgramState:
    """Return the state once the pending program has failed: what ran before runs again."""
    pending = state.pending
    assert pending is not None
    return replace(state, pending=None, outcome=Outcome(pending.order_id, pending.next.version, reason))

"""Becoming another program in this very process (execve): same process id, same boot service, services untouched.

Called by `main` before anything else runs, and after everything else has ended. Only a frozen executable on a system
with execve has a `Seat`; without one the worker is what it is.

    work_dir/program/state.json    `ProgramState`
"""

import hashlib
import logging
import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec

from ops_system import __version__
from ops_system.model.reasons import Reason
from ops_system.runtime.files import write_atomic
from ops_system.service.surroundings import EXECUTABLE_VARIABLE
from ops_system.worker.programs import Pending, Program, ProgramState, choose, returned

_log = logging.getLogger(__name__)

FOLDER = "program"
_INSTALLED = "OPS_INSTALLED_EXECUTABLE"
_STATE = "OPS_PROGRAM_STATE"
_LIBRARIES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_UNWANTED = "token"


@dataclass(frozen=True, slots=True)
class Seat:
    """The place in the process table that programs hand on. `state_path` is known from the start in one sent here."""

    installed: str
    running: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    state_path: Path | None = None

    @property
    def is_installed(self) -> bool:
        """Whether the installed program sits here."""
        return self.state_path is None

    def become(self, program: Program, state_path: Path) -> NoReturn:
        """Become a program the master sent. Raises OSError when the system cannot run it."""
        handed = {_INSTALLED: self.installed, _STATE: str(state_path)}
        os.execve(program.path, [program.path, *self.argv], {**self.environ, **handed})  # noqa: S606 - no shell is meant

    def start_again(self) -> NoReturn:
        """Become the installed program, which chooses anew. Raises OSError when it is gone."""
        os.execve(self.installed, [self.installed, *self.argv], dict(self.environ))  # noqa: S606 - no shell is meant


def take_seat(environ: MutableMapping[str, str], argv: Sequence[str]) -> Seat | None:
    """Return our place, taking what is between programs out of `environ`; None where no program can follow this one."""
    installed, state = environ.pop(_INSTALLED, ""), environ.pop(_STATE, "")
    running = environ.get(EXECUTABLE_VARIABLE, "")
    if not getattr(sys, "frozen", False) or sys.platform == "win32" or not Path(running).is_absolute():
        return None
    is_sent = bool(installed and state)
    return Seat(
        installed=installed if is_sent else running,
        running=running,
        argv=without_token(argv),
        environ=as_before(environ),
        state_path=Path(state) if is_sent else None,
    )


def without_token(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the flags without the join token, which a joined worker does not need and `ps` must not show."""
    kept: list[str] = []
    is_value = False
    for word in argv:
        name, equals, _ = word.partition("=")
        if is_value or (name.startswith("-") and name.lstrip("-") == _UNWANTED):
            is_value = not is_value and not equals
            continue
        kept.append(word)
    return tuple(kept)


def as_before(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment as it was before this frozen program put its own libraries and marks into it."""
    kept = {name: value for name, value in environ.items() if name not in _LIBRARIES and not name.startswith("_PYI_")}
    kept.pop(EXECUTABLE_VARIABLE, None)
    for name in _LIBRARIES:
        if original := kept.pop(f"{name}_ORIG", ""):
            kept[name] = original
    return kept


def state_path(work_dir: Path) -> Path:
    """Return where the state of the programs is kept."""
    return work_dir.absolute() / FOLDER / "state.json"


def load_state(path: Path) -> ProgramState:
    """Return what is remembered; nothing where it cannot be read: then the installed program runs."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ProgramState)
    except FileNotFoundError:
        return ProgramState()
    except (OSError, msgspec.MsgspecError) as problem:
        _log.warning("%s cannot be read (%s): the installed program runs", path, problem)
        return ProgramState()


def save_state(path: Path, state: ProgramState) -> None:
    """Write the state, whole or not at all. Raises OSError."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomic(path, msgspec.json.format(msgspec.json.encode(state), indent=2))


def hash_program(path: str) -> str:
    """Return the SHA-256 of a program's file in hexadecimal. Raises OSError."""
    with open(path, "rb") as file:  # noqa: PTH123 - the path is text in the state
        return hashlib.file_digest(file, "sha256").hexdigest()


def fault_of(program: Program) -> str:
    """Return what is wrong with a program's file, empty when it is what was verified."""
    try:
        if hash_program(program.path) == program.file_sha256:
            return ""
    except OSError as problem:
        return f"{program.path} cannot be read: {problem}"
    return f"{program.path} is not the file that was verified"


def become_chosen(seat: Seat, work_dir: Path) -> None:
    """Become the program that is to run here; returns when that is the one that runs."""
    if not seat.is_installed:
        return
    path = state_path(work_dir)
    state = load_state(path)
    choice = choose(state, __version__, fault_of)
    try:
        if choice.state != state:
            save_state(path, choice.state)
        if choice.program is not None:
            seat.become(choice.program, path)
    except OSError as problem:
        _log.warning("version %s cannot be started (%s): the installed one runs", choice.program, problem)
        give_up(path, f"it cannot be started: {problem}")


def pending_of(seat: Seat) -> Pending | None:
    """Return the order that the running program has to prove itself for, None when it is no candidate."""
    if seat.state_path is None:
        return None
    pending = load_state(seat.state_path).pending
    return pending if pending is not None and pending.next.path == seat.running else None


def give_up(path: Path, why: str) -> None:
    """Note that the pending program has failed; where that cannot be written the next start finds its one try spent."""
    state = load_state(path)
    if state.pending is None:
        return
    try:
        save_state(path, returned(state, Reason("update_failed", why)))
    except OSError as problem:
        _log.warning("%s: %s", path, problem)


def return_from_failed_start(seat: Seat | None, why: str) -> None:
    """Start what ran before when the running program is a candidate that could not start; else return."""
    if seat is None or seat.state_path is None or pending_of(seat) is None:
        return
    _log.error("version %s does not start (%s): back to what ran before", __version__, why)
    give_up(seat.state_path, f"version {__version__} does not start: {why}")
    seat.start_again()

"""What a boot service is, and the Protocol of the systems that have one; `local` chooses the right system.

The roles' `main` makes a `Unit` by `autostart`, a `BootServices` installs it, `units` writes its text.
"""

from typing import Literal, Protocol

import msgspec

from ops_system.model.nodes import BootService

RESTART_NOT_AFTER = (2, 3)  # exit codes that a restart cannot cure: configuration, refused for safety
STOP_WITHIN_S = 20
WATCHDOG_S = 30


Kind = Literal["systemd", "launchd", "windows", ""]


class Unit(msgspec.Struct, frozen=True):
    """What shall run at boot. `argv` starts with an absolute path and holds no secret."""

    role: str  # worker, master
    description: str
    argv: tuple[str, ...]
    working_dir: str
    environment: dict[str, str] = {}
    log_file: str = ""  # where output goes on systems without a journal; empty: the configuration says it


Done = Literal["installed", "updated", "repaired", "unchanged", "removed", "absent"]


class Change(msgspec.Struct, frozen=True):
    """What was done. `kept` is where a unit that somebody had changed by hand was put aside."""

    done: Done
    service: BootService
    kept: str = ""
    hints: tuple[str, ...] = ()  # names of sentences in `words`


class BootServices(Protocol):
    """The boot services of one operating system."""

    def check(self) -> None:
        """Raise Unavailable, with words, where nothing can be installed; call it before anything is used up."""

    def install(self, unit: Unit, *, may_start: bool) -> Change:
        """Install or update, have it started at every boot, and start it now when it may.

        Raises Unavailable where this machine cannot, and when the service does not start.
        """

    def remove(self, role: str) -> Change:
        """Stop the service and remove it; what it started goes on. Harmless when there is none."""

    def has_word(self, role: str, word: str) -> bool:
        """Return whether the boot service of the role starts the program with this word of the command line."""

    def status(self, role: str) -> BootService:
        """Return how the boot service of the role is. Never raises: what cannot be asked is `absent`."""


def describe(was: BootService, *, is_new: bool, is_same: bool) -> Done:
    """Return what an installation did to what was there before; a unit that was not enabled was half installed."""
    if is_new:
        return "installed"
    if not is_same:
        return "updated"
    return "unchanged" if was.state in {"enabled", "active"} else "repaired"

"""Boot services of macOS: a launchd daemon for the whole system (root) or an agent for the user who asks.

Unit-tested only: nothing here ran on a Mac.
"""

import os
import plistlib
from collections.abc import Sequence
from pathlib import Path

from ops_system.model.errors import Unavailable
from ops_system.model.nodes import BootService
from ops_system.runtime.files import remove_durably, write_atomic
from ops_system.service.base import Change, Unit, describe
from ops_system.service.commands import Run, run_command
from ops_system.service.units import launchd_label, launchd_plist

_WITHIN_S = 30.0


class LaunchdServices:
    """See `base.BootServices`. A changed property list is kept aside: launchd has no comment to seal it by."""

    def __init__(
        self,
        *,
        root: Path = Path("/"),
        home: Path | None = None,
        uid: int | None = None,
        run: Run = run_command,
    ) -> None:
        self._uid = os.getuid() if uid is None else uid
        self._run = run
        folder = "Library/LaunchAgents" if self._uid else "Library/LaunchDaemons"
        self._folder = ((home or Path.home()) if self._uid else root) / folder
        self._domain = f"gui/{self._uid}" if self._uid else "system"

    def check(self) -> None:
        """See `base.BootServices`: launchd is there on every Mac."""

    def install(self, unit: Unit, *, may_start: bool) -> Change:
        """See `base.BootServices`. launchd starts what it loads: beside another copy it waits for the next boot."""
        path, data = self._path(unit.role), launchd_plist(unit)
        was = self.status(unit.role)
        before = path.read_bytes() if path.exists() else None
        kept = self._set_aside(path, before) if before is not None and before != data else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data, 0o644)
        hints = () if self._uid == 0 else ("at_login",)
        target = f"{self._domain}/{launchd_label(unit.role)}"
        self._launchctl("enable", target, may_fail=False)
        if was.state == "active":
            self._launchctl("bootout", target, may_fail=True)
        if may_start or was.state == "active":
            self._launchctl("bootstrap", self._domain, str(path), may_fail=False)
        else:
            hints = (*hints, "start_later")
        return Change(describe(was, is_new=before is None, is_same=before == data), self.status(unit.role), kept, hints)

    def remove(self, role: str) -> Change:
        """See `base.BootServices`."""
        found, path = self.status(role), self._path(role)
        if not path.exists():
            return Change("absent", found)
        self._launchctl("bootout", f"{self._domain}/{launchd_label(role)}", may_fail=True)
        remove_durably(path)
        return Change("removed", BootService("launchd", "absent", launchd_label(role), str(path)))

    def status(self, role: str) -> BootService:
        """See `base.BootServices`."""
        path, label = self._path(role), launchd_label(role)
        if not path.exists():
            return BootService("launchd", "absent", label)
        answer = self._run(("launchctl", "print", f"{self._domain}/{label}"), _WITHIN_S)
        is_active = answer.returncode == 0 and "state = running" in answer.stdout
        return BootService("launchd", "active" if is_active else "enabled", label, str(path))

    def has_word(self, role: str, word: str) -> bool:
        """See `base.BootServices`."""
        try:
            return word in plistlib.loads(self._path(role).read_bytes())["ProgramArguments"]
        except (OSError, KeyError, plistlib.InvalidFileException):
            return False

    def _path(self, role: str) -> Path:
        return self._folder / f"{launchd_label(role)}.plist"

    @staticmethod
    def _set_aside(path: Path, data: bytes) -> str:
        kept = path.with_name(f"{path.name}.bak")  # not *.plist: launchd loads only those
        write_atomic(kept, data, 0o644)
        return str(kept)

    def _launchctl(self, *words: str, may_fail: bool) -> None:
        argv: Sequence[str] = ("launchctl", *words)
        answer = self._run(argv, _WITHIN_S)
        if answer.returncode != 0 and not may_fail:
            said = " ".join((answer.stderr or answer.stdout).split())
            raise Unavailable(f"{' '.join(argv)} failed: {said}", said=said)

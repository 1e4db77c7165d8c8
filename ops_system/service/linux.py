"""Boot services of Linux: a systemd unit for the whole system (root) or for the user who asks."""

import contextlib
import os
import pwd
from pathlib import Path

from ops_system.model.errors import Unavailable
from ops_system.model.nodes import BootService
from ops_system.runtime.files import remove_durably, write_atomic
from ops_system.service.base import Change, Kind, Unit, describe
from ops_system.service.commands import Run, run_command
from ops_system.service.units import is_as_written, quote_systemd, systemd_unit, unit_name

_ASK_WITHIN_S = 5.0
_ACT_WITHIN_S = 120.0  # a start waits for READY=1
_RUNNING = frozenset({"active", "activating", "reloading", "deactivating"})


class SystemdServices:
    """See `base.BootServices`. `root` stands for `/`, `home` for the user's home: tests have their own."""

    def __init__(
        self, *, root: Path = Path("/"), home: Path | None = None, uid: int | None = None, run: Run = run_command
    ) -> None:
        self._root = root
        self._uid = os.geteuid() if uid is None else uid
        self._run = run
        config = (
            Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") if home is None else home / ".config"
        )
        self._user_folder = config / "systemd/user"
        self._system_folder = root / "etc/systemd/system"

    # --- the three questions --------------------------------------------------------------------------------------
    def check(self) -> None:
        """See `base.BootServices`."""
        self._require_systemd(is_user=self._uid != 0)

    def install(self, unit: Unit, *, may_start: bool) -> Change:
        """See `base.BootServices`."""
        name, is_user = unit_name(unit.role), self._uid != 0
        self._require_systemd(is_user=is_user)
        path = self._folder(is_user=is_user) / name
        text = systemd_unit(unit, is_user=is_user)
        before = self._read(path)
        was = self.status(unit.role)
        kept = self._write(path, text, before)
        self._systemctl("daemon-reload", is_user=is_user)
        self._systemctl("enable", name, is_user=is_user)
        hints = (self._linger(),) if is_user else ()
        if may_start or was.state == "active":
            is_same = before == text and was.state == "active"
            self._systemctl("start" if is_same else "restart", name, is_user=is_user)
        else:
            hints = (*hints, "start_later")
        return Change(describe(was, is_new=before is None, is_same=before == text), self.status(unit.role), kept, hints)

    def remove(self, role: str) -> Change:
        """See `base.BootServices`."""
        found = self.status(role)
        name = unit_name(role)
        path = self._place(role)
        if path is None:
            return Change("absent", found)
        is_user = path.parent == self._user_folder
        if is_user != (self._uid != 0):
            raise Unavailable(f"{path} belongs to the system; remove it as root: sudo … -autostart 0", path=str(path))
        kept = self._set_aside(path, self._read(path))
        if self._has_systemd():
            self._systemctl("disable", "--now", name, is_user=is_user, may_fail=True)
        for wants in path.parent.glob(f"*.wants/{name}"):
            wants.unlink()
        remove_durably(path)
        if self._has_systemd():
            self._systemctl("daemon-reload", is_user=is_user, may_fail=True)
            self._systemctl("reset-failed", name, is_user=is_user, may_fail=True)
        return Change("removed", BootService("systemd", "absent", name, str(path)), kept)

    def status(self, role: str) -> BootService:
        """See `base.BootServices`."""
        kind: Kind = "systemd" if self._has_systemd() else ""
        name, path = unit_name(role), self._place(role)
        if path is None:
            return BootService(kind, "absent", name)
        shown = self._show(name, is_user=path.parent == self._user_folder) if kind else {}
        if shown.get("ActiveState") in _RUNNING:
            return BootService(kind, "active", name, str(path))
        is_enabled = any(path.parent.glob(f"*.wants/{name}"))
        return BootService(kind, "enabled" if is_enabled else "installed", name, str(path))

    def has_word(self, role: str, word: str) -> bool:
        """See `base.BootServices`."""
        path = self._place(role)
        with contextlib.suppress(OSError):
            return path is not None and quote_systemd(word) in path.read_text(encoding="utf-8", errors="replace")
        return False

    # --- files ----------------------------------------------------------------------------------------------------
    def _folder(self, *, is_user: bool) -> Path:
        return self._user_folder if is_user else self._system_folder

    def _place(self, role: str) -> Path | None:
        """Return where the unit is; a user's own goes before the system's. A link to nowhere counts: it is masked."""
        folders = [self._system_folder] if self._uid == 0 else [self._user_folder, self._system_folder]
        places = (folder / unit_name(role) for folder in folders)
        return next((path for path in places if os.path.lexists(path)), None)

    @staticmethod
    def _read(path: Path) -> str | None:
        """Return the unit's text, None when there is none. Raises Unavailable for what is no file."""
        if path.is_symlink():
            raise Unavailable(
                f"{path} is a link (a masked unit?); look at it, and free it: systemctl unmask {path.name}",
                path=str(path),
            )
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise Unavailable(f"{path} cannot be read ({problem.strerror}); move it away first") from problem

    def _write(self, path: Path, text: str, before: str | None) -> str:
        if before == text:
            return ""
        kept = self._set_aside(path, before)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, text.encode(), 0o644)
        except OSError as problem:
            raise Unavailable(f"{path} cannot be written ({problem.strerror})", path=str(path)) from problem
        return kept

    @staticmethod
    def _set_aside(path: Path, text: str | None) -> str:
        """Keep a copy of a unit that somebody has changed; return where."""
        if text is None or is_as_written(text):
            return ""
        names = (path.with_name(f"{path.name}.bak{number or ''}") for number in range(1000))
        free = next(name for name in names if not name.exists())
        write_atomic(free, text.encode(), 0o644)
        return str(free)

    # --- systemd --------------------------------------------------------------------------------------------------
    def _has_systemd(self) -> bool:
        """sd_booted(3)."""
        return (self._root / "run/systemd/system").is_dir()

    def _require_systemd(self, *, is_user: bool) -> None:
        if not self._has_systemd():
            raise Unavailable(
                "this machine is not run by systemd, so no boot service was installed; have your init start the "
                "program without -autostart (docs/operations.md, boot services)"
            )

        answer = self._run(_systemctl_argv(("show", "-P", "Version"), is_user=is_user), _ASK_WITHIN_S)
        if answer.returncode != 0:
            said = " ".join((answer.stderr or answer.stdout).split())
            hint = "log in as that user, or: sudo loginctl enable-linger USER" if is_user else "see: systemctl"
            raise Unavailable(f"systemd does not answer ({said}); nothing was installed; {hint}", said=said)

    def _systemctl(self, *words: str, is_user: bool, may_fail: bool = False) -> None:
        answer = self._run(_systemctl_argv(words, is_user=is_user), _ACT_WITHIN_S)
        if answer.returncode == 0 or may_fail:
            return
        said = " ".join((answer.stderr or answer.stdout).split())
        journal = "journalctl --user" if is_user else "journalctl"
        raise Unavailable(f"systemctl {' '.join(words)} failed: {said}; see: {journal} -xe", said=said)

    def _show(self, name: str, *, is_user: bool) -> dict[str, str]:
        answer = self._run(_systemctl_argv(("show", "-p", "ActiveState", name), is_user=is_user), _ASK_WITHIN_S)
        return dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)

    def _linger(self) -> str:
        """Let the user's services start at boot, not at log-in; return the sentence that says whether they do."""
        user = str(self._uid)
        with contextlib.suppress(KeyError):
            user = pwd.getpwuid(self._uid).pw_name
        if (self._root / "var/lib/systemd/linger" / user).exists():
            return "lingers"
        return "lingers" if self._run(("loginctl", "enable-linger"), _ASK_WITHIN_S).returncode == 0 else "no_linger"


def _systemctl_argv(words: tuple[str, ...], *, is_user: bool) -> tuple[str, ...]:
    return ("systemctl", *(("--user",) if is_user else ()), "--no-pager", "--no-ask-password", *words)

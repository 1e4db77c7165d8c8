"""A systemd and a launchd that only remember what they were told."""

import subprocess
from collections.abc import Sequence
from pathlib import Path


class FakeSystemd:
    """Answers `systemctl` and `loginctl` for units below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.active: set[str] = set()
        self.calls: list[tuple[str, ...]] = []
        self.fails: dict[str, str] = {}
        (root / "run/systemd/system").mkdir(parents=True)

    def run(self, argv: Sequence[str], _timeout_s: float) -> "subprocess.CompletedProcess[str]":
        words = tuple(word for word in argv if not word.startswith("--no-"))
        self.calls.append(words)
        verb, name = next(word for word in words[1:] if not word.startswith("-")), words[-1]
        if verb in self.fails:
            return subprocess.CompletedProcess(words, 1, "", self.fails[verb])
        if verb == "enable":
            folder = self.root / ("home/.config/systemd/user" if "--user" in words else "etc/systemd/system")
            wants = folder / ("default.target.wants" if "--user" in words else "multi-user.target.wants")
            wants.mkdir(exist_ok=True)
            if not (wants / name).is_symlink():
                (wants / name).symlink_to(folder / name)
        elif verb in {"start", "restart"}:
            self.active.add(name)
        elif verb == "disable":
            self.active.discard(name)
        shown = f"ActiveState={'active' if name in self.active else 'inactive'}\n" if verb == "show" else ""
        return subprocess.CompletedProcess(words, 0, shown, "")

    def did(self) -> list[str]:
        """Return the verbs that changed something."""
        return [" ".join(words[1:]) for words in self.calls if "show" not in words]


class FakeLaunchd:
    """Answers `launchctl`."""

    def __init__(self) -> None:
        self.loaded: set[str] = set()
        self.calls: list[tuple[str, ...]] = []

    def run(self, argv: Sequence[str], _timeout_s: float) -> "subprocess.CompletedProcess[str]":
        words = tuple(argv)
        self.calls.append(words)
        match words[1]:
            case "bootstrap":
                self.loaded.add(f"{words[2]}/{Path(words[3]).stem}")
            case "bootout":
                self.loaded.discard(words[2])
            case "print":
                is_loaded = words[2] in self.loaded
                return subprocess.CompletedProcess(words, 0 if is_loaded else 113, "state = running" * is_loaded, "")
        return subprocess.CompletedProcess(words, 0, "", "")

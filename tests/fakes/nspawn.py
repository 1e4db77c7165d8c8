"""A Debian run by its own systemd, in systemd-nspawn: what a boot service must hold against. Needs root.

The image is built by mmdebstrap from the Debian mirrors this machine itself uses, and kept below test-output/ until its
recipe changes. The machine shares the network and sees this repository, its virtual environment and its Python.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.fakes.fleet import until

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "test-output" / "systemd-image"
TOOLS = ("mmdebstrap", "systemd-nspawn", "nsenter", "unshare")
PACKAGES = "systemd,systemd-sysv,dbus,libpam-systemd,procps,iproute2,python3,libreadline8,libsqlite3-0,libssl3,libffi8"
OPTIONS = (
    "--quiet",
    "--variant=minbase",
    f"--include={PACKAGES}",
    '--aptopt=Acquire::Languages "none"',
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)
BOOT_WITHIN_S = 150.0  # half a second on a quiet machine


def why_not() -> str:
    """Return why no machine can be booted here, empty when one can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "booting a machine needs root on Linux"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def image() -> Path:
    """Return the archive of the image, building it when its recipe is a new one (about a minute).

    The build has its own view of the mounts, so that none of them outlives it.
    """
    suite, sources = _suite(), _sources()
    recipe = "\n".join([suite, *OPTIONS, *(path.read_text() for path in sources)])
    archive = CACHE / f"{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.tar"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.is_file():
            for old in CACHE.glob("*.tar"):
                old.unlink()
            half = CACHE / "half-built.tar"
            build = ["unshare", "--mount", "mmdebstrap", *OPTIONS, suite, half, *sources]
            subprocess.run(build, check=True, capture_output=True)
            half.rename(archive)
    return archive


def _suite() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return next(line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_CODENAME="))


def _sources() -> list[Path]:
    """Return where this machine itself gets Debian from."""
    folder = Path("/etc/apt/sources.list.d")
    found = [Path("/etc/apt/sources.list"), *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))]
    return [path for path in found if path.is_file() and "debian" in path.read_text()]


class Machine:
    """One machine: a copy of the image that can be booted more than once."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "machine"
        self._console = folder / "console.log"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self.root.mkdir()
        subprocess.run(["tar", "--extract", f"--file={image()}", f"--directory={self.root}"], check=True)
        (self.root / "root").chmod(0o711)  # the Python below it is for every user

    def boot(self) -> None:
        """Boot and wait until systemd has started what it should."""
        seen = [ROOT, *([Path(sys.base_prefix)] if sys.base_prefix != "/usr" else [])]
        with self._console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                [
                    "systemd-nspawn", "--quiet", f"--directory={self.root}", "--boot", "--register=no", "--keep-unit",
                    "--console=pipe", f"--machine=ops-{os.getpid()}", *(f"--bind-ro={path}" for path in seen),
                ],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            )  # fmt: skip
        self._leader = int(until(self._find_leader, "the machine has an init", BOOT_WITHIN_S))
        try:
            until(self._is_up, "systemd is up", BOOT_WITHIN_S)
        except AssertionError as late:
            waits = self.run("systemctl", "list-jobs", may_fail=True)
            console = self._console.read_text(errors="replace")[-2000:]
            raise AssertionError(f"{late}\n{waits.stdout}{waits.stderr}\n{console}") from None

    def _find_leader(self) -> str:
        """Return the init of the machine; a child that only prepares it lives for a moment and is none."""
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, self._console.read_text(errors="replace")
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        return next((pid for pid in children if _is_first_of_its_own(pid)), "")

    def _is_up(self) -> bool:
        said = self.run("systemctl", "is-system-running", may_fail=True).stdout.strip()
        return said in {"running", "degraded"}

    def run(
        self, *argv: str | Path, may_fail: bool = False, env: Iterable[str] = ()
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command inside as root."""
        inside = ["nsenter", "-t", str(self._leader), "-m", "-p", "-u", "-i", "-n", "-C", "-r", "-w"]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", *env]
        done = subprocess.run(
            [*inside, *clean, *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90
        )
        if done.returncode and not may_fail:
            raise AssertionError(
                f"{' '.join(map(str, argv))} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done

    def show(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.run("systemctl", "show", "-P", name, unit).stdout.strip()

    def journal(self, unit: str) -> str:
        """Return what a unit said."""
        return self.run("journalctl", "--no-pager", "-n", "50", "-u", unit, may_fail=True).stdout

    def path(self, inside: str) -> Path:
        """Return where a path of the machine lies on this one."""
        return self.root / inside.lstrip("/")

    def power_off(self) -> None:
        """Shut down as a person would; what does not end is pulled."""
        if self._nspawn is None:
            return
        self.run("systemctl", "--no-block", "poweroff", may_fail=True)
        try:
            self._nspawn.wait(60)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._nspawn = None

    def remove(self) -> None:
        """Pull the plug and throw the disk away."""
        self.power_off()
        subprocess.run(["rm", "-rf", "--one-file-system", self.root], check=True)


def _is_first_of_its_own(pid: str) -> bool:
    """True when a process is number 1 of a PID namespace below ours."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
    return len(numbers) > 1 and numbers[-1] == "1"

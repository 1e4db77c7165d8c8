"""`make audit`: look the pinned dependencies up in the advisory databases, Python's and npm's.

Exit codes: 0 everything was looked up and nothing is known, 1 a known hole, 3 something could not be looked up: no
database answered, or a tool is not there. A hole outranks what could not be looked up.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock")
TIMEOUT_S = 180
PIP_AUDIT = "pip-audit==2.9.0"
CLEAN, VULNERABLE, NOT_CHECKED = 0, 1, 3
SERVICES = ("pypi", "osv")  # what `pip-audit --vulnerability-service` takes, tried in this order


def main() -> int:
    """Audit both; see the exit codes above."""
    verdicts = [*audit_python([ROOT / lock for lock in LOCKS]), audit_npm(ROOT / "frontend")]
    return VULNERABLE if VULNERABLE in verdicts else max(verdicts)


def audit_python(locks: list[Path]) -> list[int]:
    """Return a verdict for each lock file, and say it."""
    with tempfile.TemporaryDirectory() as folder:
        tool = find_pip_audit(Path(folder))
        if tool is None:
            return [say(lock.name, NOT_CHECKED, f"{PIP_AUDIT} is not here and cannot be installed") for lock in locks]
        return [audit_lock(lock, tool) for lock in locks]


def audit_lock(lock: Path, tool: list[str]) -> int:
    """Look one lock file up where a database answers."""
    troubles = []
    for service in SERVICES:
        options = ["--disable-pip", "--require-hashes", "--format", "json", "--vulnerability-service", service]
        ran = run([*tool, "--requirement", str(lock), *options])
        try:
            return judge(lock, json.loads(ran.stdout)["dependencies"])
        except (ValueError, KeyError, TypeError):
            troubles.append(f"{service}: {first_line(ran.stderr)}")
    return say(lock.name, NOT_CHECKED, f"no advisory database answers: {', '.join(troubles)}")


def judge(lock: Path, found: list[dict[str, Any]]) -> int:
    """Return the verdict on what a database told, and say it."""
    holes = [f"{one['name']} {one['version']}: {hole['id']}" for one in found for hole in one.get("vulns", [])]
    if holes:
        return say(lock.name, VULNERABLE, "; ".join(holes))
    unchecked = [one["name"] for one in found if "skip_reason" in one]
    if unchecked:
        return say(lock.name, NOT_CHECKED, f"no answer about {len(unchecked)} of {len(found)} packages")
    return say(lock.name, CLEAN, f"{len(found)} packages")


def find_pip_audit(folder: Path) -> list[str] | None:
    """Return the command: one that is installed, else the pinned one, installed into `folder` for this run."""
    if installed := shutil.which("pip-audit"):
        return [installed]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(folder)]
    if run([*pip, PIP_AUDIT]).returncode != 0:
        return None
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); from pip_audit._cli import audit; audit()"
    return [sys.executable, "-c", code]


def audit_npm(folder: Path) -> int:
    """Ask the registry that npm is configured for. What only builds the console is looked at too."""
    npm = shutil.which("npm")
    if npm is None:
        return say("frontend", NOT_CHECKED, "npm is not here; run `make install` first")
    ran = run([npm, "audit", "--json", "--prefix", str(folder)])
    try:
        answer = json.loads(ran.stdout)
        counts = answer["metadata"]["vulnerabilities"]
    except (ValueError, KeyError, TypeError):
        return say("frontend", NOT_CHECKED, npm_trouble(ran))
    holes = ", ".join(f"{count} {level}" for level, count in counts.items() if count and level != "total")
    return say("frontend", VULNERABLE if counts["total"] else CLEAN, holes or "no known hole")


def npm_trouble(ran: subprocess.CompletedProcess[str]) -> str:
    """Return why npm got no answer: it says so in JSON, or on standard error between warnings."""
    try:
        answer = json.loads(ran.stdout)
        return str(answer.get("message") or answer["error"]["summary"])
    except (ValueError, KeyError, TypeError, AttributeError):
        lines = [line for line in ran.stderr.splitlines() if not line.startswith("npm warn")]
        return first_line("\n".join(lines))


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a tool; one that takes too long counts as one that failed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {TIMEOUT_S} s")


def first_line(text: str) -> str:
    """Return the beginning of what a tool complained of."""
    return (text.strip().splitlines() or ["no answer"])[0][:200]


def say(name: str, verdict: int, words: str) -> int:
    """Print a line and return the verdict."""
    shown = {CLEAN: "clean", VULNERABLE: "VULNERABLE", NOT_CHECKED: "NOT CHECKED"}[verdict]
    print(f"{name:24} {shown}: {words}", flush=True)
    return verdict


if __name__ == "__main__":
    sys.exit(main())

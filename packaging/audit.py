"""`make audit`: look the pinned dependencies up in the advisory databases, Python's and npm's.

Where a database cannot be reached, or its tool is not there, that is said and is no failure: 1 only for a known hole.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock")
TIMEOUT_S = 180
PIP_AUDIT = "pip-audit==2.9.0"


def main() -> int:
    """Audit both; 1 when one has a known hole."""
    verdicts = [*(audit_python(ROOT / lock) for lock in LOCKS), audit_npm(ROOT / "frontend")]
    return 1 if "vulnerable" in verdicts else 0


def audit_python(lock: Path) -> str:
    """Return `clean`, `vulnerable` or `unknown`, and say it."""
    with tempfile.TemporaryDirectory() as folder:
        tool = find_pip_audit(Path(folder))
        if tool is None:
            return say(lock.name, "unknown", f"{PIP_AUDIT} is not here and cannot be installed")
        ran = run([*tool, "--requirement", str(lock), "--disable-pip", "--require-hashes", "--format", "json"])
    try:
        found = json.loads(ran.stdout)["dependencies"]
    except (ValueError, KeyError):
        return say(lock.name, "unknown", first_line(ran.stderr))
    unchecked = [one["name"] for one in found if "skip_reason" in one]
    if unchecked:
        return say(lock.name, "unknown", f"no answer about {len(unchecked)} of {len(found)} packages")
    holes = [f"{one['name']} {one['version']}: {hole['id']}" for one in found for hole in one.get("vulns", [])]
    return say(lock.name, "vulnerable" if holes else "clean", "; ".join(holes) or f"{len(found)} packages")


def find_pip_audit(folder: Path) -> list[str] | None:
    """Return the command: one that is installed, else the pinned one, installed into `folder` for this run."""
    if installed := shutil.which("pip-audit"):
        return [installed]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(folder)]
    if run([*pip, PIP_AUDIT]).returncode != 0:
        return None
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); from pip_audit._cli import audit; audit()"
    return [sys.executable, "-c", code]


def audit_npm(folder: Path) -> str:
    """Return `clean`, `vulnerable` or `unknown`, and say it. What only builds the console is looked at too."""
    npm = shutil.which("npm")
    if npm is None:
        return say("frontend", "unknown", "npm is not here; run `make install` first")
    ran = run([npm, "audit", "--json", "--prefix", str(folder)])
    try:
        counts = json.loads(ran.stdout)["metadata"]["vulnerabilities"]
    except (ValueError, KeyError):
        return say("frontend", "unknown", first_line(ran.stderr))
    holes = ", ".join(f"{count} {level}" for level, count in counts.items() if count and level != "total")
    return say("frontend", "vulnerable" if counts["total"] else "clean", holes or "no known hole")


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a tool; one that takes too long counts as one that failed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {TIMEOUT_S} s")


def first_line(text: str) -> str:
    """Return the beginning of what a tool complained of."""
    return (text.strip().splitlines() or ["no answer"])[0][:200]


def say(name: str, verdict: str, words: str) -> str:
    """Print a line and return the verdict."""
    shown = {"unknown": "NOT CHECKED"}.get(verdict, verdict)
    print(f"{name:24} {shown}: {words}", flush=True)
    return verdict


if __name__ == "__main__":
    sys.exit(main())

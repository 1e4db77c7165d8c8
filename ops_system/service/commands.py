"""Asking a program of the system (systemctl, launchctl, sc): one call, its answer, never an exception."""

import os
import subprocess
from collections.abc import Callable, Sequence

from ops_system.service.surroundings import clean_environment

_MISSING = 127  # as a shell says it

Answer = subprocess.CompletedProcess[str]
Run = Callable[[Sequence[str], float], Answer]


def run_command(argv: Sequence[str], timeout_s: float) -> Answer:
    """Run a program and return what it said; one that is missing or does not end has failed."""
    try:
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            env=clean_environment(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        return subprocess.CompletedProcess(list(argv), _MISSING, "", str(problem))

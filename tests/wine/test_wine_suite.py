"""The suite of the shared floors, the worker and the pack tool under Windows' Python, but for what Wine cannot show."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.wine.not_there import NOT_THERE

pytestmark = [pytest.mark.wine, pytest.mark.timeout(900)]

PARTS = {
    "supervision": ["tests/integration/processes/test_supervision_everywhere.py"],
    "units": [
        *(f"tests/unit/{folder}" for folder in ("model", "protocol", "runtime", "processes", "worker", "packtool")),
        "tests/unit/test_cli.py",
    ],
}
IMPORT_ALL = """
import importlib, pkgutil, ops_system
for role in ('worker.app', 'worker.main', 'master.app', 'master.main', 'packtool.cli', 'service.windows'):
    importlib.import_module('ops_system.' + role)
for module in pkgutil.walk_packages(ops_system.__path__, 'ops_system.'):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as missing:  # another system's half, which no role needs here
        assert missing.name in {'pwd', 'grp', 'fcntl', 'resource', 'termios', 'ptyprocess'}, module.name
print('imported')
"""


def run(lane, *arguments):
    """Return exit code and output. Wine's own services hold the pipe open long after the program's end: they end first."""
    started = subprocess.Popen(
        lane.python_argv(*arguments),
        env=lane.make_environment({}),
        cwd=lane.ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with started as process, ThreadPoolExecutor(1) as reading:
        said = reading.submit(process.stdout.read)
        try:
            code = process.wait(timeout=800)
        finally:
            process.kill()
            lane.end_server()
        return code, said.result().decode(errors="replace")


@pytest.mark.parametrize("part", PARTS)
def test_the_suite_passes_on_windows(lane, part):
    left_out = [f"--deselect={test}" if "::" in test else f"--ignore={test}" for test in NOT_THERE]
    options = ("-q", "-p", "no:cacheprovider", "--timeout", "60", "--tb=short", "-m", "not long and not root")
    code, said = run(lane, "-m", "pytest", *options, *left_out, *PARTS[part])
    assert code == 0, said[-6000:]


def test_the_roles_and_all_but_other_systems_halves_can_be_imported(lane):
    code, said = run(lane, "-c", IMPORT_ALL)
    assert (code, said.strip().splitlines()[-1]) == (0, "imported"), said

"""What every test shares: skips become failures in CI, and the folder for what a test leaves to look at."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.fakes.mountspace import leave_shared_mounts

# A shared machine is slow at times; a slow example is no fault.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

OUTPUT = Path(__file__).resolve().parent.parent / "test-output"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Where OPS_FORBID_SKIPS is set, a test that skips itself has failed: the machine was to have what it needs."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("OPS_FORBID_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and skips are failures here: {report.longrepr}"


def pytest_configure(config):
    """Part the mounts of the processes that share a run; name a failed test at once.

    The list of failures at the end of a long run comes late, or never when the run is cut off.
    """
    if hasattr(config, "workerinput"):
        leave_shared_mounts()
    else:
        config.pluginmanager.register(_TellAtOnce(config), "tell-at-once")


class _TellAtOnce:
    def __init__(self, config):
        self._config = config

    def pytest_runtest_logreport(self, report):
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.write_line(f"\nfailed: {report.nodeid} ({report.when}, {report.duration:.0f} s)")


def pytest_collection_modifyitems(config, items):
    """Where several processes share the tests: the long files of end to end first, the others mixed.

    So browsers, builds and mere waiting come side by side, and no long file is left for the end.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=_place)


def _place(item):
    path = item.nodeid.partition("::")[0]
    return not path.startswith("tests/e2e/"), hashlib.sha256(path.encode()).digest()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Say which tests of a run in several processes go together."""
    from tests.fakes.scheduler import Scheduler  # the Wine lane runs without xdist

    return Scheduler(config, log)


@pytest.fixture(scope="session")
def test_output() -> Path:
    """The folder for screenshots and measurements; kept after the run."""
    OUTPUT.mkdir(exist_ok=True)
    return OUTPUT

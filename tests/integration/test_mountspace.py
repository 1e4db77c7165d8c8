"""The processes of a test run hold no mounts of each other, so a disk that was unmounted is gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MOUNTS = """
import subprocess, sys
from tests.fakes.mountspace import leave_shared_mounts
leave_shared_mounts()
subprocess.run(["mount", "-t", "tmpfs", "none", sys.argv[1]], check=True)
print(open("/proc/self/mountinfo").read())
"""

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root on Linux"),
]


def test_a_mount_stays_in_the_process_that_left_the_shared_ones(tmp_path):
    child = subprocess.run([sys.executable, "-c", MOUNTS, str(tmp_path)], check=True, capture_output=True, text=True)
    assert f" {tmp_path} " in child.stdout
    assert f" {tmp_path} " not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process runs all tests")
def test_each_process_of_a_run_has_mounts_of_its_own():
    ours, parents = (Path(f"/proc/{pid}/ns/mnt").readlink() for pid in (os.getpid(), os.getppid()))
    assert ours != parents

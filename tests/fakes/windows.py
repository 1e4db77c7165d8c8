"""What `processes` offers for tests, where there are no keepers and a process is found by psutil."""

import contextlib

import psutil

from ops_system.processes.windows import WindowsPlatform
from ops_system.processes.windows_api import Job
from ops_system.processes.windows_rules import KILLED, job_name
from ops_system.runtime.tasks import running
from tests.fakes.processes import Rig


@contextlib.asynccontextmanager
async def running_rig(root, *, leave=False, **options):
    """Run a supervisor; at the end kill what its instances left, unless `leave`."""
    rig = Rig(root, **options)
    async with running(rig.supervisor.run(), "supervisor"):
        yield rig
    if not leave:
        kill_marked(rig.latest)


def marked_pids(instance_id):
    """Living processes with the instance's marker, but for console hosts."""
    return sorted(WindowsPlatform._marked_pids().get(instance_id, ()))


def kill_marked(instance_ids):
    """Kill by job too: the environment of a process that is just being made cannot be read."""
    for instance_id in instance_ids:
        job = Job.find(job_name(instance_id))
        if job is not None:
            job.terminate(KILLED)
            job.close()
        for pid in marked_pids(instance_id):
            with contextlib.suppress(psutil.Error, OSError):
                psutil.Process(pid).kill()

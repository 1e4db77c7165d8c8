"""What a distribution's installer gets: kickstart, preseed, autoinstall, and which task may have them. Pure.

Served only while the task is `installing` with that very method; nothing secret is ever among the values (P11).
"""

from ops_system.model.errors import NotFound
from ops_system.model.machines import Machine
from ops_system.model.tasks import InstallMethod, Task, TaskStatus
from ops_system.provision.values import place_of, values_of

METHODS: frozenset[InstallMethod] = frozenset({"kickstart", "preseed", "autoinstall"})


def answer_url(base_url: str, task: Task) -> str:
    """Return where the installer of a task finds its answers; empty for methods without."""
    match task.install.method:
        case "kickstart":
            return f"{base_url}/kickstart/{task.sn}"
        case "preseed":
            return f"{base_url}/preseed/{task.sn}"
        case "autoinstall":
            return f"{base_url}/autoinstall/{task.sn}/"
        case _:
            return ""


def callback_url(base_url: str, task: Task) -> str:
    """Return where an installer says that it is done. It names the task, so that an older one cannot end it."""
    return f"{base_url}/api/v1/installer/{task.sn}/{task.task_id}"


def check_served(task: Task | None, sn: str, method: InstallMethod) -> Task:
    """Return the task whose answers are asked for. Raises NotFound, in the same words whatever the reason."""
    if task is None or task.status is not TaskStatus.INSTALLING or task.install.method != method:
        raise NotFound(f"{sn}: no {method} is being installed here now", sn=sn)
    return task


def values_for(task: Task, machine: Machine | None, base_url: str) -> dict[str, object]:
    """Return what the task's template may name."""
    return values_of(place_of(task), task.install, machine, callback_url(base_url, task), task.network)


def meta_data(task: Task, machine: Machine | None) -> str:
    """Return cloud-init's meta-data: an id that is new for every attempt, so that nothing old counts as done."""
    host = values_for(task, machine, "")["hostname"]
    return f"instance-id: {task.task_id}-{task.attempt}\nlocal-hostname: {host}\n"

"""What a distribution's installer gets: kickstart, preseed, autoinstall, and which task may have them. Pure.

Served only while the task is `installing` with that very method; nothing secret is ever among the values (P11), but the
key of this one installation: who asks with it reads where to say that all is done, who asks without it reads the rest.
"""

import hmac
from hashlib import sha256

from ops_system.model.errors import NotFound
from ops_system.model.machines import Machine
from ops_system.model.tasks import InstallMethod, Task, TaskStatus
from ops_system.provision.values import place_of, values_of

METHODS: frozenset[InstallMethod] = frozenset({"kickstart", "preseed", "autoinstall"})


def answer_url(base_url: str, task: Task, key: str) -> str:
    """Return where the installer of a task finds its answers; empty for methods without."""
    match task.install.method:
        case "kickstart":
            return f"{base_url}/kickstart/{task.sn}/{key}"
        case "preseed":
            return f"{base_url}/preseed/{task.sn}/{key}"
        case "autoinstall":
            return f"{base_url}/autoinstall/{task.sn}/{key}/"
        case _:
            return ""


def callback_url(base_url: str, task: Task, key: str) -> str:
    """Return where an installer says that it is done; empty without a key.

    It names the task, so that an older one cannot end it, and shows the key, so that nobody else can.
    """
    return f"{base_url}/api/v1/installer/{task.sn}/{task.task_id}/{key}" if key else ""


def is_installers(task: Task, key: str) -> bool:
    """Whether this is the key that the task's installer was given."""
    return bool(task.installer_sha256) and hmac.compare_digest(sha256(key.encode()).hexdigest(), task.installer_sha256)


def check_served(task: Task | None, sn: str, method: InstallMethod, key: str = "") -> Task:
    """Return the task whose answers are asked for. Raises NotFound, in the same words whatever the reason."""
    is_wrong = task is None or task.status is not TaskStatus.INSTALLING or task.install.method != method
    if task is None or is_wrong or (key and not is_installers(task, key)):
        raise NotFound(f"{sn}: no {method} is being installed here now", sn=sn)
    return task


def values_for(task: Task, machine: Machine | None, base_url: str, key: str = "") -> dict[str, object]:
    """Return what the task's template may name."""
    return values_of(place_of(task), task.install, machine, callback_url(base_url, task, key), task.network)


def meta_data(task: Task, machine: Machine | None) -> str:
    """Return cloud-init's meta-data: an id that is new for every attempt, so that nothing old counts as done."""
    host = values_for(task, machine, "")["hostname"]
    return f"instance-id: {task.task_id}-{task.attempt}\nlocal-hostname: {host}\n"

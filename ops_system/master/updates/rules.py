"""What an update of a worker may be: pure. Called by the service."""

import msgspec

from ops_system.model.errors import Invalid
from ops_system.model.operations import Operation
from ops_system.model.versions import is_newer

PACKAGE = "ops-worker"
"""The reserved name; `ops-worker-…` for a version that has one package a platform."""
STEPS = ("fetch", "verify", "switch", "prove")
MAX_PARALLEL = 50
PROVE_WITHIN_S = (5.0, 600.0)


class WorkerUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Update one worker to the program in a package. It has `prove_within_s` to get its link, else it returns."""

    version: str
    package: str = PACKAGE
    prove_within_s: float = 90.0


class ManyWorkerUpdate(WorkerUpdate, frozen=True, forbid_unknown_fields=True):
    """Update many workers, chosen by id or by labels, at most `max_parallel` at a time."""

    node_ids: list[str] = []
    labels: dict[str, str] = {}
    max_parallel: int = 5


def check_order(order: WorkerUpdate) -> None:
    """Raise `Invalid` for what no worker would take."""
    problems = []
    if order.package != PACKAGE and not order.package.startswith(f"{PACKAGE}-"):
        problems.append(f'$.package: a worker comes in the package "{PACKAGE}" or "{PACKAGE}-…"')
    low_s, high_s = PROVE_WITHIN_S
    if not low_s <= order.prove_within_s <= high_s:
        problems.append(f"$.prove_within_s: between {low_s:g} and {high_s:g} seconds")
    if isinstance(order, ManyWorkerUpdate):
        if bool(order.node_ids) == bool(order.labels):
            problems.append("$: give either node_ids or labels")
        if not 1 <= order.max_parallel <= MAX_PARALLEL:
            problems.append(f"$.max_parallel: between 1 and {MAX_PARALLEL}")
    if problems:
        raise Invalid("; ".join(problems), problems=problems)


def find_obstacle(wanted: str, running: str, title: str) -> str:
    """Return why a worker of version `running` is not asked at all, empty when it is."""
    if is_newer(wanted, running):
        return ""
    return f"version {wanted} is not newer than {running}, which runs on {title}; a worker is only updated forwards"


def title_of(order: WorkerUpdate) -> str:
    """Return the operation's title."""
    return f"{order.package} {order.version}"


def unended(operation: Operation) -> list[str]:
    """Return the nodes that still have their part to do."""
    return [target.id for target in operation.targets if target.state in {"pending", "running"}]

"""What lists show and in which order, who sees it, which rule approves what. Pure."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from ops_system.master.provisioning.shapes import (
    MAX_TAGS,
    ApprovalRule,
    BulkOrder,
    MachineView,
    Stats,
    TaskOrder,
    TaskQuery,
    TaskRow,
    TaskView,
)
from ops_system.model.bulk import COLUMNS, BulkRow, check_hostname
from ops_system.model.errors import Invalid, OpsError
from ops_system.model.layouts import NetworkConfig
from ops_system.model.machines import Machine, check_idc, check_sn, normal_mac
from ops_system.model.tasks import Task, TaskStatus
from ops_system.provision.regions import RegionSettings

T = TypeVar("T")
MAX_INSTALLS = 100_000
_TASK_SORTS: dict[str, Callable[[TaskRow], Any]] = {
    name: (lambda row, field=name: getattr(row, field))  # type: ignore[misc]  # the name of each is bound here
    for name in ("sn", "idc", "status", "os_type", "created_at", "updated_at", "mac", "task_id")
}


# --- tasks ------------------------------------------------------------------------------------------------------------
def view_of(task: Task) -> TaskView:
    """Return a task as the API shows it."""
    return msgspec.convert(task, TaskView, from_attributes=True)


def labels_of(idc: str, sn: str) -> dict[str, str]:
    """Return the labels a machine has for scopes, and its node gets when it calls home."""
    return {"idc": idc, "sn": sn}


def is_seen(scope: Mapping[str, str], idc: str, sn: str) -> bool:
    """Whether a principal limited to `scope` sees a machine."""
    labels = labels_of(idc, sn)
    return all(labels.get(key) == value for key, value in scope.items())


def sees_idc(scope: Mapping[str, str], idc: str) -> bool:
    """Whether a principal limited to `scope` sees a data centre as a whole."""
    return all(key == "idc" and value == idc for key, value in scope.items())


def check_order(order: TaskOrder) -> TaskOrder:
    """Return an order with its names in their one spelling. Raises Invalid that lists every fault."""
    problems: list[str] = []

    def judged(field: str, judge: Callable[[str], str], value: str) -> str:
        try:
            return judge(value)
        except OpsError as error:
            problems.append(f"$.{field}: {error.message.removeprefix(f'{field}: ')}")
            return value

    mac = judged("mac", normal_mac, order.mac)
    judged("idc", check_idc, order.idc)
    judged("sn", check_sn, order.sn)
    judged("hostname", check_hostname, order.hostname)
    problems += check_tags(order.tags)
    if problems:
        raise Invalid("; ".join(problem.removeprefix("$.") for problem in problems), problems=problems)
    return msgspec.structs.replace(order, mac=mac)


def check_tags(tags: Mapping[str, str]) -> list[str]:
    """Return what is wrong with tags."""
    long = [key for key, value in tags.items() if not key or len(key) > 63 or len(value) > 255]  # noqa: PLR2004
    problems = [f"$.tags.{key[:80]}: names of 1 to 63 characters, values of at most 255" for key in long]
    return [*problems, f"$.tags: at most {MAX_TAGS}"] if len(tags) > MAX_TAGS else problems


def network_of(order: TaskOrder) -> NetworkConfig | None:
    """Return the network that was asked for, with the host name in it."""
    if not order.hostname:
        return order.network
    return msgspec.structs.replace(order.network or NetworkConfig(), hostname=order.hostname)


def table_of(order: BulkOrder) -> str:
    """Return the rows of a bulk order as the table they would be in a file."""
    if order.csv:
        return order.csv
    names = [name for name in COLUMNS if any(row.get(name) for row in order.rows)]
    strange = sorted({name for row in order.rows for name in row} - set(COLUMNS))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*names, *strange])
    for row in order.rows:
        cells = [row.get(name, "").replace("\n", " ").replace("\r", " ") for name in (*names, *strange)]
        writer.writerow(cells if any(cells) else ["-", *cells[1:]])  # an empty row is a fault, not a gap
    return out.getvalue()


def order_of(row: BulkRow) -> TaskOrder:
    """Return the order of one row of a table."""
    return TaskOrder(
        idc=row.idc,
        sn=row.sn,
        mac=row.mac,
        os_type=row.os_type,
        os_version=row.os_version,
        profile=row.profile,
        hostname=row.hostname,
        tags=row.tags,
    )


def select_tasks(rows: Iterable[TaskRow], query: TaskQuery, scope: Mapping[str, str]) -> tuple[list[TaskRow], int]:
    """Return one page of tasks, newest first unless sorted otherwise, and how many match. Raises Invalid."""
    wanted = read_statuses(query.status)
    text = query.q.lower()
    found = [
        row
        for row in rows
        if (not query.idc or row.idc == query.idc)
        and (not wanted or row.status in wanted)
        and is_seen(scope, row.idc, row.sn)
        and (not text or text in _haystack(row))
    ]
    return page_of(found, query.sort or "-created_at", query.offset, query.limit, _TASK_SORTS), len(found)


def is_step_only(before: TaskRow | None, after: TaskRow) -> bool:
    """Whether nothing changed by which something may become due: an agent told how far it is."""
    return before is not None and _due_by(before) == _due_by(after)


def _due_by(row: TaskRow) -> tuple[object, ...]:
    return (
        row.task_id, row.status, row.attempt, row.fence, row.reason, row.approval,
        row.enrolment_id, row.node_id, row.is_cancel_asked, row.handed_over_at,
    )  # fmt: skip


def read_statuses(text: str) -> frozenset[TaskStatus]:
    """Return the statuses that were named. Raises Invalid."""
    try:
        return frozenset({TaskStatus(word.strip()) for word in text.split(",") if word.strip()})
    except ValueError as error:
        known = ", ".join(TaskStatus)
        raise Invalid(f"status: {error}; use some of {known}", problems=["status: unknown"]) from error


def page_of(found: list[T], sort: str, offset: int, limit: int, sorts: Mapping[str, Callable[[T], Any]]) -> list[T]:
    """Return one page in the order of `sort` (`-field`: descending). Raises Invalid for a field there is not."""
    field = sort.removeprefix("-")
    if field not in sorts:
        message = f"sort: there is no field {field!r} here; use one of {', '.join(sorted(sorts))}"
        raise Invalid(message, problems=[message])
    found.sort(key=sorts[field], reverse=sort.startswith("-"))
    return found[offset : offset + limit]


def _haystack(row: TaskRow) -> str:
    tags = " ".join(f"{key}={value}" for key, value in row.tags.items())
    return f"{row.sn} {row.mac} {row.idc} {row.task_id} {row.os_type} {row.os_version} {tags} {row.node_id}".lower()


# --- machines ---------------------------------------------------------------------------------------------------------
def machine_view(machine: Machine, row: TaskRow | None, *, is_alive: bool) -> MachineView:
    """Return a machine as the API shows it."""
    return MachineView(
        idc=machine.idc,
        sn=machine.sn,
        uuid=machine.uuid,
        macs=machine.macs,
        disks=machine.hardware.disks if machine.hardware else (),
        hardware=machine.hardware,
        inventory_hash=machine.inventory_hash,
        first_seen_at=machine.first_seen_at,
        last_seen_at=machine.last_seen_at,
        quarantined=machine.quarantined,
        is_agent_alive=is_alive,
        task_id=row.task_id if row else "",
        status=row.status if row else None,
    )


def machine_matches(machine: Machine, text: str) -> bool:
    """Whether a search finds a machine: serial, UUID, MAC, maker, product, disk."""
    hardware = machine.hardware
    words = [machine.sn, machine.uuid, machine.idc, *machine.macs]
    if hardware is not None:
        words += [hardware.vendor, hardware.product, hardware.cpu_model]
        words += [word for disk in hardware.disks for word in (disk.serial, disk.wwn, disk.model)]
    return text.lower() in " ".join(words).lower()


# --- data centres -----------------------------------------------------------------------------------------------------
def stats_of(counts: Mapping[TaskStatus, int], machines: int, unmatched: int) -> Stats:
    """Return counts with one key per status."""
    by_name = {status.value: counts.get(status, 0) for status in TaskStatus}
    return Stats(**by_name, total=sum(by_name.values()), machines=machines, unmatched=unmatched)


def summed(counts: Iterable[Mapping[TaskStatus, int]]) -> Counter[TaskStatus]:
    """Return the sum of several counts."""
    total: Counter[TaskStatus] = Counter()
    for each in counts:
        total.update(each)
    return total


def check_settings(settings: RegionSettings) -> None:
    """Raise Invalid for settings that cannot be."""
    problems = []
    if not 0 <= settings.max_installs <= MAX_INSTALLS:
        problems.append(f"$.max_installs: from 0 (nothing new begins) to {MAX_INSTALLS}")
    if len(settings.name) > 100:  # noqa: PLR2004 - characters
        problems.append("$.name: at most 100 characters")
    if settings.master_url and not settings.master_url.startswith(("https://", "http://")):
        problems.append("$.master_url: an address begins with https:// or http://")
    if len(settings.protected_serials) > 10_000 or any(not one for one in settings.protected_serials):  # noqa: PLR2004
        problems.append("$.protected_serials: at most 10 000, none empty")
    if problems:
        raise Invalid("; ".join(problem.removeprefix("$.") for problem in problems), problems=problems)


# --- approval rules ---------------------------------------------------------------------------------------------------
def check_rule(rule: ApprovalRule) -> None:
    """Raise Invalid for a rule that cannot be."""
    problems = check_tags(rule.tags)
    if not 1 <= len(rule.name) <= 64:  # noqa: PLR2004 - characters
        problems.append("$.name: from 1 to 64 characters")
    if not 1 <= rule.max_uses <= MAX_INSTALLS:
        problems.append(f"$.max_uses: from 1 to {MAX_INSTALLS}")
    if rule.disk_count is not None and not 0 <= rule.disk_count <= 256:  # noqa: PLR2004 - what a report may hold
        problems.append("$.disk_count: from 0 to 256")
    if rule.idc:
        try:
            check_idc(rule.idc)
        except Invalid as error:
            problems.append(f"$.{error.message}")
    if problems:
        raise Invalid("; ".join(problem.removeprefix("$.") for problem in problems), problems=problems)


def matches(rule: ApprovalRule, task: Task | TaskRow, machine: Machine) -> bool:
    """Whether a rule approves this task on this machine, and has uses left."""
    hardware = machine.hardware
    if hardware is None or not rule.is_enabled or rule.used >= rule.max_uses:
        return False
    model = f"{hardware.vendor} {hardware.product}".lower()
    return (
        rule.idc in {"", task.idc}
        and all(task.tags.get(key) == value for key, value in rule.tags.items())
        and rule.model.lower() in model
        and rule.disk_count in {None, len([disk for disk in hardware.disks if not disk.is_removable])}
    )


def first_match(rules: Sequence[ApprovalRule], task: Task | TaskRow, machine: Machine) -> ApprovalRule | None:
    """Return the oldest rule that matches."""
    ordered = sorted(rules, key=lambda rule: (str(rule.created_at), rule.id))
    return next((rule for rule in ordered if matches(rule, task, machine)), None)

"""HTTP of tasks and approval rules: parse, call, answer."""

import secrets

from ops_system.master.provisioning.approving import Approvals
from ops_system.master.provisioning.mirror import Key
from ops_system.master.provisioning.service import Provisioning
from ops_system.master.provisioning.shapes import (
    ApprovalRule,
    ApprovalRulePatch,
    BulkAnswer,
    BulkOrder,
    DryRun,
    DryRunBody,
    NewApprovalRule,
    TaskLogView,
    TaskOrder,
    TaskQuery,
    TaskView,
    WhyBody,
)
from ops_system.master.web.route import Call, ListQuery, Nothing, Page, Permission, Route
from ops_system.model.ids import spell_id
from ops_system.model.tasks import ApproveCall

_TAG = "tasks"
_ONE = "/tasks/{idc}/{sn}"


def key_of(call: Call) -> Key:
    """Return which machine a path names."""
    return call.params["idc"], call.params["sn"]


def routes(service: Provisioning) -> list[Route]:
    """Return the routes of `/tasks`."""
    return [*_looking(service), *_making(service), *_acting(service)]


def _looking(service: Provisioning) -> list[Route]:
    async def list_tasks(call: Call) -> Page[TaskView]:
        return await service.list_page(call.query, call.principal)

    async def get_task(call: Call) -> TaskView:
        return await service.get(key_of(call), call.principal)

    async def get_task_by_id(call: Call) -> TaskView:
        return await service.get_by_id(call.params["task_id"], call.principal)

    async def get_task_log(call: Call) -> TaskLogView:
        return await service.read_log(key_of(call), call.principal)

    async def dry_run_task(call: Call) -> DryRun:
        return await service.dry_run(key_of(call), call.body, call.principal)

    return [
        Route(
            "GET",
            "/tasks",
            Permission.VIEW,
            list_tasks,
            "List installations, newest first, without their logs",
            "list_tasks",
            answer=Page[TaskView],
            query=TaskQuery,
            tag=_TAG,
            errors=("invalid",),
        ),
        Route(
            "GET",
            _ONE,
            Permission.VIEW,
            get_task,
            "Show the installation of a machine",
            "get_task",
            answer=TaskView,
            tag=_TAG,
            errors=("not_found",),
        ),
        Route(
            "GET",
            "/tasks/{task_id}",
            Permission.VIEW,
            get_task_by_id,
            "Show an installation by its id",
            "get_task_by_id",
            answer=TaskView,
            tag=_TAG,
            errors=("not_found",),
        ),
        Route(
            "GET",
            f"{_ONE}/log",
            Permission.VIEW,
            get_task_log,
            "Read the whole log of an installation",
            "get_task_log",
            answer=TaskLogView,
            tag=_TAG,
            errors=("not_found",),
        ),
        Route(
            "POST",
            f"{_ONE}/dry-run",
            Permission.VIEW,
            dry_run_task,
            "Show the exact steps an installation would take; nothing is done",
            "dry_run_task",
            answer=DryRun,
            body=DryRunBody,
            tag=_TAG,
            errors=("not_found", "not_allowed", "invalid"),
        ),
    ]


def _making(service: Provisioning) -> list[Route]:
    async def create_task(call: Call) -> TaskView:
        return await service.create(call.body, call.principal)

    async def create_tasks(call: Call) -> BulkAnswer:
        return await service.create_many(call.body, call.principal)

    async def delete_task(call: Call) -> Nothing:
        await service.delete(key_of(call), call.principal)
        return Nothing()

    return [
        Route(
            "POST",
            "/tasks",
            Permission.OPERATE,
            create_task,
            "Install an operating system on a machine: nothing is written before an approval",
            "create_task",
            answer=TaskView,
            body=TaskOrder,
            status=201,
            tag=_TAG,
            errors=("invalid", "conflict", "not_found", "not_allowed", "forbidden"),
        ),
        Route(
            "POST",
            "/tasks/bulk",
            Permission.OPERATE,
            create_tasks,
            "Install many machines from rows or a CSV table: all or none, every fault told at once",
            "create_tasks",
            answer=BulkAnswer,
            body=BulkOrder,
            tag=_TAG,
            errors=("invalid", "conflict", "too_large"),
        ),
        Route(
            "DELETE",
            _ONE,
            Permission.OPERATE,
            delete_task,
            "Remove an installation that has ended, or has not begun, with its log",
            "delete_task",
            tag=_TAG,
            errors=("not_found", "not_allowed"),
        ),
    ]


def _acting(service: Provisioning) -> list[Route]:
    async def approve_task(call: Call) -> TaskView:
        return await service.approve(key_of(call), call.body, call.principal)

    async def reject_task(call: Call) -> TaskView:
        return await service.reject(key_of(call), call.body, call.principal)

    async def cancel_task(call: Call) -> TaskView:
        return await service.cancel(key_of(call), call.body, call.principal)

    async def retry_task(call: Call) -> TaskView:
        return await service.retry(key_of(call), call.body, call.principal)

    acts = (
        ("reject", reject_task, "Refuse to wipe the machine"),
        ("cancel", cancel_task, "End an installation; an agent that writes stops before its next step"),
        ("retry", retry_task, "Begin again: the machine boots, reports and waits for approval anew"),
    )
    approve = Route(
        "POST",
        f"{_ONE}/approve",
        Permission.WIPE_APPROVE,
        approve_task,
        "Allow named disks of a machine to be wiped, for 30 minutes and once",
        "approve_task",
        answer=TaskView,
        body=ApproveCall,
        needs_step_up=True,
        tag=_TAG,
        errors=("not_found", "not_allowed", "conflict", "invalid"),
    )
    others = [
        Route(
            "POST",
            f"{_ONE}/{act}",
            Permission.OPERATE,
            handler,
            summary,
            f"{act}_task",
            answer=TaskView,
            body=WhyBody,
            tag=_TAG,
            errors=("not_found", "not_allowed"),
        )
        for act, handler, summary in acts
    ]
    return [approve, *others]


def rule_routes(approvals: Approvals) -> list[Route]:
    """Return the routes of `/approval-rules`."""

    async def list_rules(call: Call) -> Page[ApprovalRule]:
        return await approvals.list_rules(call.query)

    async def create_rule(call: Call) -> ApprovalRule:
        return await approvals.create_rule(call.body, call.principal, spell_id("arule", secrets.token_bytes(10)))

    async def get_rule(call: Call) -> ApprovalRule:
        return await approvals.get_rule(call.params["id"])

    async def patch_rule(call: Call) -> ApprovalRule:
        return await approvals.change_rule(call.params["id"], call.body, call.principal)

    async def delete_rule(call: Call) -> Nothing:
        await approvals.delete_rule(call.params["id"], call.principal)
        return Nothing()

    return [
        Route(
            "GET",
            "/approval-rules",
            Permission.VIEW,
            list_rules,
            "List the rules that approve machines without asking",
            "list_approval_rules",
            answer=Page[ApprovalRule],
            query=ListQuery,
            tag=_TAG,
            errors=("invalid",),
        ),
        Route(
            "POST",
            "/approval-rules",
            Permission.WIPE_APPROVE,
            create_rule,
            "Approve machines without asking, up to a count",
            "create_approval_rule",
            answer=ApprovalRule,
            body=NewApprovalRule,
            status=201,
            needs_step_up=True,
            tag=_TAG,
            errors=("invalid",),
        ),
        Route(
            "GET",
            "/approval-rules/{id}",
            Permission.VIEW,
            get_rule,
            "Show one approval rule",
            "get_approval_rule",
            answer=ApprovalRule,
            tag=_TAG,
            errors=("not_found",),
        ),
        Route(
            "PATCH",
            "/approval-rules/{id}",
            Permission.WIPE_APPROVE,
            patch_rule,
            "Change an approval rule",
            "patch_approval_rule",
            answer=ApprovalRule,
            body=ApprovalRulePatch,
            needs_step_up=True,
            tag=_TAG,
            errors=("not_found", "invalid"),
        ),
        Route(
            "DELETE",
            "/approval-rules/{id}",
            Permission.WIPE_APPROVE,
            delete_rule,
            "Remove an approval rule",
            "delete_approval_rule",
            tag=_TAG,
            errors=("not_found",),
        ),
    ]

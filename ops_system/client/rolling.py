"""The commands on operations and rollouts."""

from ops_system.client.acts import Act, act, by_query, in_body
from ops_system.client.render import Column, age, count, reason, stamp
from ops_system.model.kinds import BOOL, TEXT, integer

OPERATIONS = (
    Column("ID", "id"),
    Column("STATE", "state"),
    Column("KIND", "kind"),
    Column("TITLE", "title"),
    Column("TARGETS", "targets", count, is_number=True),
    Column("BY", "created_by"),
    Column("AGE", "created_at", age, is_number=True),
    Column("ERROR", "error", reason),
)
_LOG = (
    Column("AT", "at", stamp),
    Column("TARGET", "target_name"),
    Column("STATE", "state"),
    Column("STEP", "step"),
    Column("WHAT", "reason.message"),
)
_ROLLOUTS = (
    Column("OPERATION", "operation_id"),
    Column("FROM", "from_version"),
    Column("TO", "to_version"),
    Column("STATE", "state"),
    Column("RETURNED", "reverted"),
    Column("BY", "created_by"),
    Column("AGE", "created_at", age, is_number=True),
    Column("NOTE", "note"),
    Column("WHY", "failure.message"),
)
STRATEGY = (
    in_body("strategy.max_parallel", "instances at once", integer(1), flag="max-parallel"),
    in_body("strategy.canary", "instances in the first wave", integer(0), flag="canary"),
    in_body("strategy.bake_s", "seconds each wave is watched", integer(0), flag="bake"),
    in_body("strategy.auto_revert", "1: return by itself when it fails", BOOL, flag="auto-revert"),
)
_OPERATIONS = (
    act(
        "operations list",
        "GET /operations",
        ("list operations, the newest first", "列出操作，最新的在前"),
        fields=(
            by_query("state", "running,failed,…"),
            by_query("kind", "a part of it"),
            by_query("target", "id of a node, instance, …"),
        ),
        columns=OPERATIONS,
        default_limit=50,
    ),
    act("operations show", "GET /operations/{id}", ("show one operation", "显示一个操作"), "OPERATION"),
    act(
        "operations log",
        "GET /operations/{id}/log",
        ("what happened to it, the newest first", "操作日志，最新的在前"),
        "OPERATION",
        columns=_LOG,
        default_limit=100,
    ),
    act(
        "operations cancel",
        "POST /operations/{id}/cancel",
        ("take back what can be taken back", "取消"),
        "OPERATION",
        confirm=("what has not begun does not begin", "尚未开始的部分不再开始"),
    ),
    act(
        "operations retry",
        "POST /operations/{id}/retry",
        ("do the failed part again", "重试失败的部分"),
        "OPERATION",
        follows=True,
    ),
    act("operations pause", "POST /operations/{id}/pause", ("begin nothing new", "暂停"), "OPERATION"),
    act("operations resume", "POST /operations/{id}/resume", ("go on", "继续"), "OPERATION"),
)
ROLLOUT_START = act(
    "rollout start",
    "POST /modules/{id}/rollout",
    ("bring a version onto all instances of a module", "把一个版本发布到模块的全部实例"),
    "MODULE",
    "VERSION:version",
    fields=(*STRATEGY, in_body("note", "why", TEXT)),
    takes_file=True,
    follows=True,
)
_ROLLOUT = (
    ROLLOUT_START,
    act(
        "rollout plan",
        "POST /modules/{id}/plan",
        ("what a rollout would change and what is in the way; nothing is done", "预览发布；不做任何改动"),
        "MODULE",
        "VERSION:version",
        fields=STRATEGY,
        takes_file=True,
        verdict="is_possible",
    ),
    act(
        "rollout history",
        "GET /modules/{id}/rollouts",
        ("rollouts of a module", "模块的发布历史"),
        "MODULE",
        columns=_ROLLOUTS,
        default_limit=50,
    ),
    act("rollout pause", "POST /operations/{id}/pause", ("begin no further wave", "不再开始新的批次"), "OPERATION"),
    act("rollout resume", "POST /operations/{id}/resume", ("go on", "继续"), "OPERATION"),
    act(
        "rollout cancel",
        "POST /operations/{id}/cancel",
        ("stop and take back", "中止并回退"),
        "OPERATION",
        confirm=("what was upgraded goes back", "已升级的将回退"),
    ),
)

ROLLING: tuple[Act, ...] = (*_OPERATIONS, *_ROLLOUT)

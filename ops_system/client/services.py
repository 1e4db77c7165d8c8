"""The commands on packages, systems, modules, instances and the operations they make."""

from ops_system.cli import BOOL, LABELS, TEXT, integer
from ops_system.client.acts import Act, act, by_query, in_body, names
from ops_system.client.render import Column, age, count, percent, reason, size

PACKAGES = (
    Column("NAME", "name"),
    Column("VERSION", "version"),
    Column("OS", "manifest.os"),
    Column("ARCH", "manifest.arch"),
    Column("SIZE", "size_bytes", size, is_number=True),
    Column("BY", "created_by"),
    Column("AGE", "created_at", age, is_number=True),
)
SYSTEMS = (
    Column("NAME", "name"),
    Column("MODULES", "modules", is_number=True),
    Column("DESCRIPTION", "description"),
    Column("AGE", "created_at", age, is_number=True),
    Column("ID", "id"),
)
MODULES = (
    Column("NAME", "name"),
    Column("PACKAGE", "package"),
    Column("VERSION", "version"),
    Column("ORDER", "start_order", is_number=True),
    Column("AFTER", "depends_on"),
    Column("REPLICAS", "replicas", is_number=True),
    Column("LABELS", "placement.labels"),
    Column("ID", "id"),
)
INSTANCES = (
    Column("NAME", "name"),
    Column("NODE", "node_name|node_id"),
    Column("SYSTEM", "system_name|system_id"),
    Column("STATE", "state"),
    Column("HEALTH", "health"),
    Column("VERSION", "version"),
    Column("CPU", "metrics.cpu_percent", percent, is_number=True),
    Column("MEM", "metrics.mem_bytes", size, is_number=True),
    Column("RESTARTS", "restarts", is_number=True),
    Column("UP", "started_at", age, is_number=True),
    Column("REASON", "reason.message"),
    Column("ID", "id"),
)
_EVENTS = (
    Column("WHEN", "at", age, is_number=True),
    Column("STATE", "state"),
    Column("HEALTH", "health"),
    Column("PID", "pid", is_number=True),
    Column("WHAT", "reason.message"),
)
_CRASHES = (
    Column("WHEN", "at", age, is_number=True),
    Column("EXIT", "exit_signal|exit_code", is_number=True),
    Column("VERSION", "version"),
    Column("RESTARTS", "restarts", is_number=True),
    Column("OOM", "oom_killed"),
    Column("WHY", "reason.message"),
)
_LOG_FILES = (
    Column("NAME", "name"),
    Column("SIZE", "size_bytes", size, is_number=True),
    Column("WRITTEN", "modified_at", age, is_number=True),
)
_HITS = (Column("OFFSET", "offset", is_number=True), Column("AT", "at"), Column("TEXT", "text"))
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
_MODULE = (
    in_body("start_order", "lower starts first", integer(0), flag="order"),
    names("depends_on", "names of modules that start before", flag="after"),
    in_body("replicas", "instances; not given: one on every node that fits", integer(0)),
    in_body("placement.labels", "only nodes with these labels", LABELS, flag="labels"),
    in_body("env", "environment: K=v,…", LABELS),
    in_body("env_secrets", "secret environment: K=v,…", LABELS, flag="secrets"),
)
_SERIES = (
    by_query("series", "names by commas"),
    by_query("from", "Unix seconds"),
    by_query("to", "Unix seconds"),
    by_query("step_s", "seconds a point", integer(1), flag="step"),
    by_query("agg", "avg or max"),
)
_DESTROY = ("its processes are stopped, its files and data are removed", "将停止其进程并删除其文件和数据")

_PACKAGES = (
    act(
        "packages list",
        "GET /packages",
        ("list packages", "列出服务包"),
        fields=(by_query("name", "this one alone"),),
        columns=PACKAGES,
    ),
    act(
        "packages show",
        "GET /packages/{name}/{version}",
        ("show one version", "显示一个版本"),
        "PACKAGE:name",
        "VERSION:version",
    ),
    act(
        "packages download",
        "GET /packages/{name}/{version}/download",
        ("save a version's zip", "下载一个版本的 zip"),
        "PACKAGE:name",
        "VERSION:version",
        saves=True,
    ),
    act(
        "packages delete",
        "DELETE /packages/{name}/{version}",
        ("remove a version that nothing uses", "删除未被使用的版本"),
        "PACKAGE:name",
        "VERSION:version",
        confirm=("its zip is removed from the master", "将从主控删除其 zip"),
    ),
)
_SYSTEMS = (
    act("systems list", "GET /systems", ("list systems", "列出系统"), columns=SYSTEMS),
    act("systems show", "GET /systems/{id}", ("show one system", "显示一个系统"), "SYSTEM"),
    act(
        "systems create",
        "POST /systems",
        ("make an empty system", "新建空系统"),
        "NAME:name",
        fields=(in_body("description"),),
    ),
    act(
        "systems edit",
        "PATCH /systems/{id}",
        ("rename or describe a system", "修改系统"),
        "SYSTEM",
        fields=(in_body("name", "the new name"), in_body("description")),
        takes_file=True,
    ),
    act(
        "systems delete",
        "DELETE /systems/{id}",
        ("remove a system that has no instances", "删除没有实例的系统"),
        "SYSTEM",
        confirm=("its modules are removed with it", "其模块将一并删除"),
    ),
    act(
        "systems export",
        "GET /systems/{id}/export",
        ("a system as a YAML document, for git", "把系统导出为 YAML 文档"),
        "SYSTEM",
        saves=True,
    ),
    *(
        act(
            f"systems {verb}",
            "POST /systems/{id}/actions",
            help_,
            "SYSTEM",
            body={"action": verb},
            follows=True,
            confirm=confirm,
        )
        for verb, help_, confirm in (
            ("deploy", ("make what is missing and start everything, in order", "按顺序补齐并启动全部实例"), None),
            ("start", ("start everything, in order", "按顺序启动"), None),
            ("stop", ("stop everything, backwards", "逆序停止"), ("all its instances stop", "其全部实例将停止")),
            (
                "restart",
                ("restart everything, in order", "按顺序重启"),
                ("there is a gap of service", "服务将中断片刻"),
            ),
            ("destroy", ("stop and remove every instance", "停止并移除全部实例"), _DESTROY),
        )
    ),
)
_MODULES = (
    act("modules list", "GET /systems/{id}/modules", ("modules of a system", "系统的模块"), "SYSTEM", columns=MODULES),
    act("modules show", "GET /modules/{id}", ("show one module (SYSTEM/NAME)", "显示一个模块(SYSTEM/NAME)"), "MODULE"),
    act(
        "modules create",
        "POST /systems/{id}/modules",
        ("add a module to a system", "为系统添加模块"),
        "SYSTEM",
        "NAME:name",
        "PACKAGE:package?",
        "VERSION:version?",
        fields=_MODULE,
        takes_file=True,
    ),
    act(
        "modules edit",
        "PATCH /modules/{id}",
        ("change a module; instances follow at their next deploy", "修改模块;实例在下次部署时生效"),
        "MODULE",
        fields=(
            in_body("name", "the new name"),
            in_body("package", "name of the package"),
            in_body("version", "its version", flag="package-version"),
            *_MODULE,
        ),
        takes_file=True,
    ),
    act(
        "modules delete",
        "DELETE /modules/{id}",
        ("remove a module that has no instances", "删除没有实例的模块"),
        "MODULE",
        confirm=("its definition is removed", "其定义将被删除"),
    ),
)
_INSTANCES = (
    act(
        "instances list",
        "GET /instances",
        ("list instances", "列出实例"),
        fields=(
            by_query("state", "running,failed,…"),
            by_query("desired", "running or stopped"),
            by_query("system_id", "id of a system", flag="system"),
            by_query("module_id", "id of a module", flag="module"),
            by_query("node_id", "id of a node", flag="node"),
            by_query("package"),
            by_query("version", flag="package-version"),
        ),
        columns=INSTANCES,
        joins=("node", "system"),
    ),
    act("instances show", "GET /instances/{id}", ("show one instance (id or NAME@NODE)", "显示一个实例"), "INSTANCE"),
    act(
        "instances deploy",
        "POST /instances",
        ("run a module on a node", "把模块部署到节点"),
        "MODULE:module_id",
        "NODE:node_id",
        follows=True,
    ),
    *(
        act(
            f"instances {verb}",
            f"POST /instances/{{id}}/{verb}",
            help_,
            "INSTANCE:id*",
            follows=True,
            confirm=confirm,
        )
        for verb, help_, confirm in (
            ("start", ("start", "启动"), None),
            ("stop", ("stop: the signal, the grace, the whole tree", "停止"), ("its processes stop", "其进程将停止")),
            ("restart", ("stop and start", "重启"), None),
            (
                "kill",
                ("end its processes at once", "强制终止"),
                ("no grace: data may be lost", "没有宽限,可能丢失数据"),
            ),
        )
    ),
    act("instances reload", "POST /instances/{id}/reload", ("run its reload command", "执行重载命令"), "INSTANCE"),
    act(
        "instances destroy",
        "DELETE /instances/{id}",
        ("stop and remove", "停止并移除"),
        "INSTANCE:id*",
        query={"stop": "1"},
        fields=(by_query("force", "1: also when its node is away", BOOL),),
        follows=True,
        confirm=_DESTROY,
    ),
    act(
        "instances adopt",
        "POST /instances/adopt",
        ("take a running process into care (--file)", "纳管运行中的进程(--file)"),
        takes_file=True,
        follows=True,
    ),
    act(
        "instances release",
        "POST /instances/{id}/release",
        ("let go of it without a signal", "解除纳管,不发信号"),
        "INSTANCE",
        follows=True,
        confirm=("it goes on without care", "它将继续运行但不再受管"),
    ),
    act(
        "instances events",
        "GET /instances/{id}/events",
        ("its timeline", "时间线"),
        "INSTANCE",
        columns=_EVENTS,
        default_limit=50,
    ),
    act(
        "instances crashes",
        "GET /instances/{id}/crashes",
        ("its crashes", "崩溃记录"),
        "INSTANCE",
        columns=_CRASHES,
        is_whole=True,
    ),
    act("instances metrics", "GET /instances/{id}/metrics", ("measured values", "指标"), "INSTANCE", fields=_SERIES),
    act(
        "instances files",
        "GET /instances/{id}/logs",
        ("its logs", "日志文件"),
        "INSTANCE",
        columns=_LOG_FILES,
        is_whole=True,
    ),
    act(
        "instances download",
        "GET /instances/{id}/logs/{name}/download",
        ("save a whole log", "下载整个日志"),
        "INSTANCE",
        "LOG:name",
        fields=(by_query("gzip", "1: packed", BOOL),),
        saves=True,
    ),
    act(
        "instances grep",
        "GET /instances/{id}/logs/{name}/search",
        ("search a whole log", "搜索整个日志"),
        "INSTANCE",
        "LOG:name",
        "TEXT:q",
        fields=(
            by_query("regex", "1: a regular expression", BOOL),
            by_query("nocase", "1: capitals do not matter", BOOL),
            by_query("forward", "1: the oldest first", BOOL),
            by_query("start", "offset to go on from", integer(0)),
            by_query("since", "not before (RFC 3339)"),
            by_query("until", "not after (RFC 3339)"),
            by_query("limit", "hits at most", integer(1)),
        ),
        columns=_HITS,
        is_whole=True,
    ),
)
_OPERATIONS = (
    act(
        "operations list",
        "GET /operations",
        ("list operations, the newest first", "列出操作,最新的在前"),
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
        ("what a rollout would change and what is in the way; nothing is done", "预览发布;不做任何改动"),
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
SERVICES: tuple[Act, ...] = (*_PACKAGES, *_SYSTEMS, *_MODULES, *_INSTANCES, *_OPERATIONS, *_ROLLOUT)

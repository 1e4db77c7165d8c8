"""The commands on systems, modules and instances."""

from ops_system.client.acts import Act, act, by_query, in_body, names
from ops_system.client.render import Column, age, percent, size
from ops_system.model.kinds import BOOL, LABELS, integer

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
_MERGED_HITS = (Column("INSTANCE", "instance_id"), Column("AT", "at"), Column("TEXT", "text"))
_HITS = (Column("OFFSET", "offset", is_number=True), Column("AT", "at"), Column("TEXT", "text"))
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
_SEARCH = (
    by_query("regex", "1: a regular expression", BOOL),
    by_query("nocase", "1: capitals do not matter", BOOL),
    by_query("start", "where to go on: next of the answer"),
    by_query("since", "not before (RFC 3339)"),
    by_query("until", "not after (RFC 3339)"),
    by_query("limit", "hits at most", integer(1)),
)
_DESTROY = ("its processes are stopped, its files and data are removed", "将停止其进程并删除其文件和数据")

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
    act("modules show", "GET /modules/{id}", ("show one module (SYSTEM/NAME)", "显示一个模块 SYSTEM/NAME"), "MODULE"),
    act(
        "modules env",
        "GET /modules/{id}/environment",
        ("its variables and where each comes from", "环境变量及其来源"),
        "MODULE",
    ),
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
        ("change a module; instances follow at their next deploy", "修改模块；实例在下次部署时生效"),
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
                ("no grace: data may be lost", "没有宽限，可能丢失数据"),
            ),
        )
    ),
    act(
        "instances reload",
        "POST /instances/{id}/reload",
        ("run its reload command", "执行重载命令"),
        "INSTANCE",
        verdict="exit_code=0",
    ),
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
        ("take a running process into care (--file)", "纳管运行中的进程（--file）"),
        takes_file=True,
        follows=True,
    ),
    act(
        "instances release",
        "POST /instances/{id}/release",
        ("let go of it without a signal", "解除纳管，不发信号"),
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
    act(
        "instances env",
        "GET /instances/{id}/environment",
        ("its variables and where each comes from", "环境变量及其来源"),
        "INSTANCE",
    ),
    act(
        "instances set-env",
        "PATCH /instances/{id}/environment",
        ("variables of this instance alone", "设置此实例自己的环境变量"),
        "INSTANCE",
        fields=(
            in_body("env", "K=v,…", LABELS),
            in_body("env_secrets", "secret ones: K=v,…", LABELS, flag="secrets"),
        ),
        takes_file=True,
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
            *_SEARCH,
            by_query("forward", "1: the oldest first", BOOL),
        ),
        columns=_HITS,
        is_whole=True,
    ),
)
_MERGED = tuple(
    act(
        f"{noun}s grep",
        f"GET /{noun}s/{{id}}/logs/{{name}}/search",
        ("search the logs of all its instances", "搜索全部实例的日志"),
        noun.upper(),
        "LOG:name",
        "TEXT:q",
        fields=_SEARCH,
        columns=_MERGED_HITS,
        is_whole=True,
    )
    for noun in ("module", "system")
)
SERVICES: tuple[Act, ...] = (*_SYSTEMS, *_MODULES, *_INSTANCES, *_MERGED)

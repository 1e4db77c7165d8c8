"""The commands on installations of bare machines: tasks, machines, data centres, rules of approval."""

from ops_system.client.acts import Act, act, by_query, in_body, names
from ops_system.client.render import Column, age, size
from ops_system.model.kinds import BOOL, LABELS, choice, integer

_TASKS = (
    Column("IDC", "idc"),
    Column("SN", "sn"),
    Column("STATUS", "status"),
    Column("OS", "os_type"),
    Column("VERSION", "os_version"),
    Column("NODE", "node_id"),
    Column("WHY", "reason.message"),
    Column("CHANGED", "updated_at", age, is_number=True),
    Column("BY", "created_by"),
)
_MACHINES = (
    Column("IDC", "idc"),
    Column("SN", "sn"),
    Column("STATUS", "status"),
    Column("PRODUCT", "hardware.product"),
    Column("CPU", "hardware.cpu_model"),
    Column("MEMORY", "hardware.mem_total_bytes", size, is_number=True),
    Column("AGENT", "is_agent_alive"),
    Column("QUARANTINED", "quarantined"),
    Column("SEEN", "last_seen_at", age, is_number=True),
)
_SERVERS = (
    Column("SN", "sn"),
    Column("STATUS", "status"),
    Column("MAC", "mac"),
    Column("OS", "os_type"),
    Column("VERSION", "os_version"),
    Column("ADDED", "added_at", age, is_number=True),
)
_IDCS = (
    Column("IDC", "idc"),
    Column("NAME", "settings.name"),
    Column("ALIVE", "is_alive"),
    Column("CLIENT", "info.hostname"),
    Column("VERSION", "info.version"),
    Column("DHCP", "info.dhcp"),
    Column("WAITING", "counts.pending_approval", is_number=True),
    Column("INSTALLING", "counts.installing", is_number=True),
    Column("MACHINES", "counts.machines", is_number=True),
)
_RULES = (
    Column("NAME", "name"),
    Column("IDC", "idc"),
    Column("MODEL", "model"),
    Column("USED", "used", is_number=True),
    Column("OF", "max_uses", is_number=True),
    Column("ENABLED", "is_enabled"),
    Column("ID", "id"),
)
_ONE = "IDC:idc", "SN:sn"
_REASON = in_body("reason", "why, for the record")
_DISKS = names("disks", "serial or WWN of each disk that may be wiped")
_WIPES = (
    "the named disks of this machine may be wiped within 30 minutes, once",
    "30 分钟内允许清除此机器上指定的磁盘一次",
)


def _acting(verb: str, help_: tuple[str, str], confirm: tuple[str, str] | None = None) -> Act:
    return act(f"tasks {verb}", f"POST /tasks/{{idc}}/{{sn}}/{verb}", help_, *_ONE, fields=(_REASON,), confirm=confirm)


_TASK_ACTS = (
    act(
        "tasks list",
        "GET /tasks",
        ("list installations", "列出装机任务"),
        fields=(by_query("idc", "of one data centre"), by_query("status", "of these, divided by commas")),
        columns=_TASKS,
    ),
    act("tasks show", "GET /tasks/{idc}/{sn}", ("show the installation of a machine", "显示机器的装机任务"), *_ONE),
    act("tasks find", "GET /tasks/{task_id}", ("show an installation by its id", "按 ID 显示装机任务"), "TASK:task_id"),
    act("tasks log", "GET /tasks/{idc}/{sn}/log", ("read its whole log", "读取完整日志"), *_ONE),
    act(
        "tasks dry-run",
        "POST /tasks/{idc}/{sn}/dry-run",
        ("the exact steps; nothing is done", "显示将执行的步骤，不做任何操作"),
        *_ONE,
        fields=(names("disks", "which disks would be written"),),
    ),
    act(
        "tasks create",
        "POST /tasks",
        ("install a machine; nothing is written before an approval", "新建装机任务；批准之前不写磁盘"),
        fields=(
            in_body("idc", "the data centre"),
            in_body("sn", "serial number of the machine"),
            in_body("mac", "of the card it boots from"),
            in_body("os_type", "such as Debian", flag="os"),
            in_body("os_version", "such as 12"),
            in_body("profile", "an install profile"),
            in_body("hostname", "of the new system"),
            in_body("tags", "key=value,…", LABELS),
            in_body("power", "auto: its BMC boots it from the network", choice("manual", "auto")),
        ),
        takes_file=True,
    ),
    act(
        "tasks import",
        "POST /tasks/bulk",
        ("install many machines from a table: all or none", "从表格批量新建装机任务：全部成功或全部不做"),
        fields=(
            in_body("csv", "@FILE: the table, with a heading"),
            in_body("idc", "for rows without one"),
            in_body("dry_run", "1: only look for faults", BOOL),
        ),
    ),
    act(
        "tasks approve",
        "POST /tasks/{idc}/{sn}/approve",
        ("allow named disks of a machine to be wiped", "批准清除机器上指定的磁盘"),
        *_ONE,
        fields=(
            _DISKS,
            in_body("inventory_hash", "of the inventory that was looked at"),
            in_body("notes", "for the record"),
            names("overwrite_foreign", "those that may lose the signature of another cluster"),
        ),
        confirm=_WIPES,
    ),
    _acting("reject", ("refuse to wipe the machine", "拒绝清除磁盘")),
    _acting(
        "cancel",
        ("end an installation", "取消装机"),
        ("an agent that writes stops before its next step", "正在写盘的代理会在下一步之前停下"),
    ),
    _acting("retry", ("begin again", "重新开始")),
    act(
        "tasks delete",
        "DELETE /tasks/{idc}/{sn}",
        ("remove an installation with its log", "删除装机任务及其日志"),
        *_ONE,
        confirm=("its log goes with it", "其日志将一并删除"),
    ),
)
_MACHINE_ACTS = (
    act("machines list", "GET /machines/{idc}", ("list machines", "列出机器"), "IDC:idc", columns=_MACHINES),
    act("machines show", "GET /machines/{idc}/{sn}", ("a machine as it reported itself", "显示机器上报的硬件"), *_ONE),
    act(
        "servers list",
        "GET /servers/{idc}",
        ("the queue of a data centre", "机房的装机队列"),
        "IDC:idc",
        columns=_SERVERS,
    ),
    act("unmatched list", "GET /unmatched", ("machines without a task", "没有任务的机器"), columns=_MACHINES),
    act(
        "unmatched of",
        "GET /unmatched/{idc}",
        ("the same of one place", "某机房中没有任务的机器"),
        "IDC:idc",
        columns=_MACHINES,
    ),
    act(
        "unmatched forget",
        "DELETE /unmatched/{idc}/{sn}",
        ("forget a machine until it reports again", "忘记机器，直到它再次上报"),
        *_ONE,
    ),
)
_SETTINGS = (
    in_body("name", "for people"),
    in_body("discovery", "1: unknown machines get the report-only agent", BOOL),
    in_body("max_installs", "at once", integer(0)),
    in_body("needs_second_approval", "1: two people approve a wipe", BOOL, flag="second-approval"),
    in_body("master_url", "where new systems call home"),
    names("protected_serials", "disks that are never written", flag="protect"),
)
_IDC_ACTS = (
    act("idcs list", "GET /idcs", ("list data centres", "列出机房"), columns=_IDCS),
    act(
        "idcs set",
        "PATCH /idcs/{idc}/settings",
        ("what holds for a data centre", "修改机房的设置"),
        "IDC:idc",
        fields=_SETTINGS,
    ),
    act("idcs stats", "GET /stats", ("count installations by status", "按状态统计装机任务")),
    act("idcs count", "GET /stats/{idc}", ("the same of one place", "统计一个机房"), "IDC:idc"),
)
_RULE = (
    in_body("name", "for people"),
    in_body("max_uses", "so many machines, no more", integer(1)),
    in_body("idc", "of this data centre; empty: any"),
    in_body("tags", "whose task has all of these", LABELS),
    in_body("model", "whose product name contains this"),
    in_body("disk_count", "with so many disks", integer(1)),
    in_body("is_enabled", "0: it approves nothing", BOOL, flag="enabled"),
)
_RULE_ACTS = (
    act("approval-rules list", "GET /approval-rules", ("rules that approve", "列出自动批准规则"), columns=_RULES),
    act("approval-rules show", "GET /approval-rules/{id}", ("show one", "显示一条规则"), "RULE:id"),
    act(
        "approval-rules create",
        "POST /approval-rules",
        ("approve machines without asking, up to a count", "新建自动批准规则，限定台数"),
        fields=_RULE,
        confirm=("machines that fit will be wiped without a question", "符合条件的机器将不经询问即被清除"),
    ),
    act("approval-rules set", "PATCH /approval-rules/{id}", ("change one", "修改规则"), "RULE:id", fields=_RULE),
    act("approval-rules delete", "DELETE /approval-rules/{id}", ("remove one", "删除规则"), "RULE:id"),
)
INSTALLS: tuple[Act, ...] = (*_TASK_ACTS, *_MACHINE_ACTS, *_IDC_ACTS, *_RULE_ACTS)

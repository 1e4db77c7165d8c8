"""The commands on backups and schedules."""

from ops_system.client.acts import Act, act, by_query, in_body
from ops_system.client.render import Column, age, size, stamp
from ops_system.model.kinds import BOOL, choice, integer

_BACKUPS = (
    Column("NAME", "name"),
    Column("PLACE", "place"),
    Column("SIZE", "size_bytes", size, is_number=True),
    Column("SEALED", "is_encrypted"),
    Column("PACKAGES", "has_artefacts"),
    Column("VERIFIED", "verified_at", age, is_number=True),
    Column("AGE", "created_at", age, is_number=True),
    Column("PROBLEM", "problem"),
)
_SCHEDULES = (
    Column("NAME", "name"),
    Column("KIND", "kind"),
    Column("CRON", "cron"),
    Column("ZONE", "timezone"),
    Column("PAUSED", "is_paused"),
    Column("NEXT", "next_at", age, is_number=True),
    Column("LAST", "last_run.outcome"),
    Column("OWNER", "owner.name"),
    Column("ID", "id"),
)
_SCHEDULE_RUNS = (
    Column("DUE", "due_at", stamp),
    Column("OUTCOME", "outcome"),
    Column("BY", "trigger"),
    Column("OPERATIONS", "operation_ids"),
    Column("WHY", "reason.message"),
)
_SCHEDULE = (
    in_body("kind", "what it does; ops schedules kinds lists them"),
    in_body("cron", "minute hour day month weekday"),
    in_body("timezone", "such as Asia/Shanghai"),
    in_body("missed", "a run that was missed: skip or once", choice("skip", "once")),
)
_PLACE = choice("local", "s3")
_PASSPHRASE = in_body("passphrase", "@FILE or -")
_ARTEFACTS = in_body("artefacts", "1: packages too", BOOL, flag="packages")

_BACKUP_ACTS = (
    act("backups list", "GET /backups", ("list backups", "列出备份"), columns=_BACKUPS),
    act("backups show", "GET /backups/{name}", ("show one backup", "显示一个备份"), "BACKUP:name"),
    act(
        "backups create",
        "POST /backups",
        ("make a backup while everything goes on", "在线备份"),
        fields=(in_body("place", "where it goes", _PLACE), _ARTEFACTS, _PASSPHRASE, in_body("note", "why")),
        follows=True,
    ),
    act(
        "backups verify",
        "POST /backups/{name}/verify",
        ("open a backup and look at everything in it", "校验备份"),
        "BACKUP:name",
        fields=(_PASSPHRASE,),
        follows=True,
    ),
    act(
        "backups restore",
        "POST /backups/{name}/restore",
        ("put a backup in the place of what is; --confirm NAME once more", "恢复备份；需 --confirm 再次写出名称"),
        "BACKUP:name",
        fields=(_PASSPHRASE, in_body("confirm", "the name of the backup"), _ARTEFACTS),
        follows=True,
        confirm=("everything since is gone, sessions end, the master restarts", "此后的一切将丢失，会话结束，主控重启"),
    ),
    act(
        "backups download",
        "GET /backups/{name}/download",
        ("save a backup", "下载备份"),
        "BACKUP:name",
        saves=True,
    ),
    act(
        "backups delete",
        "DELETE /backups/{name}",
        ("remove a backup", "删除备份"),
        "BACKUP:name",
        confirm=("it is gone for good", "删除后无法恢复"),
    ),
    act("backups settings", "GET /backups/settings", ("where, how many, how sealed", "备份设置")),
    act(
        "backups set",
        "PUT /backups/settings",
        ("change where, how many, how sealed", "修改备份设置"),
        fields=(
            in_body("place", "where they go", _PLACE),
            _ARTEFACTS,
            in_body("keep_count", "how many", integer(1)),
            in_body("keep_days", "for how long", integer(1)),
            _PASSPHRASE,
        ),
        takes_file=True,
    ),
    act("backups restored", "GET /backups/restored", ("what the last restore left to look at", "上次恢复的情况")),
)
_SCHEDULE_ACTS = (
    act(
        "schedules list",
        "GET /schedules",
        ("list schedules", "列出计划"),
        fields=(by_query("kind", "of this kind"),),
        columns=_SCHEDULES,
    ),
    act("schedules show", "GET /schedules/{id}", ("show one schedule", "显示一个计划"), "SCHEDULE"),
    act("schedules kinds", "GET /schedules/kinds", ("what can be scheduled", "可计划的任务类型")),
    act(
        "schedules preview",
        "POST /schedules/preview",
        ("when a cron line fires next", "预览下几次执行时间"),
        "CRON:cron",
        fields=(in_body("timezone", "such as Asia/Shanghai"),),
    ),
    act(
        "schedules create",
        "POST /schedules",
        ("make a schedule; what it does by --file or --set params.x=y", "新建计划；参数用 --file 或 --set params.x=y"),
        "NAME:name",
        fields=_SCHEDULE,
        takes_file=True,
    ),
    act(
        "schedules replace",
        "PUT /schedules/{id}",
        ("write a schedule anew (--file)", "改写计划（--file）"),
        "SCHEDULE",
        fields=(in_body("name", "its name"), *_SCHEDULE),
        takes_file=True,
    ),
    act("schedules pause", "POST /schedules/{id}/pause", ("let it rest", "暂停计划"), "SCHEDULE"),
    act("schedules resume", "POST /schedules/{id}/resume", ("let it go on", "恢复计划"), "SCHEDULE"),
    act("schedules run", "POST /schedules/{id}/run", ("run it now", "立即执行"), "SCHEDULE"),
    act(
        "schedules history",
        "GET /schedules/{id}/runs",
        ("its runs, the newest first", "执行历史"),
        "SCHEDULE",
        columns=_SCHEDULE_RUNS,
        default_limit=50,
    ),
    act(
        "schedules delete",
        "DELETE /schedules/{id}",
        ("remove a schedule", "删除计划"),
        "SCHEDULE",
        confirm=("it does not run again", "不再执行"),
    ),
)
KEEPING: tuple[Act, ...] = (*_BACKUP_ACTS, *_SCHEDULE_ACTS)

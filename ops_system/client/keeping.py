"""The commands on backups and schedules."""

from ops_system.cli import BOOL, choice, integer
from ops_system.client.acts import Act, act, in_body
from ops_system.client.render import Column, age, size

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
        ("put a backup in the place of what is; --confirm NAME once more", "恢复备份;需 --confirm 再次写出名称"),
        "BACKUP:name",
        fields=(_PASSPHRASE, in_body("confirm", "the name of the backup"), _ARTEFACTS),
        follows=True,
        confirm=("everything since is gone, sessions end, the master restarts", "此后的一切将丢失,会话结束,主控重启"),
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
KEEPING: tuple[Act, ...] = _BACKUP_ACTS

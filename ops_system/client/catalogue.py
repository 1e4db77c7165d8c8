"""The commands on packages and what is kept of them, templates of configuration, and variables."""

from ops_system.client.acts import Act, act, by_query, in_body, names
from ops_system.client.render import Column, age, size
from ops_system.model.kinds import BOOL, LABELS, integer

PACKAGES = (
    Column("NAME", "name"),
    Column("VERSION", "version"),
    Column("OS", "manifest.os"),
    Column("ARCH", "manifest.arch"),
    Column("SIZE", "size_bytes", size, is_number=True),
    Column("BY", "created_by"),
    Column("AGE", "created_at", age, is_number=True),
)
_USERS = (Column("KIND", "kind"), Column("NAME", "name"), Column("NODE", "node_id"), Column("ID", "id"))
_AGED = (
    Column("NAME", "name"),
    Column("VERSION", "version"),
    Column("SIZE", "size_bytes", size, is_number=True),
    Column("AGE", "created_at", age, is_number=True),
    Column("KEPT BY", "kept_by"),
)
_TEMPLATES = (
    Column("NAME", "name"),
    Column("FORMAT", "format"),
    Column("VERSION", "version", is_number=True),
    Column("APPROVED", "approved_version", is_number=True),
    Column("USED BY", "used_by"),
    Column("CHANGED", "updated_at", age, is_number=True),
    Column("BY", "updated_by"),
    Column("ID", "id"),
)
_VERSIONS = (
    Column("VERSION", "version", is_number=True),
    Column("AGE", "created_at", age, is_number=True),
    Column("BY", "created_by"),
    Column("APPROVED BY", "approved_by"),
    Column("NOTE", "note"),
)
_VARIABLES = (
    Column("OWNER", "owner"),
    Column("NAME", "name"),
    Column("VALUE", "value"),
    Column("SECRET", "is_secret"),
)
_KEEP = ("keep_versions", "versions of each package"), ("keep_days", "days")
_WHOM = (
    in_body("template_id", "id of a template", flag="template"),
    in_body("system_id", "id of a system", flag="system"),
    in_body("module_id", "id of a module", flag="module"),
    in_body("instance_id", "id of an instance", flag="instance"),
)

_PACKAGES = (
    act(
        "packages usage",
        "GET /packages/{name}/{version}/usage",
        ("what has a version, plans it or could return to it", "版本的使用者"),
        "PACKAGE:name",
        "VERSION:version",
        columns=_USERS,
        is_whole=True,
    ),
    act(
        "packages diff",
        "GET /packages/{name}/{version}/diff",
        ("compare a version with another", "比较两个版本"),
        "PACKAGE:name",
        "VERSION:version",
        "AGAINST:against",
    ),
    act(
        "packages tag",
        "PATCH /packages/{name}/{version}",
        ("tags, note and pin of a version", "设置版本的标签、备注与固定"),
        "PACKAGE:name",
        "VERSION:version",
        fields=(
            names("tags", "all its tags from now on"),
            in_body("note", "for people"),
            in_body("is_pinned", "1: never removed by retention", BOOL, flag="pin"),
        ),
    ),
    act("retention show", "GET /package-retention", ("which packages are kept", "服务包保留策略")),
    act(
        "retention set",
        "PUT /package-retention",
        ("choose which packages are kept", "设置服务包保留策略"),
        fields=(
            *(in_body(name, help_, integer(1)) for name, help_ in _KEEP),
            in_body("is_daily", "1: each night", BOOL, flag="daily"),
        ),
    ),
    act(
        "retention preview",
        "GET /package-retention/preview",
        ("what would go; nothing does", "预览将删除的版本"),
        fields=tuple(by_query(name, help_, integer(1)) for name, help_ in _KEEP),
        columns=_AGED,
        is_whole=True,
    ),
    act(
        "retention run",
        "POST /package-retention/run",
        ("remove what is not kept", "执行保留策略"),
        follows=True,
        confirm=("versions that nothing uses are removed for good", "未使用的版本将被永久删除"),
    ),
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
_TEMPLATE_ACTS = (
    act("templates list", "GET /config-templates", ("list templates", "列出配置模板"), columns=_TEMPLATES),
    act("templates show", "GET /config-templates/{id}", ("show one template", "显示一个模板"), "TEMPLATE"),
    act(
        "templates create",
        "POST /config-templates",
        ("make a template: --content @FILE", "新建模板：--content @FILE"),
        "NAME:name",
        fields=(
            in_body("format", "yaml, json, toml, properties, ini, text"),
            in_body("content", "@FILE or text"),
            in_body("description"),
            in_body("note", "why"),
            in_body("approve", "1: in use at once", BOOL),
        ),
    ),
    act(
        "templates describe",
        "PATCH /config-templates/{id}",
        ("describe a template", "修改模板说明"),
        "TEMPLATE",
        "TEXT:description",
    ),
    act(
        "templates write",
        "POST /config-templates/{id}/versions",
        ("a new version: --content @FILE", "新版本：--content @FILE"),
        "TEMPLATE",
        fields=(
            in_body("content", "@FILE or text"),
            in_body("base", "the version it was made from", integer(1)),
            in_body("note", "why"),
            in_body("approve", "1: in use at once", BOOL),
        ),
    ),
    act(
        "templates versions",
        "GET /config-templates/{id}/versions",
        ("its versions", "模板的版本"),
        "TEMPLATE",
        columns=_VERSIONS,
    ),
    act(
        "templates diff",
        "GET /config-templates/{id}/diff",
        ("compare two versions", "比较两个版本"),
        "TEMPLATE",
        "FROM:from",
        "TO:to",
    ),
    act(
        "templates approve",
        "POST /config-templates/{id}/versions/{version}/approve",
        ("put a version in use", "启用一个版本"),
        "TEMPLATE",
        "VERSION:version",
    ),
    act(
        "templates rollback",
        "POST /config-templates/{id}/rollback",
        ("make an older version the newest", "回滚到旧版本"),
        "TEMPLATE",
        fields=(in_body("version", "which", integer(1), flag="to-version"), in_body("note", "why")),
    ),
    act(
        "templates preview",
        "POST /config-templates/{id}/preview",
        ("as one instance would get it", "按实例预览渲染结果"),
        "TEMPLATE",
        "INSTANCE:instance_id",
        fields=(
            in_body("content", "instead of what is stored: @FILE"),
            in_body("version", "which", integer(1), flag="of-version"),
        ),
    ),
    act(
        "templates delete",
        "DELETE /config-templates/{id}",
        ("remove a template that nothing uses", "删除未被使用的模板"),
        "TEMPLATE",
        confirm=("all its versions are removed", "其全部版本将被删除"),
    ),
    act(
        "config plan",
        "POST /config/plan",
        ("which instances a change touches, and how", "变更影响的实例"),
        fields=(
            *_WHOM,
            in_body("content", "@FILE"),
            in_body("version", "of the template", integer(1), flag="of-version"),
        ),
    ),
    act(
        "config apply",
        "POST /config/apply",
        ("bring configuration to instances by reload or restart", "下发配置并重载或重启"),
        fields=(
            *_WHOM,
            in_body("version", "of the template", integer(1), flag="of-version"),
            in_body("max_parallel", "instances at once, inside one place of the start order", integer(1)),
        ),
        follows=True,
        confirm=("services reload or restart", "服务将重载或重启"),
    ),
    act(
        "variables list",
        "GET /variables",
        ("variables of a level", "某一级的变量"),
        fields=(by_query("owner", "id of a system, module or instance; not given: global"),),
        columns=_VARIABLES,
        is_whole=True,
    ),
    act(
        "variables set",
        "PATCH /variables",
        ("change variables of a level", "修改变量"),
        fields=(
            in_body("owner", "id of a system, module or instance; not given: global"),
            in_body("values", "NAME=value,…", LABELS),
            in_body("secrets", "NAME=value,…", LABELS),
        ),
        takes_file=True,
    ),
)
CATALOGUE: tuple[Act, ...] = (*_PACKAGES, *_TEMPLATE_ACTS)

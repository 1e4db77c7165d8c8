"""Commands that take more than one call: labels, apply and diff, rollouts, operations, and any route by its path."""

from ops_system.cli import EXIT_FAILED, EXIT_FINE, Argument, Flag
from ops_system.client.acts import FILE_FLAGS, GLOBAL_FLAGS, Act, Special, flags_of
from ops_system.client.connection import fill
from ops_system.client.desk import Desk
from ops_system.client.follow import follow, report
from ops_system.client.perform import body_of, read_document, read_text
from ops_system.client.render import Column
from ops_system.client.resolve import Names
from ops_system.client.rolling import ROLLOUT_START
from ops_system.client.shapes import Json
from ops_system.model.errors import Invalid, NotFound, UsageError
from ops_system.model.kinds import LABELS, SWITCH, TEXT, read_value
from ops_system.model.operations import ENDED

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_CHANGES = (Column("WHERE", "path"), Column("WHAT", "kind"), Column("BEFORE", "before"), Column("AFTER", "after"))
_EFFECTS = (
    Column("INSTANCE", "instance_id"),
    Column("MODULE", "module"),
    Column("NODE", "node_name"),
    Column("NEEDS", "effect"),
    Column("BECAUSE OF", "fields"),
)


def label_nodes(desk: Desk) -> int:
    """`ops nodes label NODE k=v,old-`: change some labels and keep the others."""
    names = Names(desk.master, desk.words)
    path = fill("/nodes/{id}", {"id": names.id_of("NODE", desk.parsed.arguments["NODE"])})
    labels = dict(desk.master.get(path).get("labels", {}))
    for word in desk.parsed.many:
        for part in word.split(","):
            if part.endswith("-") and "=" not in part:
                labels.pop(part[:-1], None)
            else:
                changed = read_value(LABELS, part, "LABEL")
                assert isinstance(changed, dict)
                labels |= changed
    desk.show(desk.master.ask("PATCH", path, {"labels": labels}).json())
    return EXIT_FINE


# --- systems as documents --------------------------------------------------------------------------------------------
def diff_system(desk: Desk) -> int:
    """`ops diff FILE`: what a document would change; exit 1 when something would, as diff(1)."""
    answer = desk.master.ask("POST", "/systems/diff", {"document": _document(desk)}).json()
    _show_diff(desk, answer)
    return EXIT_FAILED if answer["changes"] or answer["is_new"] else EXIT_FINE


def apply_system(desk: Desk) -> int:
    """`ops apply FILE`: make a system what a document says, all or nothing, after showing what changes."""
    document = _document(desk)
    body: Json = {"document": document, "dry_run": desk.parsed.switch("dry-run")}
    if desk.parsed.has("secrets"):
        body["secrets"] = read_document(desk, desk.parsed.text("secrets"))
    if not body["dry_run"] and not desk.is_sure:
        planned = desk.master.ask("POST", "/systems/diff", {"document": document}).json()
        _show_diff(desk, planned)
        if not planned["changes"] and not planned["is_new"]:
            return EXIT_FINE
        touched = [row for row in planned["instances"] if row.get("effect") != "none"]
        follows = desk.words.say("apply.follows", changes=len(planned["changes"]), instances=len(touched))
        desk.confirm(f"ops apply {planned['name']}", follows)
    answer = desk.master.ask("POST", "/systems/apply", body).json()
    if desk.is_sure or body["dry_run"] or desk.output != "table":
        _show_diff(desk, answer)
    else:
        desk.note(desk.words.say("done"))
    return EXIT_FINE


def _document(desk: Desk) -> str:
    name = desk.parsed.text("f") or desk.parsed.text("file") or desk.parsed.arguments.get("FILE", "")
    if not name:
        raise UsageError("name the document: a file, or - for standard input")
    return read_text(desk, name)


def _show_diff(desk: Desk, answer: Json) -> None:
    if desk.output != "table" or desk.is_quiet:
        desk.show(answer)
        return
    desk.show_rows(answer["changes"], _CHANGES, len(answer["changes"]))
    touched = [row for row in answer["instances"] if row.get("effect") != "none"]
    if touched:
        desk.show_rows(touched, _EFFECTS, len(touched))
    for secret in answer.get("missing_secrets", []):
        desk.note(f"{secret}: ?")


# --- operations and rollouts -----------------------------------------------------------------------------------------
def watch_operation(desk: Desk) -> int:
    """`ops operations watch ID`: follow to the end."""
    path = fill("/operations/{id}", {"id": desk.parsed.arguments["OPERATION"]})
    return follow(desk, desk.master.get(path))


def show_rollout(desk: Desk) -> int:
    """`ops rollout status MODULE|OPERATION [--watch]`: the newest rollout of a module, or that operation."""
    text = desk.parsed.arguments["MODULE"]
    if not text.startswith("op_"):
        text = str(_newest(desk, _module(desk, text))["operation_id"])
    operation = desk.master.get(fill("/operations/{id}", {"id": text}))
    if desk.parsed.switch("watch"):
        return follow(desk, operation)
    if operation["state"] in ENDED:
        return report(desk, operation)
    desk.show(operation)
    return EXIT_FINE


def roll_back(desk: Desk) -> int:
    """`ops rollout back MODULE [VERSION]`: a rollout to the version before the newest one, or to the one named."""
    module_id = _module(desk, desk.parsed.arguments["MODULE"])
    version = desk.parsed.arguments.get("VERSION") or str(_newest(desk, module_id)["from_version"])
    follows = desk.words.say("back.follows", version=version)
    desk.confirm(f"ops rollout back {desk.parsed.arguments['MODULE']}", follows)
    body = {**body_of(ROLLOUT_START, desk), "version": version}
    path = fill("/modules/{id}/rollout", {"id": module_id})
    operation = desk.master.ask("POST", path, body).json()["operation"]
    if not desk.waits:
        desk.show({"operation": operation})
        return EXIT_FINE
    return follow(desk, operation)


def _module(desk: Desk, text: str) -> str:
    return Names(desk.master, desk.words).id_of("MODULE", text)


def _newest(desk: Desk, module_id: str) -> Json:
    rows, _ = desk.master.pages(fill("/modules/{id}/rollouts", {"id": module_id}), limit=1)
    if not rows:
        raise NotFound(desk.words.say("back.none"))
    return rows[0]


# --- any route -------------------------------------------------------------------------------------------------------
def call_api(desk: Desk) -> int:
    """`ops api METHOD PATH`: everything that has no command of its own."""
    method, path = desk.parsed.arguments["METHOD"].upper(), desk.parsed.arguments["PATH"]
    if method not in _METHODS:
        raise UsageError('"{text}" is none of {known}', text=method, known=", ".join(_METHODS))
    if not path.startswith("/"):
        raise UsageError('"{path}" is no path; write it as docs/api.md does, such as /nodes', path=path)
    path, _, typed = path.partition("?")
    query = read_value(LABELS, desk.parsed.text("query"), "-query")
    assert isinstance(query, dict)
    pairs = dict(part.partition("=")[::2] for part in typed.split("&") if part)
    body = _api_body(desk, method)
    answer = desk.master.ask(method, path, body, {**pairs, **query})
    if "json" not in answer.headers.get("Content-Type", "json"):
        with desk.saving() as file:
            file.write(answer.body)
        return EXIT_FINE
    told = answer.json()
    desk.show(told)
    return EXIT_FINE


def _api_body(desk: Desk, method: str) -> Json | None:
    if not (desk.parsed.has("file") or desk.parsed.has("set")):
        return None
    if method in {"GET", "DELETE"}:
        raise Invalid(f"a {method} carries no body; use --query name=value,…")
    return body_of(_ANY_BODY, desk)


_GLOBAL = {flag.name for flag in GLOBAL_FLAGS}
_ANY_BODY = Act(("api",), "POST", "", ("", ""), takes_file=True)
_FILE = (Argument("FILE", is_optional=True),)
_F = (
    Flag("f", TEXT, "the document; - reads standard input"),
    Flag("file", TEXT, "the document; - reads standard input"),
)
_APPLY_FLAGS = (
    *_F,
    Flag("dry-run", SWITCH, "show what would change, write nothing"),
    Flag("secrets", TEXT, "YAML file of secret values: module, name, value"),
)
_APPLY = ("make a system what a YAML document says, all or nothing", "按 YAML 文档更新整个系统，要么全部要么不变")
_DIFF = ("what a YAML document would change; exit 1 when something would", "比较 YAML 文档与现状；有差异时退出码 1")
_ROUTES = ("POST /systems/apply", "POST /systems/diff")

STORIES = (
    Special(
        ("nodes", "label"),
        ("change labels: ops nodes label n1 zone=a old-", "修改标签：ops nodes label n1 zone=a old-"),
        label_nodes,
        (Argument("NODE"), Argument("LABEL", is_many=True)),
        (),
        ("GET /nodes/{id}", "PATCH /nodes/{id}"),
    ),
    Special(("apply",), _APPLY, apply_system, _FILE, _APPLY_FLAGS, _ROUTES),
    Special(("systems", "apply"), _APPLY, apply_system, _FILE, _APPLY_FLAGS[1:], _ROUTES),
    Special(("diff",), _DIFF, diff_system, _FILE, _F, _ROUTES[1:]),
    Special(("systems", "diff"), _DIFF, diff_system, _FILE, _F[1:], _ROUTES[1:]),
    Special(
        ("operations", "watch"),
        ("follow an operation to its end", "跟随操作直到结束"),
        watch_operation,
        (Argument("OPERATION"),),
        uses=("GET /operations/{id}",),
    ),
    Special(
        ("rollout", "status"),
        ("how far a rollout is; --watch follows", "发布进度；--watch 持续跟随"),
        show_rollout,
        (Argument("MODULE"),),
        (Flag("watch", SWITCH, "follow to the end"),),
        ("GET /modules/{id}/rollouts", "GET /operations/{id}"),
    ),
    Special(
        ("rollout", "back"),
        ("roll back to the version before, or to the one named", "回滚到上一个或指定的版本"),
        roll_back,
        (Argument("MODULE"), Argument("VERSION", is_optional=True)),
        tuple(flag for flag in flags_of(ROLLOUT_START) if flag.name not in _GLOBAL),
        ("GET /modules/{id}/rollouts", "POST /modules/{id}/rollout"),
    ),
    Special(
        ("api",),
        ("call any route: ops api GET /nodes", "调用任意接口：ops api GET /nodes"),
        call_api,
        (Argument("METHOD"), Argument("PATH")),
        (*FILE_FLAGS, Flag("query", LABELS, "name=value,…"), Flag("to", TEXT, "file for an answer that is no JSON")),
    ),
)

"""The tables of `ops` against the OpenAPI document: no route without a command, no field that a route does not know."""

import importlib.util
from pathlib import Path

import pytest

from ops_system.client.acts import Act, Special, arguments_of, flags_of
from ops_system.client.program import BY_API_ONLY, ENTRIES

ACTS = [entry for entry in ENTRIES if isinstance(entry, Act)]
EXPORT = Path(__file__).parents[3] / "packaging" / "export_api.py"
ROOT = "/api/v1"
OPEN_SCHEMAS = {"object"}


@pytest.fixture(scope="module")
def document():
    spec = importlib.util.spec_from_file_location("export_api_for_ops", EXPORT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.openapi_document()


def routes_in(document):
    return {
        f"{method.upper()} {path.removeprefix(ROOT)}": described
        for path, methods in document["paths"].items()
        for method, described in methods.items()
        if not path.startswith("/v3/")  # etcd's own API: etcd's own clients speak it
    }


def test_every_route_has_a_command(document):
    reached = set(BY_API_ONLY)
    for entry in ENTRIES:
        reached |= set(entry.uses) if isinstance(entry, Special) else {f"{entry.method} {entry.path}"}
    routes = set(routes_in(document))
    assert not routes - reached, "add a line to a table in ops_system/client, or (rarely) to BY_API_ONLY in program.py"
    assert not reached - routes, "these routes are gone: take their commands away"
    assert len(BY_API_ONLY) < 10


def test_every_field_is_one_of_the_route(document):
    routes, wrong = routes_in(document), []
    for act in ACTS:
        described = routes.get(f"{act.method} {act.path}", {})
        known = query_of(described)
        wanted = {field.name for field in act.fields if field.is_query} | set(act.query)
        if act.method == "GET":
            wanted |= {word.fills for word in act.arguments if f"{{{word.fills}}}" not in act.path}
        wrong += [f"{' '.join(act.words)}: query {name}" for name in wanted - known]
        if act.is_list and not act.is_whole:
            wrong += [f"{' '.join(act.words)}: no {name}" for name in {"limit", "offset", "q", "sort"} - known]
        if act.is_list and act.is_whole and "offset" in known:
            wrong.append(f"{' '.join(act.words)}: is paged")
    assert not wrong


def test_every_body_can_be_written(document):
    routes, wrong = routes_in(document), []
    for act in ACTS:
        described = routes.get(f"{act.method} {act.path}", {})
        schema = body_of(document, described)
        named = {field.name for field in act.fields if not field.is_query} | set(act.body)
        if act.method != "GET":
            named |= {word.fills for word in act.arguments if f"{{{word.fills}}}" not in act.path}
        wrong += [f"{' '.join(act.words)}: body {name}" for name in named if not has_field(document, schema, name)]
        needed = set(schema.get("required", [])) - {name.partition(".")[0] for name in named}
        if needed and not act.takes_file:
            wrong.append(f"{' '.join(act.words)}: nothing fills {', '.join(sorted(needed))}")
    assert not wrong


def test_answers_are_what_the_tables_say(document):
    routes, wrong = routes_in(document), []
    for act in ACTS:
        described = routes.get(f"{act.method} {act.path}", {})
        good = next((answer for code, answer in described.get("responses", {}).items() if code[0] == "2"), {})
        media = list(good.get("content", {}))
        schema = resolve(document, good.get("content", {}).get("application/json", {}).get("schema", {}))
        fields = schema.get("properties", {})
        carries = "operation" in fields or schema.get("title") == "Operation"
        name = " ".join(act.words)
        if act.saves == (media == ["application/json"]) and act.path != "/openapi.json":
            wrong.append(f"{name}: answers {media}")
        if act.follows and not carries:
            wrong.append(f"{name}: has no operation to follow")
        if "operation" in fields and not act.follows:
            wrong.append(f"{name}: its operation is not followed")
        if act.verdict and act.verdict.partition("=")[0] not in fields:
            wrong.append(f"{name}: no {act.verdict}")
    assert not wrong


@pytest.mark.parametrize("noun", sorted({entry.words[0] for entry in ENTRIES}))
def test_a_flag_is_of_one_kind_within_a_noun(noun):
    kinds = {}
    for entry in (entry for entry in ENTRIES if entry.words[0] == noun):
        names = [argument.name for argument in arguments_of(entry)]
        assert len(names) == len(set(names)), entry.words
        for flag in flags_of(entry):
            assert flag.name not in {"version", "help", "h"}, entry.words
            assert kinds.setdefault(flag.name, flag.kind.metavar) == flag.kind.metavar, (entry.words, flag.name)


def test_words_are_used_once_and_said_in_two_languages():
    words = [entry.words for entry in ENTRIES]
    assert len(words) == len(set(words))
    assert all(all(entry.help) for entry in ENTRIES)


def query_of(described):
    return {one["name"] for one in described.get("parameters", []) if one["in"] == "query"}


def body_of(document, described):
    content = described.get("requestBody", {}).get("content", {})
    return resolve(document, content.get("application/json", {}).get("schema", {}))


def resolve(document, schema):
    for one in schema.get("anyOf", []):
        if one.get("type") != "null":
            return resolve(document, one)
    if "$ref" in schema:
        return resolve(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    return schema


def has_field(document, schema, path):
    first, _, rest = path.partition(".")
    inner = schema.get("properties", {}).get(first)
    return inner is not None and (not rest or has_field(document, resolve(document, inner), rest))

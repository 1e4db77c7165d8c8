"""The OpenAPI 3.1 document, made from the route table that serves the requests. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, get_origin

import msgspec
from aiohttp import web
from msgspec import inspect

from ops_system.master.web.answer import ErrorBody
from ops_system.master.web.route import Nothing, Permission, Route
from ops_system.master.web.table import BrokenTable, full_path, is_parameter
from ops_system.model import errors

Json = dict[str, Any]  # this module is the codec of one document: plain JSON values are its material

_REF = "#/components/schemas/{name}"
_JSON = "application/json"
_GENERAL_ERRORS = ("invalid", "misdirected", "too_large", "internal", "unavailable", "storage_full", "timeout")
_STATUS_BY_CODE: Mapping[str, int] = {
    cls.code: cls.http_status
    for cls in (
        errors.Invalid,
        errors.NotFound,
        errors.Conflict,
        errors.NotAllowed,
        errors.NodeOffline,
        errors.Unauthenticated,
        errors.Forbidden,
        errors.StepUpRequired,
        errors.Misdirected,
        errors.TooLarge,
        errors.UnsupportedMedia,
        errors.RateLimited,
        errors.StorageFull,
        errors.Unavailable,
        errors.TimedOut,
        errors.OpsError,
    )
}
_SECURITY_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API token `ops_…`."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "ops_session",
        "description": "The console's cookie (`__Host-ops_session` on TLS); a non-GET needs `X-CSRF-Token` and Origin.",
    },
}


def build_document(routes: Iterable[Route], version: str) -> Json:
    """Return the document. Raises `BrokenTable` when two types would share one schema name."""
    table = sorted(routes, key=lambda route: (full_path(route), route.method))
    schemas = _Schemas(table)
    paths: Json = {}
    for route in table:
        paths.setdefault(full_path(route), {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "ops-system", "version": version, "license": {"name": "MIT", "identifier": "MIT"}},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"session": []}],
        "tags": [{"name": tag} for tag in sorted({_tag(route) for route in table})],
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": _SECURITY_SCHEMES},
    }


class _Schemas:
    """Every body, query and answer type of the table, described once."""

    def __init__(self, table: list[Route]) -> None:
        asked = [route.body for route in table if is_json(route.body)] + [route.query for route in table]
        told = [answer for route in table for _, answer in _answers(route) if is_json(answer)]
        types = list(dict.fromkeys([*asked, *told, ErrorBody]))
        shown, self.components = msgspec.json.schema_components(types, ref_template=_REF)
        self._by_type = dict(zip(types, shown, strict=True))
        clumsy = sorted(name for name in self.components if "." in name)
        if clumsy:
            raise BrokenTable(f"two types share one name; rename one of each: {', '.join(clumsy)}")
        inputs = _names(asked)
        _complete(self.components, inputs, _sparse(types))

    def of(self, wanted: Any) -> Json:
        """Return the schema (a reference, mostly) of a type of the table."""
        return dict(self._by_type[wanted])

    def fields(self, query: type[msgspec.Struct]) -> list[tuple[str, Json, bool]]:
        """Return name, schema and required-or-not of each query parameter."""
        if query is Nothing:
            return []
        component = self.components[self.of(query)["$ref"].rpartition("/")[2]]
        required = set(component.get("required", ()))
        return [(name, schema, name in required) for name, schema in component["properties"].items()]


def is_json(wanted: Any) -> bool:
    """True for a type that travels as JSON, false for raw bytes and streams."""
    return wanted is not bytes and wanted is not web.StreamResponse


def _names(types: list[Any]) -> set[str]:
    return set(msgspec.json.schema_components(types, ref_template=_REF)[1]) if types else set()


def _sparse(types: list[Any]) -> set[str]:
    """Titles of structs that leave out fields equal to their defaults."""
    found: set[str] = set()
    seen: set[int] = set()

    def walk(node: Any) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, inspect.StructType):
            plain = get_origin(node.cls) or node.cls  # a generic such as Page[Node] is an alias
            if plain.__struct_config__.omit_defaults:
                found.add(plain.__name__)
        if isinstance(node, inspect.Type | inspect.Field):
            for name in node.__struct_fields__:
                walk(getattr(node, name))
        elif isinstance(node, tuple):
            for item in node:
                walk(item)

    for info in inspect.multi_type_info(types):
        walk(info)
    return found


def _complete(components: Json, inputs: set[str], sparse: set[str]) -> None:
    """An answer always carries all its fields: say so, except for types that are also sent or leave out defaults."""
    for name, schema in components.items():
        if name not in inputs and schema.get("title") not in sparse and "properties" in schema:
            schema["required"] = list(schema["properties"])


def _answers(route: Route) -> list[tuple[int, Any]]:
    return [(route.status, route.answer), *route.other_answers]


def _tag(route: Route) -> str:
    first = full_path(route).removeprefix("/api/v1").split("/")[1]
    return route.tag or first or "self"


def _operation(route: Route, schemas: _Schemas) -> Json:
    made: Json = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "tags": [_tag(route)],
        "x-permission": route.permission.value,
        "parameters": _parameters(route, schemas),
        "responses": _responses(route, schemas),
    }
    if route.needs_step_up:
        made["x-step-up"] = True
    if route.permission in {Permission.OPEN, Permission.LOOPBACK}:
        made["security"] = [{}] if route.permission is Permission.OPEN else [{}, {"bearer": []}, {"session": []}]
    if route.is_websocket:
        made["x-websocket"] = True
    if (body := _body(route, schemas)) is not None:
        made["requestBody"] = body
    return made


def _parameters(route: Route, schemas: _Schemas) -> list[Json]:
    names = [part[1:-1] for part in full_path(route).split("/") if is_parameter(part)]
    made: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in names
    ]
    made += [
        {"name": name, "in": "query", "required": is_required, "schema": _limited(name, schema)}
        for name, schema, is_required in schemas.fields(route.query)
    ]
    if route.method == "POST" and is_json(route.body) and route.permission is not Permission.OPEN:
        key = {"type": "string", "minLength": 1, "maxLength": 255}
        made.append({"name": "Idempotency-Key", "in": "header", "required": False, "schema": key})
    return made


def _limited(name: str, schema: Json) -> Json:
    if name == "limit":
        return {**schema, "minimum": 1, "maximum": 500}
    return {**schema, "minimum": 0} if name == "offset" else schema


def _body(route: Route, schemas: _Schemas) -> Json | None:
    if route.body is Nothing:
        return None
    if route.body is bytes:
        return {"required": True, "content": {route.media: {"schema": {"type": "string", "format": "binary"}}}}
    return {"required": True, "content": {_JSON: {"schema": schemas.of(route.body)}}}


def _responses(route: Route, schemas: _Schemas) -> Json:
    if route.is_websocket:
        made: Json = {"101": {"description": "The connection is a WebSocket now."}}
    else:
        made = {}
        for status, answer in _answers(route):
            made[str(status)] = {"description": _words(status), "content": _content(route, answer, schemas)}
    by_status: dict[int, list[str]] = {}
    for code in _codes(route):
        by_status.setdefault(_STATUS_BY_CODE[code], []).append(code)
    for status, codes in sorted(by_status.items()):
        error = {"description": ", ".join(codes), "content": {_JSON: {"schema": schemas.of(ErrorBody)}}}
        made.setdefault(str(status), error)
    return made


def _content(route: Route, answer: Any, schemas: _Schemas) -> Json:
    if is_json(answer):
        return {_JSON: {"schema": schemas.of(answer)}}
    media = route.media if route.body is not bytes and route.media != _JSON else "application/octet-stream"
    return {media: {"schema": _kind_of(media)}}


def _kind_of(media: str) -> Json:
    """Return what a body that is no JSON is: a YAML document is described by what it says, others by their bytes."""
    if media.endswith("/yaml"):
        return {"type": "object"}
    return {"type": "string"} if media.startswith("text/") else {"type": "string", "format": "binary"}


def _codes(route: Route) -> list[str]:
    codes = [*_GENERAL_ERRORS, *route.errors]
    if route.permission is not Permission.OPEN:
        codes += ["unauthenticated", "forbidden"]
    if route.needs_step_up:
        codes.append("step_up_required")
    if route.is_websocket:
        codes.append("forbidden")  # another Origin
    if route.method != "GET":
        codes += ["forbidden", "unsupported_media"]
    if any(is_parameter(part) for part in full_path(route).split("/")):
        codes.append("not_found")
    if route.method == "POST":
        codes.append("conflict")
    unknown = [code for code in codes if code not in _STATUS_BY_CODE]
    if unknown:
        raise BrokenTable(f"{route.operation_id}: no such error code: {', '.join(unknown)}")
    return list(dict.fromkeys(codes))


def _words(status: int) -> str:
    names = {200: "Done", 201: "Created", 202: "Accepted: follow the operation", 204: "Done", 206: "A part"}
    return names.get(status, "Answer")

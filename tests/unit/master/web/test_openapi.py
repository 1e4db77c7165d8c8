import msgspec
import pytest
from aiohttp import web

from ops_system.master.web.openapi import build_document
from ops_system.master.web.route import Call, ListQuery, Nothing, Page, Permission, Route
from ops_system.master.web.table import BrokenTable
from ops_system.model.nodes import Disk
from ops_system.model.reasons import Reason


class Sent(msgspec.Struct, frozen=True):
    name: str
    count: int = 1


class Told(msgspec.Struct, frozen=True):
    disk: Disk
    reason: Reason | None = None


async def handler(_call: Call) -> Nothing:
    return Nothing()


def route(method, path, operation_id, permission=Permission.OPERATE, **more) -> Route:
    return Route(method, path, permission, handler, "Does something", operation_id, **more)


ROUTES = [
    route("GET", "/things", "listThings", Permission.VIEW, query=ListQuery, answer=Page[Told]),
    route(
        "POST",
        "/things",
        "makeThing",
        body=Sent,
        answer=Told,
        status=201,
        other_answers=((200, Told),),
        errors=("storage_full",),
    ),
    route("PUT", "/things/{id}", "putThing", body=bytes, media="application/zip", answer=Told, needs_step_up=True),
    route("GET", "/things/{id}/file", "getFile", Permission.VIEW, answer=web.StreamResponse),
    route("GET", "/live", "live", Permission.VIEW, answer=web.StreamResponse, is_websocket=True),
    route("GET", "!/health", "health", Permission.OPEN, answer=Told),
]


@pytest.fixture
def document():
    return build_document(ROUTES, "1.2.3")


def test_every_route_stands_by_its_full_path_with_id_and_permission(document):
    shown = {
        (method, path): (operation["operationId"], operation["x-permission"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert shown[("get", "/api/v1/things")] == ("listThings", "view")
    assert shown[("get", "/health")] == ("health", "open")
    assert len(shown) == len(ROUTES)
    assert document["openapi"] == "3.1.0"
    assert document["info"]["version"] == "1.2.3"


def test_parameters_have_types(document):
    listing = document["paths"]["/api/v1/things"]["get"]["parameters"]
    assert {
        "name": "limit",
        "in": "query",
        "required": False,
        "schema": {"type": "integer", "default": 100, "minimum": 1, "maximum": 500},
    } in listing
    put = document["paths"]["/api/v1/things/{id}"]["put"]["parameters"]
    assert put == [{"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}]
    assert "Idempotency-Key" in [p["name"] for p in document["paths"]["/api/v1/things"]["post"]["parameters"]]


def test_bodies_and_answers_have_schemas(document):
    make = document["paths"]["/api/v1/things"]["post"]
    assert make["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Sent"}
    for status in ("201", "200"):
        assert make["responses"][status]["content"]["application/json"]["schema"] == {
            "$ref": "#/components/schemas/Told"
        }
    put = document["paths"]["/api/v1/things/{id}"]["put"]
    assert put["requestBody"]["content"] == {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
    assert put["x-step-up"] is True
    file = document["paths"]["/api/v1/things/{id}/file"]["get"]["responses"]["200"]["content"]
    assert list(file) == ["application/octet-stream"]


def test_errors_are_listed_by_status(document):
    answers = document["paths"]["/api/v1/things"]["post"]["responses"]
    assert {"401", "403", "409", "413", "415", "421", "422", "500", "507"} <= set(answers)
    assert answers["422"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorBody"}
    assert "401" not in document["paths"]["/health"]["get"]["responses"]


def test_a_websocket_is_a_get_that_answers_101(document):
    live = document["paths"]["/api/v1/live"]["get"]
    assert live["x-websocket"] is True
    assert "101" in live["responses"]
    assert "200" not in live["responses"]


def test_an_answer_has_all_its_fields_and_a_body_only_what_it_must_have(document):
    schemas = document["components"]["schemas"]
    assert schemas["Told"]["required"] == ["disk", "reason"]
    assert schemas["Sent"]["required"] == ["name"]
    assert schemas["Reason"]["required"] == ["code", "message"]  # leaves out what equals its default


def test_every_reference_leads_somewhere(document):
    text = msgspec.json.encode(document).decode()
    for part in text.split('"$ref":"#/components/schemas/')[1:]:
        assert part.split('"')[0] in document["components"]["schemas"]


def test_two_types_of_one_name_are_refused():
    twin = msgspec.defstruct("Told", [("x", int)], module="elsewhere")
    with pytest.raises(BrokenTable, match="Told"):
        build_document([*ROUTES, route("GET", "/twin", "twin", answer=twin)], "1")


def test_an_unknown_error_code_is_refused():
    with pytest.raises(BrokenTable, match="no such error code: odd"):
        build_document([route("GET", "/a", "a", errors=("odd",))], "1")

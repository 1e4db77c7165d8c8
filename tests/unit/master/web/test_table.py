import pytest

from ops_system.master.web.route import Call, Nothing, Permission, Route
from ops_system.master.web.table import BrokenTable, Found, Table, WrongMethod, full_path


async def handler(_call: Call) -> Nothing:
    return Nothing()


def route(path: str, operation_id: str, method="GET", **more) -> Route:
    return Route(method, path, Permission.VIEW, handler, "Does something", operation_id, **more)


def found(table: Table, method: str, path: str) -> tuple[str, dict[str, str]]:
    match = table.match(method, path)
    assert isinstance(match, Found)
    return match.route.operation_id, match.params


def test_a_path_stands_below_the_api_unless_it_says_otherwise():
    assert full_path(route("/nodes", "a")) == "/api/v1/nodes"
    assert full_path(route("!/health", "a")) == "/health"


def test_parameters_are_decoded_and_a_literal_wins():
    table = Table([route("/nodes/{id}", "one"), route("/nodes/planned", "planned"), route("/nodes/{id}/x", "x")])
    assert found(table, "GET", "/api/v1/nodes/a%2Fb%20c") == ("one", {"id": "a/b c"})
    assert found(table, "GET", "/api/v1/nodes/planned") == ("planned", {})
    assert found(table, "GET", "/api/v1/nodes/planned/x") == ("x", {"id": "planned"})
    assert found(table, "HEAD", "/api/v1/nodes/planned") == ("planned", {})


def test_two_routes_may_name_the_same_place_differently():
    table = Table([route("/tasks/{task_id}", "byId"), route("/tasks/{idc}/{sn}", "byMachine")])
    assert found(table, "GET", "/api/v1/tasks/t1") == ("byId", {"task_id": "t1"})
    assert found(table, "GET", "/api/v1/tasks/dc1/sn1") == ("byMachine", {"idc": "dc1", "sn": "sn1"})


def test_what_does_not_exist_is_none_and_a_wrong_method_names_the_right_ones():
    table = Table([route("/nodes/{id}", "get"), route("/nodes/{id}", "delete", method="DELETE")])
    for path in ("/api/v1/nodes", "/api/v1/nodes/", "/api/v1/nodes/a/", "/nodes/a", "/api/v1/nodes//a"):
        assert table.match("GET", path) is None, path
    assert table.match("POST", "/api/v1/nodes/a") == WrongMethod(("DELETE", "GET"))


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        ([route("/a", "same"), route("/b", "same")], "operation id same"),
        ([route("/a/{x}", "one"), route("/a/{y}", "two")], "served by both one and two"),
        ([route("/a/", "a")], "slash"),
        ([route("a", "a")], "slash"),
        ([route("/a/{x}/{x}", "a")], "twice"),
        ([route("/a", "a", method="POST", is_websocket=True)], "opened by GET"),
        ([Route("GET", "/a", Permission.VIEW, handler, "", "a")], "summary"),
        ([Route("GET", "/a", None, handler, "words", "a")], "no permission"),  # type: ignore[arg-type]
    ],
)
def test_a_table_that_contradicts_itself_does_not_start(routes, words):
    with pytest.raises(BrokenTable, match=words):
        Table(routes)


def test_a_route_without_a_permission_cannot_be_written():
    with pytest.raises(TypeError, match="permission"):
        Route(method="GET", path="/a", handler=handler, summary="x", operation_id="y")  # type: ignore[call-arg]

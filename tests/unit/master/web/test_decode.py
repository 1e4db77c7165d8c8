import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.master.web import decode
from ops_system.master.web.route import ListQuery, Nothing
from ops_system.model.errors import Invalid, TooLarge, UnsupportedMedia


class Inner(msgspec.Struct, frozen=True):
    port: int


class Body(msgspec.Struct, frozen=True):
    name: str
    inner: list[Inner] = []


class Window(msgspec.Struct, frozen=True):
    from_s: float | None = msgspec.field(default=None, name="from")
    stop: bool = False


def test_a_body_becomes_its_struct():
    assert decode.decode_body(b'{"name": "x", "inner": [{"port": 1}]}', Body) == Body("x", [Inner(1)])
    assert decode.decode_body(b"", Nothing) == Nothing()


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b'{"name": "x", "inner": [{"port": "1"}]}', "$.inner[0].port: Expected `int`, got `str`"),
        (b"{}", "$: Object missing required field `name`"),
        (b"[]", "$: Expected `object`, got `array`"),
    ],
)
def test_a_wrong_body_names_the_place(raw, problem):
    with pytest.raises(Invalid) as caught:
        decode.decode_body(raw, Body)
    assert caught.value.details["problems"] == [problem]


@pytest.mark.parametrize("raw", [b"{", b"\xff\xfe", b'{"name": "\xff"}', b"nan", b'{"name": "x"} {}'])
def test_what_is_not_json_is_invalid(raw):
    with pytest.raises(Invalid):
        decode.decode_body(raw, Body)


def test_depth_counts_brackets_outside_strings():
    deepest = decode.MAX_DEPTH
    decode.check_depth(b"[" * deepest + b"]" * deepest)
    decode.check_depth(json.dumps({"a": "[{" * 500, "b": '\\"[[' * 500}).encode())
    decode.check_depth(b"[[],[]]" * 200)
    with pytest.raises(Invalid, match="nested deeper"):
        decode.check_depth(b"[" * (deepest + 1) + b"]" * (deepest + 1))
    with pytest.raises(Invalid, match="nested deeper"):
        decode.check_depth(b'{"a":' * 100_000)


@given(st.recursive(st.text() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_depth_agrees_with_a_plain_walk(value):
    def depth(part) -> int:
        if isinstance(part, list):
            return 1 + max(map(depth, part), default=0)
        return 1 + max(map(depth, part.values()), default=0) if isinstance(part, dict) else 0

    raw, limit = json.dumps(value, ensure_ascii=False).encode(), 3
    if depth(value) > limit:
        with pytest.raises(Invalid):
            decode.check_depth(raw, limit)
    else:
        decode.check_depth(raw, limit)


def test_size_and_media():
    with pytest.raises(TooLarge):
        decode.decode_body(b" " * (decode.MAX_BODY_BYTES + 1), Body)
    decode.check_media("application/json; charset=utf-8", "", "application/json")
    decode.check_media("Application/JSON", "identity", "application/json")
    for media, encoding in (("text/plain", ""), ("", ""), ("application/json", "gzip"), ("application/jsonx", "")):
        with pytest.raises(UnsupportedMedia):
            decode.check_media(media, encoding, "application/json")


class Diff(msgspec.Struct, frozen=True):
    base: int = msgspec.field(name="from", default=1)


@pytest.mark.parametrize("number", [1 << 63, -(1 << 63) - 1, 10**30])
def test_a_number_that_no_database_knows_is_refused_by_name(number):
    assert decode.decode_query({"from": [str((1 << 63) - 1)]}, Diff).base == (1 << 63) - 1
    with pytest.raises(Invalid, match="from: "):
        decode.decode_query({"from": [str(number)]}, Diff)


def test_a_query_becomes_its_struct():
    assert decode.decode_query({"limit": ["5"], "q": ["7"]}, ListQuery) == ListQuery(limit=5, q="7")
    assert decode.decode_query({"from": ["1.5"], "stop": ["1"]}, Window) == Window(1.5, stop=True)


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ({"limt": ["5"]}, "limt: no such parameter"),
        ({"limit": ["5", "6"]}, "limit: given 2 times"),
        ({"limit": ["0"]}, "limit: must be from 1 to 500"),
        ({"limit": ["501"]}, "limit: must be from 1 to 500"),
        ({"offset": ["-1"]}, "offset: must be from 0 to 9007199254740992"),
        ({"offset": ["9007199254740993"]}, "offset: must be from 0 to 9007199254740992"),
        ({"limit": ["x"]}, "limit: Expected `int`, got `str`"),
    ],
)
def test_a_wrong_query_names_the_parameter(pairs, problem):
    with pytest.raises(Invalid) as caught:
        decode.decode_query(pairs, ListQuery)
    assert caught.value.details["problems"] == [problem]

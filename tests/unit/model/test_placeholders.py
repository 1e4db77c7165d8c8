import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.errors import Invalid
from ops_system.model.placeholders import escape, expand, find, find_problems

VALUES = {
    "port.http": "8080",
    "instance.id": "ins_1",
    "instance.dir": "/w/a b",
    "node.ip": "10.0.0.1",
    "env.MODE": "${node.ip}",
}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("--port=${port.http}", "--port=8080"),
        ("${node.ip}:${port.http}", "10.0.0.1:8080"),
        ("${instance.dir}/x", "/w/a b/x"),
        ("$$", "$"),
        ("$${port.http}", "${port.http}"),
        ("$$${port.http}", "$8080"),
        ("$host $1 $", "$host $1 $"),
        ("${env.MODE}", "${node.ip}"),
        ("", ""),
        ("}{", "}{"),
    ],
)
def test_expands_once_from_left_to_right(text, result):
    assert expand(text, VALUES) == result


@pytest.mark.parametrize(
    "name", ["port.htp", "port.", "", "nope", "instance", " port.http", "env.NOPE", "node.ip ", "a\nb"]
)
def test_an_unknown_one_is_named_and_never_empty(name):
    with pytest.raises(Invalid) as caught:
        expand(f"x${{{name}}}", VALUES)
    assert f"${{{name}}}" in caught.value.message
    assert caught.value.details["placeholder"] == name


def test_the_nearest_name_is_told():
    with pytest.raises(Invalid, match=r"did you mean \$\{port.http\}\?"):
        expand("${port.htp}", VALUES)


@pytest.mark.parametrize("text", ["${", "${port.http", "a ${port.${node.ip}}"])
def test_an_unclosed_one_is_refused(text):
    with pytest.raises(Invalid):
        expand(text, VALUES)
    assert find_problems(text)


def test_find_lists_each_name_once():
    assert find("${b} $${c} ${a} ${b}") == ("b", "a")


@pytest.mark.parametrize(
    ("text", "count"), [("${port.any} ${env.X_1} ${node.id}", 0), ("${foo} ${node.idd} ${port.a b}", 3), ("$x", 0)]
)
def test_names_are_checked_before_values_exist(text, count):
    assert len(find_problems(text)) == count


@given(st.text())
def test_escape_is_undone_by_expand(text):
    assert expand(escape(text), {}) == text
    assert find(escape(text)) == ()


@given(
    st.lists(
        st.one_of(st.sampled_from(["$", "$$", "{", "}", "${", "${node.ip}", "${port.http}"]), st.text(max_size=3))
    ).map("".join)
)
def test_what_expands_has_only_found_names(text):
    try:
        names = find(text)
    except Invalid:
        with pytest.raises(Invalid):
            expand(text, VALUES)
        return
    expanded = expand(text, dict.fromkeys(names, "#"))
    assert expanded.count("#") >= len(names)

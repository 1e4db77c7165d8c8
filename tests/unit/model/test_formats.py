import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.errors import Invalid
from ops_system.model.formats import Format, find_fault
from ops_system.model.placeholders import expand, fill, mask


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Format.YAML, "a: 1\nb: [x, &y z, *y]\n---\nc: 2\n"),
        (Format.YAML, ""),
        (Format.JSON, '{"a": [1, null]}'),
        (Format.TOML, 'a = 1\n[b]\nc = "x"\n'),
        (Format.INI, "[a]\nb = 1\nflag\n; note\n"),
        (Format.PROPERTIES, "# u \\u\na=b\nc : d\\\n  = more\ne\\\\u1 \\u00e4\nempty\n"),
        (Format.TEXT, "{{{"),
    ],
)
def test_what_is_well(kind, text):
    assert find_fault(kind, text) is None


@pytest.mark.parametrize(
    ("kind", "text", "place"),
    [
        (Format.YAML, "a: 1\nb: [1\n", (3, 1)),
        (Format.YAML, "a: 1\n b: 2\n", (2, 3)),
        (Format.YAML, "a: *nobody\n", (1, 4)),
        (Format.YAML, "[" * 70, (1, 65)),
        (Format.YAML, "a: \x01", (1, 0)),
        (Format.JSON, '{"a": 1,\n "b" 2}', (2, 6)),
        (Format.JSON, "[" * 100_000, (1, 0)),
        (Format.TOML, "a = 1\nb = \n", (2, 5)),
        (Format.INI, "a = 1\n", (1, 1)),
        (Format.INI, "[a]\nx = 1\nx = 2\n", (3, 1)),
        (Format.INI, "[a]\n= 1\n", (2, 1)),
        (Format.PROPERTIES, "a=1\nb=\\u12g4\n", (2, 3)),
        (Format.PROPERTIES, "a=1\n  =x\n", (2, 3)),
    ],
)
def test_a_fault_has_its_place(kind, text, place):
    fault = find_fault(kind, text)
    assert (fault.line, fault.column) == place
    assert str(fault).startswith(f"line {place[0]}")


@given(st.sampled_from(Format), st.text(max_size=60))
def test_no_text_breaks_the_look(kind, text):
    find_fault(kind, text)


@given(st.text(max_size=20))
def test_a_value_filled_in_comes_out_as_it_was(value):
    filled = fill("a ${var.X} $$ ${node.id} $b", {"var.X": value})
    assert expand(filled, {"node.id": "n"}) == f"a {value} $ n $b"


def test_a_mask_keeps_every_place():
    text = "port: ${port.http}\nprice: $$5 ${var.A}\n"
    masked = mask(text)
    assert [len(line) for line in masked.split("\n")] == [len(line) for line in text.split("\n")]
    assert "$" not in masked
    with pytest.raises(Invalid):
        mask("${open")

"""Rendering: what templates can say, and what hostile ones cannot do."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_system.model.errors import Invalid
from ops_system.provision.templates import MAX_OUTPUT_CHARS, MAX_SOURCE_CHARS, MAX_STEPS, check, render

VALUES = {"sn": "SN1", "disks": [{"id": "D1"}, {"id": "D2"}], "names": ["b", "a c"], "many": list(range(1000)), "n": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sn={{ sn }}\n", "sn=SN1\n"),
        ("{{ disks[0].id }} {{ disks[1]['id'] }}", "D1 D2"),
        (
            "{% for one in names | sort %}{{ loop.index }}{{ one | shell }}{{ ',' if not loop.last }}{% endfor %}",
            "1'a c',2b",
        ),
        ("{{ nothing | default('none') }}{{ none }}", "none"),
        ("{{ names | join(' ') | upper }}-{{ names | length }}", "B A C-2"),
        ("{{ sn ~ '-' ~ n ~ 'x' }} {{ n * 2 + 1 }}", "SN1-3x 7"),
        ("{% set x = sn | lower %}{{ x | json }} {{ names | json }}", '"sn1" ["b", "a c"]'),
        ("{% if disks is defined and n > 2 %}yes{% else %}no{% endif %}", "yes"),
        ("{{ 'a*b?' | glob }} {{ 'x' | b64 }} {{ '7' | int + 1 }}", "a[*]b[?] eA== 8"),
        ("{% for k, v in disks[0] | items %}{{ k }}={{ v }}{% endfor %}", "id=D1"),
        ("{# a note #}{% raw %}{{ kept }}{% endraw %}", "{{ kept }}"),
        ("{{ 1 == 1 }}", "true"),
    ],
)
def test_what_a_template_says(text, said):
    assert render(text, VALUES) == said
    assert not check(text)


DOUBLING = "{% set x = 'xxxxxxxx' %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}"
HOSTILE = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ sn.__class__ }}",
    "{{ disks.__class__.__base__ }}",
    "{{ (sn | attr('__class__')) }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ self }}{{ config }}",
    "{{ [].append(1) }}",
    "{{ sn.format(sn) }}",
    "{{ '{0.__class__}' | format(sn) }}",
    "{{ '%s' % sn }}",
    "{% for x in disks %}{{ loop.__class__ }}{% endfor %}",
    "{% for x in disks %}{{ loop._iterator }}{% endfor %}",
    "{% for x in disks %}{{ loop }}{% endfor %}",
    "{% for x in disks %}{{ loop.changed(x) }}{% endfor %}",
    "{% for x in disks recursive %}{{ loop(disks) }}{% endfor %}",
    "{% include '/etc/passwd' %}",
    "{% extends 'x' %}",
    "{% import 'os' as os %}",
    "{% macro f() %}{{ f() }}{% endmacro %}",
    "{% call x() %}{% endcall %}",
    "{% set ns.x = 1 %}",
    "{% set x %}{{ sn }}{% endset %}",
    "{% filter upper %}x{% endfilter %}",
    "{% block x %}{% endblock %}",
    "{{ _hidden }}",
    "{{ disks }}",
    "{{ missing }}",
    "{{ disks[7].id }}",
    "{{ sn | nothing }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ 'x' * 999999999 }}",
    "{{ [1] * 999999999 }}",
    "{{ range(999999999) | length }}",
    "{{ 1 // 0 }}",
    "{{ 'x' | int }}",
    "{{ names | int }}",
    "{{ 5 | length }}{{ 5 | items }}",
    "{{ 'a\nb' | line }}",
    "{{ 'a\nb' | shell }}",
    "{{ 9" + "9" * 6000 + " }}",
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "{{ " + "-" * 3000 + "1 }}",
    "{{ 1" + " + 1" * 6000 + " }}",
    "{% if n %}" * 2000 + "{% endif %}" * 2000,
    "{% for a in many %}" * 30 + "{% endfor %}" * 30,
    "{{ sn",
    "{% if %}",
    "{% endfor %}",
    "{{ sn | replace('', 'xxxxxxxxxxxxxxxxxx') | replace('x', 'yyyyyyyyyyyyyyyyy') | replace('y', sn) | replace('S', 'z')"
    + " | replace('z', 'zzzzzzzzzzzzzzzz')" * 20
    + " }}",
    DOUBLING,
    DOUBLING.replace("x ~ x", "x + x"),
    DOUBLING.replace("x ~ x", "[x, x] | join"),
    "{% set x = 99999 %}" + "{% set x = x * x %}" * 30 + "{{ x }}",
    "{% set x = [1, 2] %}" + "{% set x = [x, x] %}" * 40 + "{{ x | json }}",
    "{% set x = [1, 2] %}{% set y = [1, 2] %}" + "{% set x = (x, x) %}{% set y = (y, y) %}" * 40 + "{{ x == y }}",
    "{% for a in many %}{% for b in many %}{% for c in many %}{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in many %}{{ '" + "x" * 2000 + "' }}{% endfor %}",
    "x" * (MAX_SOURCE_CHARS + 1),
]


@pytest.mark.parametrize("text", HOSTILE, ids=[str(number) for number in range(len(HOSTILE))])
def test_a_hostile_template_is_refused(text):
    with pytest.raises(Invalid, match="cannot be rendered"):
        render(text, VALUES)


def test_what_is_wrong_is_told_with_its_line():
    for text in ("a\nb\n{{ missing }}", "a\nb\n{% include 'x' %}", "a\nb\n{{ 1 // 0 }}"):
        with pytest.raises(Invalid) as refused:
            render(text, VALUES)
        assert refused.value.details["line"] == 3
    assert [(one.line, "owner" in one.message) for one in check("{{ sn }}\n{{ owner }}", VALUES)] == [(2, True)]
    assert check("x\n{% if %}")[0].line == 2


def test_work_has_an_end_in_time_and_turns():
    ticks = iter([0.0] * 10 + [5.0] * 100)
    with pytest.raises(Invalid, match="took more than"):
        render("{% for a in many %}.{% endfor %}", VALUES, now=lambda: next(ticks))
    with pytest.raises(Invalid, match=f"more than {MAX_STEPS} turns"):
        render("{% for a in many %}{% for b in many %}{% endfor %}{% endfor %}", VALUES, now=lambda: 0.0)
    with pytest.raises(Invalid, match=f"more than {MAX_OUTPUT_CHARS}"):
        render("{% for a in many %}" + "x" * 1000 + "{% endfor %}", VALUES, now=lambda: 0.0)


WORDS = [
    "{{",
    "}}",
    "{%",
    "%}",
    "for",
    "in",
    "if",
    "endif",
    "endfor",
    "sn",
    "disks",
    ".",
    "|",
    "join",
    "json",
    "(",
    ")",
    "~",
]


@settings(max_examples=100)
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=30).map(" ".join))
def test_no_text_breaks_it(text):
    with contextlib.suppress(Invalid):
        assert isinstance(render(text, VALUES), str)
    check(text, VALUES)

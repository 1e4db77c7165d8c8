"""What a program says of bad input is there in Chinese, too: every sentence, with all of its values, and none left over."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ops_system
from ops_system.cli import run_role, words_of
from ops_system.errorwords import CHINESE
from ops_system.model.errors import SafetyRefusal, Unreadable, UsageError
from ops_system.model.language import Said

WORDED = {kind.__name__ for kind in (UsageError, SafetyRefusal, Unreadable, Said)}

NO_WORDS = re.compile(r"{[^}]*}|--?[a-z-]+|\w+\.\w+")  # values, flags, keys


def calls_of(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in WORDED:
            yield node


def templates_of(path: Path) -> Iterator[str]:
    """Yield each template that this module raises; fail on one that was filled before."""
    for part in ast.walk(tree := ast.parse(path.read_text())):
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        named = {
            node.targets[0].id: node.value.value
            for node in ast.walk(part)
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        for call in calls_of(part):
            match call.args[0]:
                case ast.Constant(value=str(text)):
                    yield text
                case ast.Name(id=name) if name in named:
                    yield named[name]
    for call in calls_of(tree):
        where = f"{path.name}:{call.lineno}"
        assert not isinstance(call.args[0], ast.JoinedStr), f"{where}: give a template and its values"


def said_anywhere() -> set[str]:
    root = Path(ops_system.__file__).parent
    found = {text for path in root.rglob("*.py") for text in templates_of(path)}
    return {text for text in found if re.search("[a-z]{2}|:", NO_WORDS.sub("", text))}


def test_every_sentence_is_there_in_chinese_and_none_is_left_over():
    said = said_anywhere()
    assert len(said) > 100
    assert sorted(said - set(CHINESE)) == []
    assert sorted(set(CHINESE) - said) == []


@pytest.mark.parametrize("english", sorted(CHINESE))
def test_a_sentence_keeps_its_values_and_is_chinese(english):
    chinese = CHINESE[english]
    assert set(re.findall(r"{(\w+)", english)) == set(re.findall(r"{(\w+)", chinese))
    assert chinese != english
    assert not re.search("[\u4e00-\u9fff][,:;?()]|[,:;?()][\u4e00-\u9fff]", chinese), "punctuation of half width"


def serve(_argv):
    raise UsageError("{where}: {problem}", where="-port", problem=Unreadable('"{text}" is neither 1 nor 0', text="{x}"))


@pytest.mark.parametrize(
    ("locale", "told"),
    [("C.UTF-8", 'ops: -port: "{x}" is neither 1 nor 0\n'), ("zh_CN.UTF-8", "ops: -port：“{x}”既不是 1 也不是 0\n")],
)
def test_the_environment_chooses_the_language_of_a_sentence_and_of_those_within(locale, told, monkeypatch, capsys):
    monkeypatch.setenv("LC_ALL", locale)
    assert run_role("ops", serve, []) == 2
    assert capsys.readouterr().err == told


def test_words_that_stand_in_no_table_are_said_as_they_are(monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert words_of(UsageError("ready {made} words")) == "ready {made} words"

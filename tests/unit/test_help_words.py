"""The help of every role is there in Chinese, too, word for word: nothing is missing, and nothing is left over."""

import pytest

from ops_system import cli
from ops_system.cli import Answered, parse
from ops_system.client.helpwords import CHINESE as OPS_CHINESE
from ops_system.client.program import ENTRIES, flags_of
from ops_system.installer.main import PROGRAM as INSTALLER
from ops_system.master.main import PROGRAM as MASTER
from ops_system.regional.main import PROGRAM as REGIONAL
from ops_system.worker.main import PROGRAM as WORKER

PROGRAMS = pytest.mark.parametrize("program", [MASTER, WORKER, REGIONAL, INSTALLER], ids=lambda program: program.name)


def help_of(program, locale, monkeypatch):
    monkeypatch.setenv("LC_ALL", locale)
    with pytest.raises(Answered) as caught:
        parse(program, ["--help"])
    return str(caught.value)


@PROGRAMS
def test_every_word_of_help_is_there_in_chinese_and_none_is_left_over(program):
    flags = program.known_flags().values()
    defaults = {flag.default for flag in flags if " " in flag.default}
    shown = {program.help, *(command.help for command in program.commands), *(flag.help for flag in flags), *defaults}
    assert set(program.chinese) == shown


@PROGRAMS
def test_the_environment_chooses_the_language(program, monkeypatch):
    english, chinese = (help_of(program, locale, monkeypatch) for locale in ("C.UTF-8", "zh_CN.UTF-8"))
    assert not any("\u4e00" <= letter <= "\u9fff" for letter in english)
    assert program.help in english
    for text in (*program.chinese.values(), *(cli._CHINESE[key] for key in ("usage:", "[flags]"))):
        assert text in chinese
    assert "(default" not in chinese


def test_the_flags_of_ops_are_there_in_chinese_too():
    flags = [flag for entry in ENTRIES for flag in flags_of(entry)]
    shown = {flag.help for flag in flags if flag.help} | {flag.default for flag in flags if " " in flag.default}
    assert set(OPS_CHINESE) == shown

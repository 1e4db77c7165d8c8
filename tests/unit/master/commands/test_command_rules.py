"""What a command may be, and what became of it."""

import pytest

from ops_system.master.commands.rules import (
    MANY_TIMEOUT_S,
    MAX_COMMAND_CHARS,
    ONE_TIMEOUT_S,
    TAIL_BYTES,
    Command,
    NewSavedCommand,
    check_command,
    check_saved,
    reason_of,
    tail_of,
    title_of,
)
from ops_system.model.errors import Invalid
from ops_system.protocol.requests import CommandEnd

KEPT = {"name": "disk", "command": "df -h"}


def problems_of(check, *what):
    with pytest.raises(Invalid) as refused:
        check(*what)
    return [problem.partition(":")[0] for problem in refused.value.details["problems"]]


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({}, ["$"]),
        ({"argv": ["df"], "command": "df"}, ["$"]),
        ({"argv": ["", "x"]}, ["$.argv[0]"]),
        ({"argv": ["x"] * 1001}, ["$.argv"]),
        ({"command": "x" * (MAX_COMMAND_CHARS + 1)}, ["$.argv"]),
        ({"argv": ["df", "a\0b"]}, ["$.argv"]),
        ({"command": "df", "user": "a\0b"}, ["$.argv"]),
        ({"command": "df", "timeout_s": 0.0}, ["$.timeout_s"]),
        ({"command": "df", "timeout_s": float("nan")}, ["$.timeout_s"]),
        ({"command": "df", "timeout_s": 60.5}, ["$.timeout_s"]),
        ({"argv": [""], "timeout_s": -1.0}, ["$.argv[0]", "$.timeout_s"]),
    ],
)
def test_every_fault_of_a_command_is_named(fields, where):
    assert problems_of(check_command, Command(**fields), ONE_TIMEOUT_S) == where


def test_what_can_be_run():
    check_command(Command(argv=["printf", "%s", ""]), ONE_TIMEOUT_S)
    check_command(Command(command="x" * MAX_COMMAND_CHARS, timeout_s=MANY_TIMEOUT_S), MANY_TIMEOUT_S)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"name": " "}, ["$.name"]),
        ({"name": "x" * 65}, ["$.name"]),
        ({"name": "two\nlines"}, ["$.name"]),
        ({"description": "x" * 501}, ["$.description"]),
        ({"description": "two\nlines", "name": ""}, ["$.name", "$.description"]),
        ({"command": ""}, ["$"]),
    ],
)
def test_what_is_not_kept(fields, where):
    check_saved(NewSavedCommand(**KEPT))
    assert problems_of(check_saved, NewSavedCommand(**KEPT | fields)) == where


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (CommandEnd(0, None, timed_out=False, truncated=True, duration_s=1.0), None),
        (CommandEnd(7, None, timed_out=False, truncated=False, duration_s=1.0), "exited"),
        (CommandEnd(None, "SIGSEGV", timed_out=False, truncated=False, duration_s=1.0), "killed_by_signal"),
        (CommandEnd(None, "SIGKILL", timed_out=True, truncated=False, duration_s=1.0), "command_timed_out"),
    ],
)
def test_why_a_command_failed(end, code):
    reason = reason_of(end, 60)
    assert (reason.code if reason else None) == code


def test_the_end_of_long_output_is_text_whatever_it_is_cut_at():
    said = "ä".encode() * TAIL_BYTES
    assert tail_of(said[1:]).strip("\ufffd") == "ä" * (TAIL_BYTES // 2)
    assert tail_of(b"ok\xff") == "ok\ufffd"


def test_a_title_fits_a_line():
    assert title_of(Command(argv=["df", "-h"])) == "df -h"
    assert len(title_of(Command(command="x" * 500))) == 80

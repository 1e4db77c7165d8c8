import plistlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.errors import UsageError
from ops_system.service.base import Unit
from ops_system.service.units import is_as_written, launchd_plist, quote_systemd, sealed, systemd_unit

UNIT = Unit(
    role="worker",
    description="ops-system worker",
    argv=("/opt/my ops/worker", '-name=a "b" 100% $HOME', "-work_dir=/var/lib/ops"),
    working_dir="/srv/50% off",
    environment={"LANG": "zh_CN.UTF-8", "A": "x y%"},
    log_file="/var/lib/ops/worker.log",
)


def test_a_systemd_unit_leaves_services_alone_and_keeps_every_word():
    lines = systemd_unit(UNIT, is_user=False).splitlines()
    for line in (
        "Type=notify",
        "KillMode=process",
        "Delegate=yes",
        "OOMPolicy=continue",
        "Restart=on-failure",
        "RestartPreventExitStatus=2 3",
        "TasksMax=infinity",
        "WantedBy=multi-user.target",
        "WorkingDirectory=-/srv/50%% off",
        r'ExecStart="/opt/my ops/worker" "-name=a \"b\" 100%% $$HOME" "-work_dir=/var/lib/ops"',
        'Environment="A=x y%%"',
        'Environment="LANG=zh_CN.UTF-8"',
    ):
        assert line in lines
    assert "WantedBy=default.target" in systemd_unit(UNIT, is_user=True)


def read_back(text: str) -> str:
    """As systemd.syntax(7) and systemd.service(5) say: C escapes in double quotes, then %% and $$."""
    assert text[0] == text[-1] == '"'
    plain, escapes, chars = "", {"n": "\n", "t": "\t", "r": "\r"}, iter(text[1:-1])
    for char in chars:
        if char == "\\":
            escaped = next(chars)
            plain += escapes.get(escaped, escaped)
        else:
            assert char != '"'
            plain += char
    return plain.replace("%%", "%").replace("$$", "$")


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_every_word_comes_back(word):
    if "%%" not in word and "$$" not in word:
        quoted = quote_systemd(word)
        assert "\n" not in quoted
        assert read_back(quoted) == word


def test_a_nul_or_a_folder_over_two_lines_is_refused():
    with pytest.raises(UsageError, match="NUL"):
        quote_systemd("a\0b")
    for folder in ("/a\nExecStart=/bin/evil", "/a ", "/a\\"):
        with pytest.raises(UsageError, match="another folder"):
            systemd_unit(Unit("worker", "d", ("/x",), folder), is_user=False)


def test_an_edit_by_hand_is_seen():
    text = systemd_unit(UNIT, is_user=False)
    assert is_as_written(text)
    assert not is_as_written(text + "\n# mine")
    assert not is_as_written("")
    assert not is_as_written("[Unit]\n")
    assert is_as_written(sealed(""))


def test_a_property_list_lets_go_of_the_process_group():
    read = plistlib.loads(launchd_plist(UNIT))
    assert read["Label"] == "ops-system.worker"
    assert read["ProgramArguments"] == list(UNIT.argv)
    assert read["AbandonProcessGroup"] is True
    assert read["KeepAlive"] == {"SuccessfulExit": False}
    assert read["RunAtLoad"] is True
    assert read["StandardErrorPath"] == "/var/lib/ops/worker.log"

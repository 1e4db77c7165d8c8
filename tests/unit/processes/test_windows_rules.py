import struct

import pytest

from ops_system.processes.base import Exit
from ops_system.processes.windows_rules import KILLED, exit_of_code, filetime, is_polite, parse_pid_list


@pytest.mark.parametrize(
    ("code", "end"),
    [
        (0, Exit(code=0)),
        (7, Exit(code=7)),
        (-1, Exit(code=0xFFFFFFFF)),
        (KILLED, Exit(signal="SIGKILL")),
        (0xC0000005, Exit(signal="ACCESS_VIOLATION")),
        (0xC000013A - (1 << 32), Exit(signal="CTRL_C_EXIT")),
    ],
)
def test_exit_codes_in_words(code, end):
    assert exit_of_code(code) == end


def test_a_list_of_pids_reads_in_both_widths():
    assert parse_pid_list(struct.pack("<II3Q", 3, 3, 4, 8, 12) + bytes(64)) == (3, (4, 8, 12))
    assert parse_pid_list(struct.pack("<II2I", 5, 2, 4, 8), 4) == (5, (4, 8))


def test_only_requests_to_end_become_ctrl_break():
    assert is_polite("SIGTERM")
    assert not is_polite("SIGKILL")


def test_a_filetime_joins_its_halves():
    assert filetime(5, 1) == 0x1_0000_0005

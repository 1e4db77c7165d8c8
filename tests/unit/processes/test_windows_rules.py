import struct

import pytest

from ops_system.model.errors import Invalid
from ops_system.processes.base import Exit
from ops_system.processes.windows_rules import (
    KILLED,
    boot_id_of,
    check_batch,
    descendants,
    exit_of_code,
    filetime,
    is_polite,
    job_name,
    parse_pid_list,
)


@pytest.mark.parametrize(
    ("code", "end"),
    [
        (0, Exit(code=0)),
        (7, Exit(code=7)),
        (-1, Exit(code=0xFFFFFFFF)),
        (259, Exit(code=259)),
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


def test_a_clock_that_is_set_is_no_boot():
    def time_of_day(boot, bias):
        return struct.pack("<qqqIIqq", boot, boot + 999, 0, 0, 0, bias, 0)

    three_days = 3 * 86400 * 10_000_000
    assert boot_id_of(time_of_day(10**17, 0)) == boot_id_of(time_of_day(10**17 + three_days, three_days))
    assert boot_id_of(time_of_day(10**17, 0)) != boot_id_of(time_of_day(10**17 + 1, 0))


def test_a_job_is_named_by_its_instance_and_by_no_start():
    assert job_name("i1") == "Global\\ops-system-instance-i1"


def test_descendants_are_younger_than_their_parents():
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 20: 10, 30: 77, 40: 10}
    ages = {1: 1, 10: 100, 11: 110, 12: 120, 20: 50, 30: 5}  # 20 is older than 10: its parent was another 10
    assert descendants(10, parents, ages) == {10, 11, 12}
    assert descendants(99, parents, ages) == {99}


def test_a_circle_of_numbers_ends():
    assert descendants(1, {1: 2, 2: 1}, {1: 5, 2: 5}) == {1, 2}


@pytest.mark.parametrize("argument", ["a&calc", "%PATH%", 'a"b', "x\ny", "^", "a|b", "!x!", ">f", "<f"])
def test_batch_files_get_no_argument_that_cmd_would_read(argument):
    with pytest.raises(Invalid, match="environment variable"):
        check_batch(("C:\\x\\run.CMD", "fine", argument))
    check_batch(("C:\\x\\run.exe", argument))


def test_batch_files_get_plain_arguments():
    check_batch(("run.bat", "--port", "8080", "C:\\Program Files\\x", "a=b;c"))

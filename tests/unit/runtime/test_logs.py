import gzip
import logging
import os
import re

import pytest

from ops_system.model.errors import UsageError
from ops_system.runtime.config import build
from ops_system.runtime.logs import escape, redact, set_up
from ops_system.worker.config import SCHEMA


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was():
    root = logging.getLogger()
    handlers, level, raising = list(root.handlers), root.level, logging.raiseExceptions
    for handler in handlers:
        root.removeHandler(handler)
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    logging.raiseExceptions = raising
    logging.captureWarnings(False)


def config(**texts):
    return build(SCHEMA, {f"log.{key}": value for key, value in texts.items()}).log


def test_a_record_is_one_line_with_time_level_and_name(capsys):
    set_up(config())
    logging.getLogger("ops.x").warning("disk %s\nis full\x1b[31m", "sda")
    logging.getLogger("ops.x").debug("not this")
    line = capsys.readouterr().err
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING ops\.x: disk sda \| is full\\x1b\[31m\n", line)


def test_a_traceback_stays_in_its_line(capsys):
    set_up(config(level="debug"))
    try:
        int("password=hunter2")
    except ValueError:
        logging.getLogger("x").exception("it broke")
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "ValueError" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer SECRETSECRET",
        'body {"password": "SECRETSECRET"}',
        "token=SECRETSECRET&x=1",
        "joined by opsj1.0a1b2c.id7.SECRETSECRET",
        "api ops_SECRETSECRETSECRET used",
        "TOTP: SECRETSECRET",
        "basic SECRETSECRET==",
    ],
)
def test_credentials_are_blotted_out(text):
    assert "SECRETSECRET" not in redact(text)
    assert "***" in redact(text)


def test_plain_words_stay():
    text = "ops_system.worker started; the token was refused; instance ins_0a1b2c3d4e5f6g7h"
    assert redact(text) == text


def test_a_callers_own_redactor_is_asked(capsys):
    set_up(config(), [lambda text: text.replace("blue", "***")])
    logging.getLogger().error("blue sky")
    assert "*** sky" in capsys.readouterr().err


def test_the_file_rotates_by_size_and_keeps_n(tmp_path):
    path = tmp_path / "logs" / "w.log"
    set_up(config(file=str(path), max_size="1KB", max_backups="2"))
    for number in range(100):
        logging.getLogger("x").info("line %04d", number)
    files = sorted(entry.name for entry in path.parent.iterdir())
    assert files == ["w.log", "w.log.1.gz", "w.log.2.gz"]
    lines = (
        b"".join([gzip.decompress((path.parent / "w.log.1.gz").read_bytes()), path.read_bytes()]).decode().splitlines()
    )
    assert lines[-1].endswith("line 0099")
    numbers = [int(line[-4:]) for line in lines]
    assert numbers == list(range(numbers[0], 100))


def test_no_backups_and_no_compression(tmp_path):
    path = tmp_path / "w.log"
    set_up(config(file=str(path), max_size="1KB", max_backups="0", compress="0"))
    for number in range(100):
        logging.getLogger("x").info("line %04d", number)
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.log"]


def test_old_files_go_at_start_and_others_stay(tmp_path):
    path = tmp_path / "w.log"
    for name in ("w.log.1.gz", "w.log.2", "w.log.notes"):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "w.log.3").write_bytes(b"")
    set_up(config(file=str(path), max_age="30d"))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["w.log", "w.log.3", "w.log.notes"]


def test_a_file_that_cannot_be_written_is_a_usage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"log\.file: cannot write"):
        set_up(config(file=str(tmp_path / "file" / "w.log")))


def test_escape_keeps_words_of_every_language():
    assert escape("\u78c1\u76d8 \u00fc\tx") == "\u78c1\u76d8 \u00fc\tx"

"""Logging of a role: one line per record, to stderr or to a file that rotates, with secrets blotted out.

Called once by each role's `main`, before anything else logs.
"""

import gzip
import logging
import logging.handlers
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from ops_system.model.errors import UsageError
from ops_system.model.kinds import BOOL, SIZE, TEXT, choice, duration, integer
from ops_system.runtime.config import Option
from ops_system.runtime.files import stat_each

Redact = Callable[[str], str]


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys `log.*` of every role. `max_age_s` 0 keeps old files for ever."""

    level: Literal["debug", "info", "warning", "error"]
    file: str
    max_size_bytes: int
    max_backups: int
    max_age_s: float
    compress: bool


LOG_OPTIONS = (
    Option("log.level", choice("debug", "info", "warning", "error"), "info", "least level that is written"),
    Option("log.file", TEXT, "", "log file; empty: standard error"),
    Option("log.max_size", SIZE, "50MB", "size at which the log file is rotated"),
    Option("log.max_backups", integer(0, 1000), "5", "old log files kept"),
    Option("log.max_age", duration(), "30d", "age at which old log files go; 0s: never"),
    Option("log.compress", BOOL, "1", "gzip old log files"),
)
"""The part of each role's option table that fills `LogConfig`."""

_SECRET_SHAPES = (
    re.compile(r"\b(opsj1\.[0-9a-fA-F]+\.[\w-]+\.)[\w-]+"),  # join token: the secret is its last part
    re.compile(r"\b(ops_)[A-Za-z0-9_-]{16,}"),  # API token
    re.compile(r"((?i:bearer|basic)\s+)[\w.~+/=-]{8,}"),
    re.compile(r"(?i:((?:password|passwd|secret|token|api_?key|totp)[\"']?\s*[=:]\s*[\"']?))(?!\*\*\*)[^\s\"',;&}]+"),
)


def redact(text: str) -> str:
    """Return the text with everything that looks like a credential replaced by `***`."""
    for shape in _SECRET_SHAPES:
        text = shape.sub(r"\1***", text)
    return text


def set_up(config: LogConfig, redactors: Iterable[Redact] = (redact,)) -> None:
    """Point the root logger at stderr or at the file. Raises UsageError when the file cannot be opened."""
    handler = _file_handler(config) if config.file else logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(redactors))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(config.level.upper())
    logging.raiseExceptions = False
    logging.captureWarnings(True)


class LineFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO name: text`; line ends and control characters inside are escaped."""

    def __init__(self, redactors: Iterable[Redact] = (redact,)) -> None:
        super().__init__()
        self._redactors = tuple(redactors)

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        if record.stack_info:
            text = f"{text}\n{record.stack_info}"
        for redactor in self._redactors:
            text = redactor(text)
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return f"{at} {record.levelname} {record.name}: {escape(text)}"


def escape(text: str) -> str:
    r"""Return the text with line ends as ` | ` and other control characters as `\xNN`, so that a record is one line."""
    joined = " | ".join(line for line in text.splitlines() if line.strip())
    return "".join(char if char.isprintable() or char == "\t" else f"\\x{ord(char):02x}" for char in joined)


def _file_handler(config: LogConfig) -> logging.Handler:
    path = Path(config.file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return RotatingFile(path, config)
    except OSError as error:
        raise UsageError("log.file: cannot write {path}: {trouble}", path=path, trouble=error.strerror) from error


class RotatingFile(logging.handlers.RotatingFileHandler):
    """`file`, `file.1` (newest) … `file.N`; `.gz` when compressed. Old files go by number and by age."""

    def __init__(self, path: Path, config: LogConfig) -> None:
        super().__init__(path, maxBytes=config.max_size_bytes, backupCount=max(config.max_backups, 1), encoding="utf-8")
        self._config = config
        if config.compress:
            self.namer = _gz_name
            self.rotator = _compress
        self._drop_old()

    def doRollover(self) -> None:  # noqa: N802 - the name is the library's
        """Rotate, then drop what is too old or too many."""
        super().doRollover()
        self._drop_old()

    def _drop_old(self) -> None:
        limit = time.time() - self._config.max_age_s if self._config.max_age_s else 0.0
        path = Path(self.baseFilename)
        for old, stat in stat_each(path.parent.glob(f"{path.name}.*")):
            number = old.name[len(path.name) + 1 :].removesuffix(".gz")
            if number.isdigit() and (self._config.max_backups == 0 or stat.st_mtime < limit):
                old.unlink(missing_ok=True)


def _gz_name(name: str) -> str:
    return f"{name}.gz"


def _compress(source: str, target: str) -> None:
    """Gzip the file that is full. The fastest level: whoever logs waits for this."""
    with Path(source).open("rb") as plain, gzip.open(target, "wb", compresslevel=1) as packed:
        shutil.copyfileobj(plain, packed, 1024 * 1024)
    Path(source).unlink()

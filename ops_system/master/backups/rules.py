"""Names of copies and backups, which are due, and which go: pure."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from ops_system.master.web.route import ListQuery
from ops_system.model.errors import Invalid
from ops_system.model.operations import Operation

INTERVAL = timedelta(hours=1)
KEEP = 24
MAX_KEEP = 1000

FORMAT = 1
"""The number of the format this program writes, and the newest one it reads."""

_COPY_FORMAT = "ops-%Y%m%dT%H%M%SZ.db"
_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"ops-(\d{8}T\d{6}Z)-([0-9a-f]{6})\.(zip|sealed)\Z")
_KEY_NAME = r"keys/(?:master\.key|signing\.key|ca/[A-Za-z0-9][A-Za-z0-9._-]*)"
_CONTENT_NAME = re.compile(rf"(?:(?:ops|provision)\.db|{_KEY_NAME}|artefacts/[0-9a-f]{{64}})\Z")

_SORTS = ("created_at", "name", "place", "size_bytes")

Place = Literal["local", "s3"]


class File(msgspec.Struct, frozen=True):
    """One file in a backup."""

    name: str
    sha256: str
    size_bytes: int


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """`backup.json`, the first entry of a backup: what it is and what it holds.

    `master`: the SHA-256 of the authority's key, which tells masters apart. `rows` counts what people know of.
    """

    format: int
    id: str
    version: str
    created_at: datetime
    epoch: int
    master: str
    note: str = ""
    schema: tuple[int, ...]
    rows: dict[str, int]
    has_artefacts: bool
    artefact_count: int = 0
    artefact_bytes: int = 0
    files: tuple[File, ...]


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """A backup as the API shows it. Of a sealed one the contents are known where they were seen here."""

    name: str
    place: Place
    size_bytes: int
    created_at: datetime
    is_encrypted: bool
    has_artefacts: bool
    version: str
    is_own: bool | None = None  # of this master; None: sealed, so not known
    note: str = ""
    rows: dict[str, int] = {}
    artefact_count: int = 0
    artefact_bytes: int = 0
    verified_at: datetime | None = None
    problem: str = ""  # what the last look found


class NewBackup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to make; what is left out is as the settings say. `passphrase` empty: the one of the settings, if any."""

    place: Place | None = None
    artefacts: bool | None = None
    passphrase: str = ""
    note: str = ""


class BackupAccepted(msgspec.Struct, frozen=True):
    """The work is on its way; the operation tells how far it is."""

    operation: Operation


class BackupPassphrase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a sealed backup is opened; empty: by the passphrase of the settings."""

    passphrase: str = ""


class RestoreOrder(BackupPassphrase, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`confirm` is the name of the backup, typed. `artefacts`: bring back the packages it holds as well."""

    confirm: str
    artefacts: bool = True


class BackupSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How backups are made and kept. `keep_count` and `keep_days` limit each place; 0: no limit. The newest stays."""

    place: Place = "local"
    artefacts: bool = True
    keep_count: int = 14
    keep_days: int = 0
    is_encrypted: bool = False
    has_s3: bool = False
    folder: str = ""


class BackupSettingsChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """New settings. `passphrase`: null leaves it, empty removes it; it is sealed and never shown."""

    place: Place = "local"
    artefacts: bool = True
    keep_count: int = 14
    keep_days: int = 0
    passphrase: str | None = None


class Stranger(msgspec.Struct, frozen=True):
    """An instance, or a node, that spoke since the restore and that this data does not know."""

    node_id: str
    instance_id: str
    first_seen_at: datetime


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """The last restore, if there was one: from what, and what runs on nodes although this data does not know it."""

    epoch: int
    name: str = ""
    restored_at: datetime | None = None
    backup_created_at: datetime | None = None
    strangers: tuple[Stranger, ...] = ()
    missing_packages: int = 0


class BackupPage(msgspec.Struct, frozen=True):
    """One page of the list. `away`: why the S3 server does not answer, so that its backups are missing here."""

    items: list[Backup]
    total: int
    away: str = ""


class BackupQuery(ListQuery, frozen=True):
    """The list's own query; `q` looks into names and notes."""


# --- hourly copies ------------------------------------------------------------------------------------------------
def name_of(at: datetime) -> str:
    """Return the file name of a copy made at `at`."""
    return at.astimezone(UTC).strftime(_COPY_FORMAT)


def time_of(name: str) -> datetime | None:
    """Return when a copy was made, None for a name that is not ours."""
    try:
        return datetime.strptime(name, _COPY_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def is_due(names: list[str], now: datetime) -> bool:
    """Return whether the newest copy is an interval old. A copy from the future (a clock set back) does not count."""
    past = [at for at in map(time_of, names) if at is not None and at <= now]
    return not past or now - max(past) >= INTERVAL


def superfluous(names: list[str], keep: int = KEEP) -> list[str]:
    """Return the copies beyond the `keep` newest; names that are not ours are never among them."""
    ours = sorted((name for name in names if time_of(name) is not None), reverse=True)
    return ours[keep:]


# --- backups ------------------------------------------------------------------------------------------------------
def backup_name(created_at: datetime, backup_id: str, *, is_encrypted: bool) -> str:
    """Return the file name of a backup."""
    ending = "sealed" if is_encrypted else "zip"
    return f"ops-{created_at.astimezone(UTC).strftime(_STAMP)}-{backup_id}.{ending}"


def is_backup_name(name: str) -> bool:
    """Return whether a file of this name may be a backup; no other name is ever made into a path."""
    return _NAME.match(name) is not None


def sort_backups(found: Sequence[Backup], query: BackupQuery) -> list[Backup]:
    """Return what the query asks for, the newest first unless it says otherwise. Raises Invalid for another field."""
    wanted = query.sort or "-created_at"
    field = wanted.removeprefix("-")
    if field not in _SORTS:
        _refuse([f"sort: there is no field {field!r} here; use one of {', '.join(_SORTS)}"])
    text = query.q.casefold()
    matching = [one for one in found if text in f"{one.name} {one.note}".casefold()]
    return sorted(matching, key=lambda one: (getattr(one, field), one.name), reverse=wanted.startswith("-"))


def expired(backups: Sequence[Backup], settings: BackupSettings, now: datetime) -> list[Backup]:
    """Return what goes by the settings. The newest of this master always stays, and so does what others made."""
    ours = sorted((one for one in backups if one.is_own is not False), key=lambda one: one.created_at, reverse=True)
    beyond = {one.name for one in ours[settings.keep_count :]} if settings.keep_count else set()
    horizon = now - timedelta(days=settings.keep_days)
    old = {one.name for one in ours if one.created_at < horizon} if settings.keep_days else set()
    return [one for one in ours[1:] if one.name in beyond | old]


def check_settings(change: BackupSettingsChange, *, has_s3: bool) -> None:
    """Raise Invalid with every fault."""
    problems = []
    if not 0 <= change.keep_count <= MAX_KEEP:
        problems.append(f"$.keep_count: from 0 (no limit) to {MAX_KEEP}")
    if not 0 <= change.keep_days <= 10 * MAX_KEEP:
        problems.append(f"$.keep_days: from 0 (no limit) to {10 * MAX_KEEP}")
    if change.place == "s3" and not has_s3:
        problems.append("$.place: no S3 server is set up; set storage.minio.endpoint, ak and sk")
    _refuse(problems)


def check_note(note: str) -> None:
    """Raise Invalid for a note that is no short line."""
    if len(note) > 200 or not note.isprintable():  # noqa: PLR2004 - one line in a list
        _refuse(["$.note: at most 200 printable characters"])


def check_passphrase(passphrase: str, least: int) -> None:
    """Raise Invalid for a passphrase that is too short to be worth it."""
    if len(passphrase) < least:
        _refuse([f"$.passphrase: at least {least} characters"])


def find_content_problems(contents: Contents, names: Iterable[str], schema: Iterable[int]) -> list[str]:
    """Return why a backup with these entries cannot be restored by this program."""
    if contents.format > FORMAT:
        return [f"it was written in format {contents.format} by version {contents.version}; install that version"]
    unknown = sorted(set(contents.schema) - set(schema))
    if unknown:
        steps = ", ".join(f"{number:04}" for number in unknown)
        return [f"version {contents.version} wrote it (schema steps {steps} are not known here); install that version"]
    listed = [file.name for file in contents.files]
    problems = [f"it lists {name!r}, which no backup holds" for name in listed if not _CONTENT_NAME.match(name)]
    if "ops.db" not in listed:
        problems.append("it holds no database")
    here = set(names) - {"backup.json"}
    problems += [f"it lists {name}, which is missing" for name in listed if name not in here]
    problems += [f"it holds {name!r}, which it does not list" for name in sorted(here - set(listed))]
    return problems


def _refuse(problems: list[str]) -> None:
    if problems:
        raise Invalid("; ".join(problems), problems=problems)

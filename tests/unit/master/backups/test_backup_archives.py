"""Backups as files: what is written is read back; what is damaged, newer or no backup is refused before it is used."""

import zipfile
from datetime import UTC, datetime

import msgspec
import pytest

from ops_system.master.backups.archive import ArchiveWriter, open_archive
from ops_system.master.backups.rules import BackupSettings, Contents, File, backup_name, expired, find_content_problems
from ops_system.master.backups.shelf import LocalShelf, look_at, of_contents
from ops_system.model.errors import Conflict, Invalid, NotFound
from ops_system.runtime.archives import hash_file
from tests.fakes.evil_archives import LINK, Member, build_zip

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SCHEMA = frozenset({1, 2})
PASS = "correct horse battery"


def contents_of(*files: File, **changes) -> Contents:
    fields = {"format": 1, "id": "abc123", "version": "0.1.0", "created_at": NOW, "epoch": 1, "master": "own"}
    fields |= {"schema": (1, 2), "rows": {"nodes": 3}, "has_artefacts": True, "files": files}
    return Contents(**{**fields, **changes})


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "ops.db"
    path.write_bytes(b"SQLite format 3\0" + b"row " * 300_000)
    return path


def write(tmp_path, database, passphrase="", **changes):
    path = tmp_path / backup_name(NOW, "abc123", is_encrypted=bool(passphrase))
    listed = File("ops.db", hash_file(database), database.stat().st_size)
    writer = ArchiveWriter(path, contents_of(listed, **changes), passphrase, lambda _bytes: None)
    writer.add("ops.db", database)
    writer.finish()
    return path


@pytest.mark.parametrize("passphrase", ["", PASS])
def test_what_was_written_is_read_back(tmp_path, database, passphrase):
    path = write(tmp_path, database, passphrase)
    assert path.stat().st_mode & 0o777 == 0o600
    with open_archive(path, passphrase, SCHEMA) as archive:
        assert b"".join(archive.read(archive.contents.files[0])) == database.read_bytes()
        archive.unpack(archive.contents.files[0], tmp_path / "out", lambda _bytes: None)
    assert (tmp_path / "out").read_bytes() == database.read_bytes()


def test_packages_are_stored_and_the_database_is_deflated(tmp_path, database):
    package = tmp_path / "package"
    package.write_bytes(b"z" * 100_000)
    sha256 = hash_file(package)
    name = f"artefacts/{sha256}"
    files = (File("ops.db", hash_file(database), database.stat().st_size), File(name, sha256, 100_000))
    writer = ArchiveWriter(tmp_path / "b.zip", contents_of(*files), "", lambda _bytes: None)
    writer.add("ops.db", database)
    writer.add(name, package)
    writer.finish()
    with zipfile.ZipFile(tmp_path / "b.zip") as zipped:
        assert zipped.getinfo(name).compress_type == zipfile.ZIP_STORED
        assert zipped.getinfo("ops.db").compress_type == zipfile.ZIP_DEFLATED
        assert zipped.infolist()[0].filename == "backup.json"


def test_a_file_that_changed_since_it_was_listed_ends_the_backup(tmp_path, database):
    listed = File("ops.db", "0" * 64, 5)
    writer = ArchiveWriter(tmp_path / "b.zip", contents_of(listed), "", lambda _bytes: None)
    with pytest.raises(Invalid, match="changed or is damaged"):
        writer.add("ops.db", database)
    writer.discard()


@pytest.mark.parametrize("passphrase", ["", PASS])
def test_a_damaged_or_cut_backup_is_refused(tmp_path, database, passphrase):
    path = write(tmp_path, database, passphrase)
    whole = path.read_bytes()
    middle = len(whole) // 2
    for case in (whole[:-30], whole[:middle], whole[:middle] + b"??" + whole[middle + 2 :], b"", b"no backup at all"):
        path.write_bytes(case)
        with pytest.raises(Invalid), open_archive(path, passphrase, SCHEMA) as archive:
            archive.check_file(archive.contents.files[0], lambda _bytes: None)


def test_a_newer_backup_names_the_version_to_install(tmp_path, database):
    for changes in ({"format": 2}, {"schema": (1, 2, 99)}):
        path = write(tmp_path, database, **changes)
        with pytest.raises(Invalid, match=r"0\.1\.0.*install that version") as refused, open_archive(path, "", SCHEMA):
            pass
        assert refused.value.details["reason"] == "newer"
        path.unlink()


def test_only_what_a_backup_holds_is_taken():
    good = File("ops.db", "0" * 64, 1)
    assert find_content_problems(contents_of(good), ["backup.json", "ops.db"], SCHEMA) == []
    for name in ("../ops.db", "keys/../../etc/passwd", "keys/ca/a/b", "artefacts/x", "etc/passwd", "keys/ca/.."):
        assert find_content_problems(contents_of(good, File(name, "0" * 64, 1)), ["ops.db", name], SCHEMA), name
    assert find_content_problems(contents_of(), [], SCHEMA) == ["it holds no database"]
    assert find_content_problems(contents_of(good), ["ops.db", "extra"], SCHEMA)
    assert find_content_problems(contents_of(good), [], SCHEMA)


@pytest.mark.parametrize(
    "evil",
    [
        Member("../ops.db", b"x"),
        Member("keys/ca/link", b"/etc/passwd", mode=LINK),
        Member("/ops.db", b"x"),
        Member("OPS.DB", b"x"),
        Member("bomb", b"x", size_bytes=4_000_000_000),
    ],
    ids=["dots", "link", "absolute", "twin", "too big"],
)
def test_an_evil_archive_is_refused_by_the_one_extractor(tmp_path, evil):
    text = msgspec.json.encode(contents_of(File("ops.db", "0" * 64, 1)))
    path = tmp_path / "evil.zip"
    path.write_bytes(build_zip([Member("backup.json", text), Member("ops.db", b"x"), evil]))
    with pytest.raises(Invalid) as refused, open_archive(path, "", SCHEMA):
        pass
    assert refused.value.details["reason"] == "damaged"


def test_another_zip_is_no_backup(tmp_path):
    path = tmp_path / "other.zip"
    path.write_bytes(build_zip([Member("service.json", b"{}")]))
    with pytest.raises(Invalid) as refused, open_archive(path, "", SCHEMA):
        pass
    assert refused.value.details["reason"] == "not_a_backup"


async def test_a_folder_tells_what_each_backup_is(tmp_path, database):
    shelf = LocalShelf(tmp_path / "shelf", "own")
    plain, sealed = write(tmp_path, database), write(tmp_path, database, PASS)
    for path in (plain, sealed):
        await shelf.put(path, path.name)
    (tmp_path / "shelf" / "ops-20260301T120000Z-ffffff.zip").write_bytes(b"cut")
    (tmp_path / "shelf" / "notes.txt").write_text("no backup")
    found = {backup.name: backup for backup in await shelf.list()}
    assert len(found) == 3
    assert (found[plain.name].is_own, found[plain.name].rows, found[plain.name].is_encrypted) == (
        True,
        {"nodes": 3},
        False,
    )
    assert (found[sealed.name].is_own, found[sealed.name].rows, found[sealed.name].is_encrypted) == (None, {}, True)
    assert found["ops-20260301T120000Z-ffffff.zip"].problem
    with pytest.raises(Conflict):
        await shelf.put(write(tmp_path, database), plain.name)
    assert shelf.local_path("../notes.txt") is None
    await shelf.delete(sealed.name)
    with pytest.raises(NotFound):
        await shelf.delete(sealed.name)


def backup_of(day: int, *, is_own: bool | None = True):
    created_at = NOW.replace(day=day)
    made = of_contents(contents_of(created_at=created_at), 1, "local", "own", is_encrypted=False)
    return msgspec.structs.replace(made, name=f"day-{day}", is_own=is_own)


def test_the_settings_say_what_goes_and_the_newest_stays():
    days = [backup_of(day) for day in range(1, 10)]
    names = lambda settings: sorted(one.name for one in expired(days, settings, NOW.replace(day=28)))  # noqa: E731
    assert names(BackupSettings(keep_count=7, keep_days=0)) == ["day-1", "day-2"]
    assert names(BackupSettings(keep_count=0, keep_days=22)) == ["day-1", "day-2", "day-3", "day-4", "day-5"]
    assert names(BackupSettings(keep_count=0, keep_days=0)) == []
    assert len(names(BackupSettings(keep_count=0, keep_days=1))) == 8  # all are old: the newest stays


def test_backups_of_other_masters_are_never_removed_by_the_settings():
    found = [backup_of(1, is_own=False), backup_of(2), backup_of(3)]
    assert [one.name for one in expired(found, BackupSettings(keep_count=1), NOW)] == ["day-2"]


def test_a_damaged_file_is_shown_with_what_is_wrong(tmp_path):
    path = tmp_path / "ops-20260301T120000Z-abc123.sealed"
    path.write_bytes(b"OPSBACKUP1\n\0\0\0\x05{}")
    assert "damaged" in look_at(path, "local", "own").problem

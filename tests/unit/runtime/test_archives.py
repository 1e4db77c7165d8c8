import hashlib
import io
import os
import posixpath
import random
import stat
import threading
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.archives import ArchiveLimits, find_name_problem, find_twins
from ops_system.model.errors import Invalid
from ops_system.runtime.archives import (
    extract_zip,
    hash_file,
    inspect_zip,
    install_archive,
    read_manifest_from_zip,
    sweep,
)
from tests.fakes.evil_archives import (
    BAD_PACKAGES,
    BASE,
    DEFLATED,
    EVIL,
    EVIL_CONTENT,
    FOLDER,
    REGULAR,
    STORED,
    Member,
    build_zip,
    good_zip,
)


@pytest.fixture
def put(tmp_path):
    def write(data):
        path = tmp_path / "a.zip"
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def outside(tmp_path):
    """The folder that is extracted into, and a check that nothing appeared anywhere around it."""
    target = tmp_path / "inner" / "target"
    target.parent.mkdir()
    yield target
    assert [path.name for path in target.parent.iterdir()] in ([], ["target"])
    assert {path.name for path in tmp_path.iterdir()} <= {"a.zip", "inner"}


WORDS = {
    "nul": "NUL, control",
    "control": "NUL, control",
    "backslash": "backslash",
    "drive": "names a drive",
    "absolute": "absolute path",
    "up": "leaves the archive",
    "up_inside": "leaves the archive",
    "reserved": "Windows reserves",
    "case_twin": "only by case",
    "nfc_twin": "by composed letters",
    "same_twice": "stands twice",
    "file_and_folder": "is a file and a folder",
    "link": "is a link",
    "device": "is a device",
    "encrypted": "is encrypted",
    "overlapping_nested": "overlaps",
    "other_local_name": "disagree about its name",
    "too_many": "more than 20000 entries",
    "too_many_hidden": "more than 20000 entries",
    "quota": "more than the 8589934592 allowed",
    "bomb": "more than 200 times",
    "no_zip": "no zip",
    "empty": "no zip",
}


@pytest.mark.parametrize("rule", EVIL)
def test_an_evil_archive_is_refused_and_leaves_nothing(rule, put, outside):
    path = put(EVIL[rule]())
    with pytest.raises(Invalid) as caught:
        extract_zip(path, outside)
    assert not outside.exists()
    assert WORDS.get(rule, "") in caught.value.message
    assert caught.value.message.isprintable()
    assert caught.value.details["problems"]


@pytest.mark.parametrize("rule", EVIL_CONTENT)
def test_a_lie_is_found_while_unpacking_and_leaves_nothing(rule, put, outside):
    path = put(EVIL_CONTENT[rule]())
    inspect_zip(path)
    with pytest.raises(Invalid, match="the archive is refused"):
        extract_zip(path, outside)
    assert not outside.exists()
    with pytest.raises(Invalid, match="the archive is refused"):
        install_archive(path, hash_file(path), outside)
    assert list(outside.parent.iterdir()) == []


@pytest.mark.parametrize("case", BAD_PACKAGES)
def test_a_zip_that_is_no_package_says_why(case, put):
    with pytest.raises(Invalid) as caught:
        read_manifest_from_zip(put(BAD_PACKAGES[case]()))
    assert caught.value.details["problems"]
    words = {
        "no_manifest": "there is no service.json in the root",
        "manifest_in_folder": 'it stands at "evil-1.0/service.json": zip the content',
        "entrypoint_missing": '"bin/app" is not in the package',
        "entrypoint_outside": "leaves the archive",
        "entrypoint_is_folder": "is a folder",
        "entrypoint_is_parent": "is a folder",
    }
    assert words.get(case, "") in caught.value.message


def test_every_problem_is_listed(put):
    with pytest.raises(Invalid) as caught:
        inspect_zip(put(build_zip([*BASE, Member("../a"), Member("/b"), Member("c", mode=0o120777)])))
    assert len(caught.value.details["problems"]) == 3


def test_a_good_package_is_unpacked_with_modes(put, tmp_path):
    extra = [
        Member("bin/", mode=FOLDER),
        Member("bin/tool", b"\x7fELF", mode=0o104755),
        Member("data/deep/x.bin", bytes(range(256)) * 10_000, method=STORED),
        Member("empty"),
        Member("\u6587\u4ef6.txt", b"z", mode=0o100600),
        Member("loose", b"w", mode=0o100666),
    ]
    path, target = put(good_zip(extra)), tmp_path / "target"
    old = os.umask(0o077)
    try:
        extract_zip(path, target)
    finally:
        os.umask(old)
    files = {str(p.relative_to(target)): stat.S_IMODE(p.lstat().st_mode) for p in target.rglob("*")}
    assert files == {
        "service.json": 0o644,
        "run.sh": 0o755,
        "bin": 0o755,
        "bin/tool": 0o755,
        "data": 0o755,
        "data/deep": 0o755,
        "data/deep/x.bin": 0o644,
        "empty": 0o644,
        "\u6587\u4ef6.txt": 0o644,
        "loose": 0o644,
    }
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert (target / "data/deep/x.bin").read_bytes() == bytes(range(256)) * 10_000


def test_an_existing_target_is_never_written_into(put, outside):
    outside.mkdir()
    with pytest.raises(FileExistsError):
        extract_zip(put(good_zip()), outside)
    assert list(outside.iterdir()) == []


def test_a_link_in_place_of_the_target_is_not_followed(put, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "target").symlink_to(elsewhere)
    with pytest.raises(FileExistsError):
        extract_zip(put(good_zip()), tmp_path / "target")
    assert list(elsewhere.iterdir()) == []


def test_quota_and_entry_limits_are_arguments(put):
    path = put(good_zip())
    with pytest.raises(Invalid, match="bytes unpacked, more than the 10 allowed"):
        inspect_zip(path, ArchiveLimits(max_total_bytes=10))
    with pytest.raises(Invalid, match="more than 1 entries"):
        inspect_zip(path, ArchiveLimits(max_entries=1))
    with pytest.raises(Invalid, match="a directory of more than"):
        inspect_zip(path, ArchiveLimits(max_directory_bytes=10))


def test_exactly_the_allowed_number_of_entries_is_fine(put):
    inspect_zip(put(build_zip([*BASE, *(Member(f"f{n}", method=STORED) for n in range(19_998))])))


def test_progress_counts_every_byte_and_can_end_it(put, outside):
    path = put(good_zip([Member("x", random.Random(1).randbytes(5_000_000), method=STORED), Member("y", b"y" * 100)]))
    seen = []
    lock = threading.Lock()

    def note(done, total):
        with lock:
            seen.append((done, total))

    listing = extract_zip(path, outside, progress=note)
    assert seen[-1] == (listing.total_bytes, listing.total_bytes)
    assert seen == sorted(seen)

    class EnoughError(Exception):
        pass

    def stop(done, total):
        raise EnoughError

    with pytest.raises(EnoughError):
        extract_zip(path, outside.with_name("second"), progress=stop)
    assert not outside.with_name("second").exists()


def test_install_is_whole_and_repeatable(put, tmp_path):
    path, target = put(good_zip()), tmp_path / "versions" / "a" / "sha"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert install_archive(path, digest.upper(), target) == target
    before = (target / "run.sh").stat().st_ino
    install_archive(path, digest, target)
    assert (target / "run.sh").stat().st_ino == before
    assert [p.name for p in target.parent.iterdir()] == ["sha"]


def test_install_refuses_another_checksum(put, tmp_path):
    target = tmp_path / "versions" / "sha"
    with pytest.raises(Invalid, match="damaged or changed"):
        install_archive(put(good_zip()), "0" * 64, target)
    assert not target.exists()


def test_install_makes_the_entrypoint_executable_whatever_packed_it(tmp_path, put):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(
            "service.json", '{"name": "a", "version": "1", "entrypoint": "./run.sh", "stop_entrypoint": "stop.sh"}'
        )
        for name in ("run.sh", "stop.sh", "other.sh"):
            archive.writestr(name, "#!/bin/sh\n")
    path = put(buffer.getvalue())
    target = install_archive(path, hash_file(path), tmp_path / "t")
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in target.iterdir()}
    assert modes == {"service.json": 0o644, "run.sh": 0o755, "stop.sh": 0o755, "other.sh": 0o644}


def test_two_at_once_leave_one(put, tmp_path):
    path = put(good_zip([Member("x", os.urandom(3_000_000), method=STORED)]))
    digest, target = hash_file(path), tmp_path / "v" / "t"
    threads = [threading.Thread(target=install_archive, args=(path, digest, target)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [p.name for p in target.parent.iterdir()] == ["t"]
    assert hash_file(target / "x")


def test_sweep_removes_what_a_crash_left(tmp_path):
    (tmp_path / ".sha.0a1b.tmp" / "x").mkdir(parents=True)
    (tmp_path / "sha").mkdir()
    sweep(tmp_path)
    sweep(tmp_path / "not there")
    assert [p.name for p in tmp_path.iterdir()] == ["sha"]


def test_other_peoples_zips_are_read(tmp_path, put):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"a comment with PK\x05\x06 inside, and more bytes after it"
        archive.mkdir("folder")
        archive.writestr("folder/\u00fcber.txt", "x" * 1000)
        with archive.open("streamed", "w", force_zip64=True) as stream:
            stream.write(b"0123456789" * 1000)
    extract_zip(put(buffer.getvalue()), tmp_path / "t")
    assert (tmp_path / "t/folder/\u00fcber.txt").read_text() == "x" * 1000
    assert (tmp_path / "t/streamed").read_bytes() == b"0123456789" * 1000


def test_a_name_without_the_utf8_flag_is_read(put):
    listing = inspect_zip(put(build_zip([*BASE, Member(b"\x81.txt", flags=0), Member("\u4e2d.txt", flags=0)])))
    assert [entry.name for entry in listing.entries[2:]] == ["\u00fc.txt", "\u4e2d.txt"]


def test_what_stands_before_the_zip_is_skipped(put, tmp_path):
    extract_zip(put(b"#!/bin/sh\nexit\n" + good_zip()), tmp_path / "t")
    assert (tmp_path / "t/run.sh").exists()


@given(st.text(max_size=40))
def test_a_name_that_passes_stays_inside_and_is_plain(name):
    if find_name_problem(name):
        return
    assert not name.startswith("/")
    assert posixpath.normpath(name) == name
    assert ".." not in name.split("/")
    assert not any(ord(char) < 32 or char in "\\\x7f" for char in name)


@given(
    st.lists(
        st.one_of(
            st.sampled_from(["..", ".", "a", "con", "b.", "", "C:", "x\\y", "aux.txt", "ok"]), st.text(max_size=5)
        ),
        max_size=5,
    )
)
def test_composed_names_never_leave(parts):
    name = "/".join(parts)
    if not find_name_problem(name):
        assert not {"..", ".", "", "con", "b.", "C:"} & set(name.split("/")[:1])
        assert os.path.normpath(f"/root/{name}").startswith("/root/")


@given(st.lists(st.sampled_from(["a", "A", "b/c", "B/d", "a/x", "\u00e9", "e\u0301", "q"]), max_size=6))
def test_twins_are_exactly_what_a_caseless_disk_would_merge(names):
    has_twins = bool(find_twins((name, False) for name in names))
    spelled = {}
    clash = len(set(names)) != len(names)
    for name in names:
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            path, is_file = "/".join(parts[:depth]), depth == len(parts)
            key = path.lower().replace("e\u0301", "\u00e9")
            clash |= spelled.setdefault(key, (path, is_file)) != (path, is_file)
    assert has_twins == clash


@given(st.binary(max_size=300), st.integers(min_value=0, max_value=400))
def test_damaged_bytes_are_refused_never_worse(tmp_path_factory, noise, at):
    data = bytearray(good_zip([Member("x", b"hello" * 10)]))
    start = at % len(data)
    data[start : start + len(noise)] = noise
    folder = tmp_path_factory.mktemp("noise")
    (folder / "a.zip").write_bytes(data)
    try:
        extract_zip(folder / "a.zip", folder / "t")
    except Invalid:
        assert not (folder / "t").exists()


def test_members_of_the_fake_are_sound(tmp_path):
    """The generator's plain output is a zip for others, too: its evil ones are evil in one way only."""
    (tmp_path / "a.zip").write_bytes(
        good_zip([Member("d/", mode=FOLDER), Member("e", b"e", method=DEFLATED, mode=REGULAR)])
    )
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["service.json", "run.sh", "d/", "e"]

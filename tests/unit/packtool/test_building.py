import os
import stat
import time
import zipfile

import pytest

from ops_system.model.errors import Invalid, NotAllowed
from ops_system.packtool.archive import write_package
from ops_system.packtool.sources import read_folder
from ops_system.packtool.starter import write_starter
from ops_system.packtool.words import _CATALOGUE, Words
from ops_system.runtime.archives import extract_zip

ENGLISH = Words({})


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "web"
    (path / "bin").mkdir(parents=True)
    (path / "bin" / "app").write_text("#!/bin/sh\nexit 0\n")
    (path / "service.json").write_text('{"name": "web", "version": "1.0", "entrypoint": "bin/app"}')
    return path


def build(folder, target):
    seen = []
    built = write_package(read_folder(folder), target, seen.append)
    assert seen == sorted(seen)
    return built


def problems_of(folder):
    with pytest.raises(Invalid) as caught:
        read_folder(folder)
    return caught.value.details["problems"]


def test_the_same_content_gives_the_same_bytes(folder, tmp_path):
    (folder / "b").write_text("b" * 5000)
    (folder / "a").write_text("a")
    first = build(folder, tmp_path / "1.zip")
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 1e6, time.time() - 1e6))
    (folder / "a").unlink()
    (folder / "a").write_text("a")
    (folder / "a").chmod(0o600)
    second = build(folder, tmp_path / "2.zip")
    assert first.sha256 == second.sha256
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


def test_names_are_sorted_times_fixed_and_modes_two(folder, tmp_path):
    (folder / "tool").write_text("x")
    (folder / "tool").chmod(0o711)
    (folder / "data").write_text("x")
    (folder / "data").chmod(0o600)
    (folder / "var").mkdir()
    build(folder, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        infos = archive.infolist()
    assert [info.filename for info in infos] == ["bin/app", "data", "service.json", "tool", "var/"]
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    modes = {info.filename: stat.S_IMODE(info.external_attr >> 16) for info in infos}
    assert modes == {"bin/app": 0o755, "data": 0o644, "service.json": 0o644, "tool": 0o755, "var/": 0o755}


def test_what_is_packed_is_what_is_unpacked(folder, tmp_path):
    (folder / "big").write_bytes(os.urandom(3_000_000))
    (folder / "empty").mkdir()
    (folder / "\u6587\u4ef6").write_text("x")
    build(folder, tmp_path / "a.zip")
    extract_zip(tmp_path / "a.zip", tmp_path / "out")
    ours = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    theirs = {
        path.relative_to(tmp_path / "out"): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert ours == theirs
    assert (tmp_path / "out" / "empty").is_dir()


def test_links_inside_become_what_they_point_to(folder, tmp_path):
    (folder / "app").symlink_to("bin/app")
    (folder / "folder").symlink_to("bin")
    (folder / "absolute").symlink_to(folder / "bin" / "app")
    build(folder, tmp_path / "a.zip")
    extract_zip(tmp_path / "a.zip", tmp_path / "out")
    for name in ("app", "folder/app", "absolute"):
        path = tmp_path / "out" / name
        assert not path.is_symlink()
        assert path.read_text() == "#!/bin/sh\nexit 0\n"


def test_a_package_may_be_reached_through_a_link(folder, tmp_path):
    (tmp_path / "way").symlink_to(folder)
    assert [source.name for source in read_folder(tmp_path / "way").sources] == ["bin/app", "service.json"]


def test_every_fault_is_told_at_once(folder, tmp_path):
    (tmp_path / "outside").write_text("secret")
    (folder / "leaves").symlink_to("../outside")
    (folder / "leaves_folder").symlink_to(tmp_path)
    (folder / "circle").symlink_to("circle")
    (folder / "up").symlink_to(".")
    (folder / "nothing").symlink_to("missing")
    (folder / "aux.txt").write_text("")
    (folder / "A").write_text("")
    (folder / "a").write_text("")
    (folder / "new\nline").write_text("")
    os.mkfifo(folder / "pipe")
    (folder / "service.json").write_text('{"name": "w b", "version": "1.0", "entrypoint": "bin/app"}')
    found = "\n".join(problems_of(folder))
    for words in (
        "$.name: ",
        '"leaves": is a link that leaves the folder',
        '"leaves_folder": is a link that leaves',
        '"circle": cannot be read',
        '"up": is a link to a folder around it',
        '"nothing": cannot be read, or is a link to nothing',
        '"aux.txt": uses',
        '"a": differs from "A"',
        '"new\\u000aline": has NUL, control',
        '"pipe": is a device, pipe or socket',
    ):
        assert words in found
    assert len(found.splitlines()) == 10


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no service.json"),
        ("{", "no valid JSON"),
        ('{"name": "a", "version": "1", "entrypoint": "bin/app", "os": "linus"}', '"linux"'),
        ('{"name": "a", "version": "1", "entrypoint": "bin/ap"}', 'entrypoint: "bin/ap" is not among the packed files'),
        ('{"name": "a", "version": "1", "entrypoint": "bin"}', "is not among the packed files"),
    ],
)
def test_a_wrong_manifest_is_explained(folder, text, words):
    (folder / "service.json").unlink()
    if text is not None:
        (folder / "service.json").write_text(text)
    assert words in "\n".join(problems_of(folder))


def test_what_is_ignored_stays_out_and_may_be_anything(folder):
    (folder / ".packignore").write_text("*.log\n/pipes/\nservice.json\nbroken\n")
    (folder / "pipes").mkdir()
    os.mkfifo(folder / "pipes" / "p")
    (folder / "x.log").write_text("")
    (folder / "broken").symlink_to("missing")
    (folder / "__pycache__").mkdir()
    assert [source.name for source in read_folder(folder).sources] == ["bin/app", "service.json"]


def test_an_ignored_entrypoint_is_missed(folder):
    (folder / ".packignore").write_text("bin\n")
    assert ".packignore" in problems_of(folder)[0]


def test_a_package_that_a_worker_would_refuse_is_not_left_behind(folder, tmp_path):
    (folder / "zeros").write_bytes(bytes(5_000_000))
    with pytest.raises(Invalid, match="more than 200 times"):
        build(folder, tmp_path / "a.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web"]


def test_an_old_package_survives_a_failed_build(folder, tmp_path):
    build(folder, tmp_path / "a.zip")
    before = (tmp_path / "a.zip").read_bytes()
    (folder / "zeros").write_bytes(bytes(5_000_000))
    with pytest.raises(Invalid):
        build(folder, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == before


def test_a_file_that_vanishes_is_named(folder, tmp_path):
    (folder / "late").write_text("x")
    found = read_folder(folder)
    (folder / "late").unlink()
    with pytest.raises(Invalid, match='"late": cannot be read'):
        write_package(found, tmp_path / "a.zip", lambda _: None)


def test_the_starter_is_a_package_as_it_is(tmp_path):
    files = write_starter(tmp_path / "My service!", ENGLISH)
    assert read_folder(tmp_path / "My service!").manifest.name == "My-service"
    assert {"service.json", "run.sh"} <= set(files)
    with pytest.raises(NotAllowed, match="exists already"):
        write_starter(tmp_path / "My service!", ENGLISH)


def test_a_starter_never_overwrites(tmp_path):
    (tmp_path / "run.sh").write_text("mine")
    with pytest.raises(NotAllowed):
        write_starter(tmp_path, ENGLISH)
    assert [path.name for path in tmp_path.iterdir()] == ["run.sh"]


@pytest.mark.parametrize(
    ("environ", "is_chinese"),
    [
        ({}, False),
        ({"LANG": "zh_CN.UTF-8"}, True),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, False),
        ({"LC_MESSAGES": "zh_TW", "LANG": "de_DE"}, True),
        ({"LC_ALL": "", "LANG": "ZH"}, True),
    ],
)
def test_the_environment_chooses_the_language(environ, is_chinese):
    assert Words(environ).say("build").isascii() is not is_chinese


@pytest.mark.parametrize("key", _CATALOGUE)
def test_both_languages_speak_of_the_same_things(key):
    english, chinese = ({part.split("}")[0] for part in text.split("{")[1:]} for text in _CATALOGUE[key])
    assert english == chinese

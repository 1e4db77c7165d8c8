"""The pack tool as a person runs it: its own process, a real server."""

import json
import os
import pty
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.fakes.evil_archives import EVIL, good_zip
from tests.fakes.package_master import TOKEN, PackageMaster, key_sha256

TOP = Path(__file__).parents[2]


def pack_tool(*args, stdin="", **environ):
    return subprocess.run(
        [sys.executable, "-m", "ops_system.packtool.cli", *map(str, args)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(TOP), **environ},
        check=False,
    )


@pytest.fixture
def package(tmp_path):
    path = tmp_path / "evil-1.0.zip"
    path.write_bytes(good_zip())
    return path


@pytest.fixture
def master():
    with PackageMaster() as server:
        yield server


@pytest.fixture(scope="module")
def tls_master(tmp_path_factory):
    with PackageMaster(tmp_path_factory.mktemp("tls")) as server:
        yield server


def push(package, url, *more, token=TOKEN, stdin=""):
    return pack_tool("push", package, "--master", url, "--token", token, *more, stdin=stdin)


def test_from_nothing_to_a_checked_package(tmp_path):
    folder, package = tmp_path / "hello", tmp_path / "hello.zip"
    assert pack_tool("init", folder).returncode == 0
    assert "fine, 2 files" in pack_tool("validate", folder).stdout
    built = pack_tool("build", folder, "-o", package)
    assert (built.returncode, built.stderr) == (0, "")
    assert "fine" in pack_tool("validate", package).stdout
    shown = pack_tool("inspect", package).stdout
    assert "signature: none" in shown
    assert "-rwxr-xr-x" in shown
    with zipfile.ZipFile(package) as archive:
        assert archive.testzip() is None


def test_two_builds_are_the_same_file(tmp_path):
    assert pack_tool("init", tmp_path / "x").returncode == 0
    for name in ("1.zip", "2.zip"):
        assert pack_tool("build", tmp_path / "x", "-o", tmp_path / name, TZ=f"UTC-{name[0]}").returncode == 0
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


def test_a_zip_written_into_its_own_folder_is_not_packed(tmp_path):
    folder = tmp_path / "x"
    assert pack_tool("init", folder).returncode == 0
    for _ in range(2):
        assert "2 files" in pack_tool("build", folder, "-o", folder / "x.zip").stdout


def test_every_problem_is_a_line_and_the_code_is_1(tmp_path):
    (tmp_path / "service.json").write_text('{"name": "a b", "verson": "1", "ports": {"x": 0}}')
    found = pack_tool("validate", tmp_path)
    assert found.returncode == 1
    lines = [line for line in found.stderr.splitlines() if line.startswith("  $.")]
    assert [line.split(":")[0] for line in lines] == [
        "  $.verson",
        "  $.version",
        "  $.name",
        "  $.entrypoint",
        "  $.ports.x",
    ]


@pytest.mark.parametrize("rule", ["up", "link", "bomb", "no_zip"])
def test_an_evil_zip_is_refused(rule, tmp_path):
    (tmp_path / "a.zip").write_bytes(EVIL[rule]())
    for command in ("validate", "inspect"):
        found = pack_tool(command, tmp_path / "a.zip")
        assert found.returncode == 1
        assert "the archive is refused" in found.stderr
        assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ([], 2, "wants a command"),
        (["biuld", "x"], 2, 'did you mean "build"'),
        (["build", "x", "-p", "y"], 2, "unknown flag -p"),
        (["sign", "x"], 2, "needs --key"),
        (["push", "x"], 2, "needs --token"),
        (["validate", "nothing-here"], 1, "nothing-here: No such file"),
        (["--version"], 0, ""),
    ],
)
def test_codes_and_words(args, code, words):
    found = pack_tool(*args)
    assert found.returncode == code
    assert words in found.stderr
    assert found.stderr.count("\n") <= 1


def test_signing_and_what_changes_break(package, tmp_path):
    assert pack_tool("keygen", tmp_path / "key").returncode == 0
    assert pack_tool("sign", package, "--key", tmp_path / "key").returncode == 0
    assert "signature: good" in pack_tool("inspect", package).stdout
    package.write_bytes(good_zip(description="another"))
    found = pack_tool("inspect", package)
    assert (found.returncode, "signature: WRONG" in found.stdout) == (1, True)


def test_push_brings_it_once(package, master):
    first = push(package, master.url)
    assert (first.returncode, first.stderr) == (0, "")
    assert "is on the master now" in first.stdout
    again = push(package, master.url)
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert [line.split()[0] for line in master.requests] == ["GET", "POST", "GET"]


def test_the_token_may_come_from_a_file_or_stdin(package, master, tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert push(package, master.url, token=f"@{tmp_path / 'token'}").returncode == 0
    assert push(package, master.url, token="-", stdin=f"{TOKEN}\n").returncode == 0


def test_other_bytes_under_the_same_version_are_a_conflict(package, master):
    master.packages["evil", "1.0"] = "0" * 64
    found = push(package, master.url)
    assert found.returncode == 1
    assert "raise it in service.json" in found.stderr
    assert len(master.requests) == 1


def test_a_conflict_found_while_sending(package, master):
    master.refusal = (409, {"code": "conflict", "message": "x", "details": {}})
    assert "raise it in service.json" in push(package, master.url).stderr


def test_a_wrong_token(package, master):
    found = push(package, master.url, token="ops_wrong_0123456789abcdef")
    assert found.returncode == 1
    assert "does not accept this token" in found.stderr
    assert "ops_wrong" not in found.stdout + found.stderr


def test_the_masters_problems_are_listed(package, master):
    master.refusal = (
        422,
        {"code": "invalid", "message": "the archive is refused", "details": {"problems": ["$.a: one", "$.b: two"]}},
    )
    assert push(package, master.url).stderr.splitlines()[1:] == ["  $.a: one", "  $.b: two"]


@pytest.mark.parametrize("status", [403, 413, 507, 500])
def test_other_refusals_are_told(package, master, status):
    master.refusal = (status, {"code": "x", "message": "these are the words", "details": {}})
    found = push(package, master.url)
    assert (found.returncode, "these are the words" in found.stderr) == (1, True)


def test_a_refusal_in_the_middle_of_a_large_upload_is_heard(master, tmp_path):
    (tmp_path / "service.json").write_text(json.dumps({"name": "big", "version": "1", "entrypoint": "x"}))
    (tmp_path / "x").write_bytes(os.urandom(8_000_000))
    assert pack_tool("build", tmp_path, "-o", tmp_path / "big.zip").returncode == 0
    master.refusal = (507, {"code": "storage_full", "message": "no room", "details": {}})
    found = push(tmp_path / "big.zip", master.url)
    assert found.returncode == 1
    assert "no room" in found.stderr or "the connection broke" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_broken_connection_is_told(package, master):
    master.hang_up_after = 10
    found = push(package, master.url)
    assert found.returncode == 1
    assert "push again" in found.stderr


def test_nobody_there(package):
    found = push(package, "http://127.0.0.1:9")
    assert (found.returncode, "is the master running there?" in found.stderr) == (1, True)


def test_plain_http_to_another_host_is_refused(package):
    found = push(package, "http://192.0.2.1:8080")
    assert found.returncode == 2
    assert "https://192.0.2.1:8443" in found.stderr


def test_tls_is_verified(package, tls_master, tmp_path):
    found = push(package, tls_master.url)
    assert found.returncode == 1
    assert "is not trusted" in found.stderr
    assert tls_master.packages == {}
    (tmp_path / "ca.pem").write_text(tls_master.ca_pem)
    assert push(package, tls_master.url, "--ca", tmp_path / "ca.pem").returncode == 0
    tls_master.packages.clear()
    assert push(package, tls_master.url, "--ca-sha256", key_sha256(tls_master.ca_pem).upper()).returncode == 0


def test_another_ca_gets_no_token(package, tls_master):
    tls_master.requests.clear()
    found = push(package, tls_master.url, "--ca-sha256", "ab" * 32)
    assert (found.returncode, "another CA" in found.stderr) == (2, True)
    assert tls_master.requests == ["GET /api/v1/worker/ca"]


def test_a_missing_ca_file_is_a_usage_error(package, tls_master):
    assert push(package, tls_master.url, "--ca", "/nothing/here").returncode == 2


def test_chinese(tmp_path):
    assert "\u6b63\u5e38" not in pack_tool("--help").stdout
    assert "\u6253\u5305" in pack_tool("--help", LC_ALL="zh_CN.UTF-8").stdout
    assert pack_tool("init", tmp_path / "x", LC_ALL="zh_CN.UTF-8").stdout.startswith("\u5df2\u5728")


def test_a_terminal_sees_a_bar(package, master):
    """stderr is a real terminal here; the bar is drawn and cleared."""
    ours, theirs = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "ops_system.packtool.cli",
        "push",
        str(package),
        "--master",
        master.url,
        "--token",
        TOKEN,
    ]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=theirs, timeout=60, env={**os.environ, "LC_ALL": "C.UTF-8"}, check=False
    )
    os.close(theirs)
    drawn = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "sending [##############################] 100%" in drawn
    assert drawn.endswith("\x1b[K")

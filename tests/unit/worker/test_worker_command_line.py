import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops_system.model.errors import SafetyRefusal, UsageError
from ops_system.worker import main
from ops_system.worker.app import follow_master
from ops_system.worker.identity import Identity, load_or_make_key, save_identity
from ops_system.worker.picture import read_picture, take_lock
from ops_system.worker.words import is_chinese, say
from tests.fakes.mastersend import NODE, now
from tests.fakes.worker import worker_config


def join(work_dir: Path, url: str = "https://ops.example:8443") -> Identity:
    work_dir.mkdir(exist_ok=True)
    load_or_make_key(work_dir)
    identity = Identity(NODE, "n1", url, "", "", now())
    save_identity(work_dir, identity)
    return identity


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.chdir(tmp_path)


def run(*argv: str | Path) -> int:
    return main.run([str(word) for word in argv])


def test_without_identity_and_token_it_says_how_to_join(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-master", "https://ops.example:8443", "-work_dir", tmp_path / "w") == 2
    said = capsys.readouterr().err
    assert "ops-master join-token create" in said
    assert f"ops-worker -master https://ops.example:8443 -token TOKEN -work_dir {tmp_path / 'w'}" in said


def test_the_words_come_in_chinese_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert run("status") == 1
    assert "尚未加入" in capsys.readouterr().err
    assert not is_chinese({"LC_ALL": "en_US", "LANG": "zh_CN"})
    assert say("not_joined", {"LANG": "zh_TW"}) == "本节点尚未加入主控"


def test_status_reads_the_disk_when_nobody_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    join(tmp_path / "w")
    assert run("status", "-work_dir", tmp_path / "w", "-port", "1", "-json", "1") == 0
    picture = json.loads(capsys.readouterr().out)
    assert picture["running"] is False
    assert picture["node_name"] == "n1"
    assert picture["instances"] == []
    assert run("status", "-work_dir", tmp_path / "w", "-port", "1") == 0
    assert "not running" in capsys.readouterr().out


def test_leave_removes_identity_and_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work_dir = tmp_path / "w"
    join(work_dir, "http://127.0.0.1:1")
    (work_dir / "state/desired").mkdir(parents=True)
    (work_dir / "instances/i1").mkdir(parents=True)
    assert run("leave", "-work_dir", work_dir, "-port", "1") == 0
    said = capsys.readouterr().out
    assert "left http://127.0.0.1:1" in said
    assert "could not be told" in said
    assert "revoke or remove node n1" in said
    assert read_picture(work_dir, 1) is None
    assert not (work_dir / "node.key").exists()
    assert not (work_dir / "state").exists()
    assert (work_dir / "instances/i1").exists()
    assert run("leave", "-work_dir", work_dir, "-port", "1") == 1


def test_leave_goes_on_without_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    join(tmp_path / "w", "http://127.0.0.1:1")
    (tmp_path / "w/node.key").write_text("damaged")
    with pytest.raises(SafetyRefusal, match=r"node\.key"):
        run("leave", "-work_dir", tmp_path / "w", "-port", "1", "-stop", "1")
    assert run("leave", "-work_dir", tmp_path / "w", "-port", "1") == 0
    assert "node.key" in capsys.readouterr().out


def test_leave_is_refused_while_the_worker_runs(tmp_path: Path) -> None:
    join(tmp_path, "http://127.0.0.1:1")
    lock = take_lock(tmp_path)
    with pytest.raises(SafetyRefusal, match="another worker"):
        run("leave", "-work_dir", tmp_path, "-port", "1")
    with pytest.raises(SafetyRefusal, match="work_dir"):
        take_lock(tmp_path)
    lock.release()
    with pytest.raises(UsageError, match="one of them"):
        run("leave", "-work_dir", tmp_path, "-port", "1", "-stop", "1", "-keep", "1")
    assert run("leave", "-work_dir", tmp_path, "-port", "1") == 0


def test_an_enrolled_worker_does_not_look_for_its_token(tmp_path: Path) -> None:
    join(tmp_path / "w")
    parsed = main.parse(main.PROGRAM, ["-work_dir", str(tmp_path / "w"), "-token", "@/gone/token"])
    assert not main._load(parsed).connect.token
    parsed = main.parse(main.PROGRAM, ["-work_dir", str(tmp_path / "new"), "-token", "@/gone/token"])
    with pytest.raises(UsageError, match="/gone/token"):
        main._load(parsed)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("-master http://192.0.2.1:8080 -token opsj1.a.b.c", "https://192.0.2.1:8443"),
        ("-master https://192.0.2.1:8443 -token opsj1.nonsense", "token"),
    ],
)
def test_what_can_never_join_touches_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, flags: str, words: str
) -> None:
    monkeypatch.setattr(main.logs, "set_up", lambda _config: None)
    monkeypatch.setattr(sys, "argv", ["ops-worker", *flags.split(), "-work_dir", str(tmp_path / "w")])
    assert main.main() == 2
    said = capsys.readouterr().err
    assert words in said
    assert "nonsense" not in said
    assert not (tmp_path / "w").exists()


def test_a_moved_master_is_followed_and_the_default_is_not(tmp_path: Path) -> None:
    identity = join(tmp_path / "w")
    stays = follow_master(worker_config(tmp_path / "w", "http://127.0.0.1:8080"), identity)
    assert stays.master_url == "https://ops.example:8443"
    moves = follow_master(worker_config(tmp_path / "w", "https://new.example:8443"), identity)
    assert moves.master_url == "https://new.example:8443"
    with pytest.raises(UsageError, match="https://new"):
        follow_master(worker_config(tmp_path / "w", "http://new.example:8080"), identity)


@pytest.mark.skipif(sys.platform != "linux", reason="arguments can be hidden on Linux only")
def test_a_token_does_not_stay_in_ps() -> None:
    code = (
        "import sys; from ops_system.runtime.argv import hide_in_argv; hide_in_argv(sys.argv[2]);"
        "print(open('/proc/self/cmdline').read().split(chr(0))[-3:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "-token", "opsj1.aaaa.id.secret"], capture_output=True, text=True, check=True
    )
    assert "secret" not in done.stdout
    assert "-token" in done.stdout
    assert "x" * len("opsj1.aaaa.id.secret") in done.stdout


def test_unknown_flags_name_the_nearest(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ops-worker", "-mster", "x"])
    assert main.main() == 2
    assert "-master" in capsys.readouterr().err
    assert os.environ["LC_ALL"] == "C.UTF-8"

import sys
from pathlib import Path

import pytest

from ops_system.cli import Parsed, parse
from ops_system.master import main as master
from ops_system.master.config import SCHEMA as MASTER
from ops_system.model.errors import Unavailable, UsageError
from ops_system.model.nodes import BootService
from ops_system.service import surroundings
from ops_system.service.autostart import make_unit
from ops_system.service.base import Change, Unit
from ops_system.service.linux import SystemdServices
from ops_system.service.words import tell_change, tell_state
from ops_system.worker import main as worker
from ops_system.worker.config import SCHEMA as WORKER


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def worker_unit(*flags: str, environ: dict[str, str] | None = None) -> Unit:
    parsed: Parsed = parse(worker.PROGRAM, ["-autostart", "1", *flags])
    folders = {"work_dir": Path(parsed.text("work_dir", "work"))}
    return make_unit("worker", WORKER, parsed, environ or {}, folders=folders, used_once=("token",))


def test_all_flags_are_kept_but_the_token(tmp_path: Path) -> None:
    unit = worker_unit("-master", "https://ops:8443", "-token", "opsj1.a.b.secret", "--work-dir", "w w", "-name=n 1")
    assert unit.argv[:4] == (sys.executable, "-P", "-m", "ops_system.worker.main")
    assert unit.argv[4:] == (f"-work_dir={tmp_path}/w w", "-master=https://ops:8443", "-name=n 1")
    assert unit.working_dir == str(tmp_path)
    assert "secret" not in repr(unit)


def test_a_config_file_is_named_whole_also_when_it_is_the_default(tmp_path: Path) -> None:
    assert not any(word.startswith("-config") for word in worker_unit().argv)
    (tmp_path / "worker.yaml").write_text("")
    assert f"-config={tmp_path}/worker.yaml" in worker_unit().argv
    assert f"-config={tmp_path}/own.yaml" in worker_unit("-config", "own.yaml").argv


def test_the_environment_that_set_something_is_kept(tmp_path: Path) -> None:
    given = {
        "OPS_WORKER_CONNECT_MASTER_URL": "https://ops:8443",
        "OPS_WORKER_CONNECT_TOKEN": "opsj1.a.b.secret",
        "OPS_WORKER_LOG_FILE": "",
        "LANG": "zh_CN.UTF-8",
        "HOME": "/root",
        "EDITOR": "vi",
        "NOTIFY_SOCKET": "/run/x",
    }
    kept = worker_unit(environ=given).environment
    assert kept == {"OPS_WORKER_CONNECT_MASTER_URL": "https://ops:8443", "LANG": "zh_CN.UTF-8", "HOME": "/root"}


def test_a_secret_goes_into_no_unit(tmp_path: Path) -> None:
    def unit(*flags: str, **environ: str) -> Unit:
        parsed = parse(master.PROGRAM, ["-autostart=1", *flags])
        return make_unit("master", MASTER, parsed, environ, folders={}, path_flags=("db_path",))

    with pytest.raises(UsageError, match="-minio_sk=@FILE"):
        unit("-minio_sk", "hunter22")
    with pytest.raises(UsageError, match="OPS_MASTER_STORAGE_MINIO_SK=@FILE"):
        unit(OPS_MASTER_STORAGE_MINIO_SK="hunter22")
    assert f"-minio_sk=@{tmp_path}/sk" in unit("-minio_sk", "@sk").argv
    assert unit(OPS_MASTER_STORAGE_MINIO_SK="@sk").environment == {"OPS_MASTER_STORAGE_MINIO_SK": f"@{tmp_path}/sk"}
    assert f"-db_path={tmp_path}/o.db" in unit("-db_path", "o.db").argv


def test_a_frozen_program_names_the_file_that_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setenv(surroundings.EXECUTABLE_VARIABLE, str(tmp_path / "gone"))
    assert surroundings.program("worker") == (sys.executable,)
    (tmp_path / "gone").write_text("")
    assert surroundings.program("worker") == (str(tmp_path / "gone"),)


def test_programs_of_the_system_do_not_see_our_libraries_nor_our_manager() -> None:
    seen = surroundings.clean_environment(
        {"LD_LIBRARY_PATH": "/unpacked", "LD_LIBRARY_PATH_ORIG": "/own", "NOTIFY_SOCKET": "/run/x", "PATH": "/bin"}
    )
    assert (seen["LD_LIBRARY_PATH"], seen["PATH"]) == ("/own", "/bin")
    assert "NOTIFY_SOCKET" not in seen


def test_the_words_in_both_languages() -> None:
    service = BootService("systemd", "active", "ops-worker.service", "/etc/x")
    said = tell_change(Change("updated", service, kept="/etc/x.bak"), {"LANG": "C"})
    assert said.splitlines() == [
        "updated the boot service ops-worker.service: /etc/x",
        "somebody had changed the unit; the old one is kept as /etc/x.bak",
        "it runs now and at every boot",
    ]
    assert "已更新" in tell_change(Change("updated", service), {"LANG": "zh_CN.UTF-8"})
    assert "enable-linger ada" in tell_change(Change("installed", service, hints=("no_linger",)), {"USER": "ada"})
    assert tell_state(service, {}) == "boot service: running ops-worker.service /etc/x"
    assert tell_state(BootService(), {"LANG": "zh"}) == "开机服务：无"


def test_no_token_is_used_up_where_nothing_can_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nowhere(SystemdServices):
        def check(self) -> None:
            raise Unavailable("no systemd here")

    monkeypatch.setattr(worker, "local_services", Nowhere)
    with pytest.raises(Unavailable, match="no systemd here"):
        worker.run(["-autostart", "1", "-work_dir", "w", "-token", "opsj1." + "a" * 64 + ".b.c"])
    assert list(tmp_path.iterdir()) == []


def test_autostart_where_nothing_can_be_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    assert worker.run(["-autostart", "1", "-work_dir", "w"]) == 2
    assert "join-token create" in capsys.readouterr().err
    assert worker.run(["-autostart", "0"]) == 0
    assert "no boot service" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []

"""The worker and the master as boot services under a real systemd. One machine serves all tests, in their order.

The services' own word counts: each start appends a line to a file that nobody else writes.
"""

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.builds import make_version
from tests.fakes.fleet import PROGRAMS, Fleet, free_port, until
from tests.fakes.nspawn import ROOT, Machine, image, why_not
from tests.fakes.packages import make_zip, service_json

pytestmark = [pytest.mark.root, pytest.mark.timeout(600), pytest.mark.skipif(bool(why_not()), reason=why_not())]

UNIT = "ops-worker.service"
FROZEN = ROOT / "dist" / "worker"
WORK = "/var/lib/ops 100% work"
STARTS = f"{WORK}/starts"
SERVICE = f'#!/bin/sh\necho "$1 $$" >>"{STARTS}"\ntrap "exit 0" TERM\nwhile :; do sleep 1 & wait $!; done\n'


class Box:
    """A machine whose worker has joined the fleet's master, with two services: `first` starts before `second`."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        self.fleet = fleet
        self.machine = Machine(folder)
        self.port = free_port()
        self.node_id = ""
        self.instances: dict[str, str] = {}

    def worker(self, *words: str, may_fail: bool = False) -> "subprocess.CompletedProcess[str]":
        return self.machine.run(PROGRAMS / "ops-worker", *words, may_fail=may_fail)

    def autostart(self, *more: str) -> str:
        flags = ["-master", self.fleet.url, "-work_dir", WORK, "-port", str(self.port), "-name", "box", *more]
        return self.worker("-autostart", "1", *flags).stdout

    def join(self) -> str:
        token = self.machine.path("/root/token")
        token.write_text(self.fleet.master_command("join-token", "create").strip())
        said = self.autostart("-token", "@/root/token")
        token.unlink()
        self.node_id = self.node()["id"]
        return said

    def node(self, name: str = "box") -> dict:
        nodes = self.fleet.get("/nodes")["items"]
        return next(node for node in nodes if node["name"] == name)

    def linked(self, name: str = "box") -> dict:
        return until(lambda: (node := self.node(name))["linked"] and node, "the node is linked")

    def deploy(self, system_name: str = "boot") -> None:
        package = self.fleet.folder / "sleeper.zip"
        package.write_bytes(make_zip({"run.sh": SERVICE}, service_json(name="sleeper")))
        uploaded = self.fleet.upload(package)
        system = self.fleet.post("/systems", {"name": system_name})
        for order, name in enumerate(("first", "second"), 1):
            wanted = {"name": name, "package": uploaded["name"], "version": uploaded["version"], "args": [name]}
            module = self.fleet.post(f"/systems/{system['id']}/modules", {**wanted, "start_order": order})
            answer = self.fleet.post("/instances", {"module_id": module["id"], "node_id": self.node_id})
            assert self.fleet.operation(answer)["state"] == "succeeded"
            self.instances[name] = answer["instance"]["id"]

    def starts(self) -> list[list[str]]:
        """Return who started, with his pid, as the services themselves wrote it."""
        return [line.split() for line in self.machine.path(STARTS).read_text().splitlines()]

    def alive(self) -> list[str]:
        """Return the pids of the services that live, of those each has started last."""
        pids = dict(self.starts()).values()
        return [pid for pid in pids if self.machine.run("kill", "-0", pid, may_fail=True).returncode == 0]

    def main_pid(self) -> str:
        return self.machine.show(UNIT, "MainPID")

    def until_restarted(self, old_pid: str) -> None:
        until(lambda: self.main_pid() not in {"0", old_pid}, "systemd starts the worker again")
        until(lambda: self.machine.show(UNIT, "ActiveState") == "active", "the worker says that it is ready")


@pytest.fixture(scope="module")
def built_image() -> Path:
    try:
        return image()
    except (subprocess.CalledProcessError, OSError) as problem:
        pytest.skip(f"the image cannot be built here (no mirror?): {problem}")


@pytest.fixture(scope="module")
def box(built_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("systemd")
    with Fleet(folder) as fleet:
        fleet.start_master()
        box = Box(folder, fleet)
        try:
            box.machine.boot()
            yield box
        finally:
            fleet.token = ""  # the machine goes with everything on it: nothing is left to destroy
            box.machine.remove()


def test_one_command_joins_installs_and_starts(box: Box) -> None:
    said = box.join()
    unit = box.machine.path(f"/etc/systemd/system/{UNIT}")
    assert "joined" in said
    assert f"installed the boot service {UNIT}: /etc/systemd/system/{UNIT}" in said
    assert "opsj1" not in unit.read_text()
    assert "token" not in unit.read_text()
    assert box.linked()["fingerprint"]["boot_service"] == {
        "kind": "systemd",
        "state": "active",
        "unit": UNIT,
        "path": f"/etc/systemd/system/{UNIT}",
    }
    status = json.loads(box.worker("status", "-work_dir", WORK, "-json", "1").stdout)
    assert status["running"]
    assert status["boot_service"]["state"] == "active"
    pid = box.main_pid()
    assert "was already there" in box.autostart()
    assert box.main_pid() == pid
    box.deploy()
    assert [name for name, _ in box.starts()] == ["first", "second"]


def test_no_service_can_speak_to_systemd_in_the_workers_name(box: Box) -> None:
    for pid in box.alive():
        inside = box.machine.run("cat", f"/proc/{pid}/environ").stdout
        assert "OPS_INSTANCE=" in inside
        assert "NOTIFY_SOCKET" not in inside
        assert "WATCHDOG" not in inside


def test_a_killed_worker_is_started_again_and_its_services_never_notice(box: Box) -> None:
    before, pid = box.starts(), box.main_pid()
    box.machine.run("kill", "-9", pid)
    box.until_restarted(pid)
    box.linked()
    assert box.starts() == before
    assert len(box.alive()) == 2


def test_stop_start_and_restart_leave_services_alone(box: Box) -> None:
    before = box.starts()
    box.machine.run("systemctl", "stop", UNIT)
    assert box.machine.show(UNIT, "ActiveState") == "inactive"
    assert len(box.alive()) == 2
    box.machine.run("systemctl", "start", UNIT)
    pid = box.main_pid()
    box.machine.run("systemctl", "restart", UNIT)
    assert box.main_pid() != pid
    box.linked()
    assert box.starts() == before
    assert len(box.alive()) == 2


def test_a_worker_that_hangs_is_replaced(box: Box) -> None:
    before = box.starts()
    drop_in = box.machine.path(f"/run/systemd/system/{UNIT}.d/quick.conf")
    box.machine.run("mkdir", "-p", f"/run/systemd/system/{UNIT}.d")
    box.machine.run("sh", "-c", f"printf '[Service]\\nWatchdogSec=1\\n' >/run/systemd/system/{UNIT}.d/{drop_in.name}")
    box.machine.run("systemctl", "daemon-reload")
    box.machine.run("systemctl", "restart", UNIT)
    pid = box.main_pid()
    box.machine.run("kill", "-STOP", pid)
    box.until_restarted(pid)
    assert "watchdog" in box.machine.journal(UNIT).lower()
    box.machine.run("rm", "-r", f"/run/systemd/system/{UNIT}.d")
    box.machine.run("systemctl", "daemon-reload")
    assert box.starts() == before
    assert len(box.alive()) == 2


def test_new_flags_replace_the_unit_under_running_services(box: Box) -> None:
    before, unit = box.starts(), box.machine.path(f"/etc/systemd/system/{UNIT}")
    unit.write_text(unit.read_text() + "# by hand\n")
    said = box.autostart("-allow_plain_http", "1")
    assert "updated the boot service" in said
    assert f"/etc/systemd/system/{UNIT}.bak" in said
    assert "# by hand" in unit.with_name(f"{UNIT}.bak").read_text()
    assert "-allow-plain-http=1" in unit.read_text() or "-allow_plain_http=1" in unit.read_text()
    box.linked()
    assert box.starts() == before
    assert len(box.alive()) == 2


def test_a_configuration_that_cannot_work_is_not_tried_again_and_again(box: Box) -> None:
    config = box.machine.path("/root/worker.yaml")
    config.write_text("log:\n  level: info\n")
    assert "updated" in box.autostart("-config", "/root/worker.yaml")
    config.write_text("sever:\n  port: 1\n")
    assert "server.port" in box.worker("-autostart", "1", "-config", "/root/worker.yaml", may_fail=True).stderr
    assert box.machine.show(UNIT, "ActiveState") == "active"
    assert box.machine.run("systemctl", "restart", UNIT, may_fail=True).returncode == 1
    assert box.machine.show(UNIT, "ActiveState") == "failed"
    assert box.machine.show(UNIT, "ExecMainStatus") == "2"
    assert box.machine.show(UNIT, "NRestarts") == "0"
    config.unlink()
    assert "updated" in box.autostart()
    box.linked()


def test_after_a_boot_services_start_in_their_order_with_the_master_away(box: Box) -> None:
    before = box.starts()
    box.fleet.stop("master")
    box.machine.power_off()
    box.machine.boot()
    assert box.machine.show(UNIT, "ActiveState") == "active"
    until(lambda: len(box.starts()) == len(before) + 2, "both services start")
    assert [name for name, _ in box.starts()[-2:]] == ["first", "second"]
    box.fleet.start_master()
    box.linked()
    for instance_id in box.instances.values():
        until(lambda path=f"/instances/{instance_id}": box.fleet.get(path)["state"] == "running", "seen running")
    assert len(box.starts()) == len(before) + 2


def test_autostart_0_removes_the_unit_and_no_service(box: Box) -> None:
    before = box.starts()
    assert "removed the boot service" in box.worker("-autostart", "0").stdout
    assert not os.path.lexists(box.machine.path(f"/etc/systemd/system/{UNIT}"))
    assert box.machine.show(UNIT, "LoadState") == "not-found"
    assert "nothing to remove" in box.worker("-autostart", "0").stdout
    assert len(box.alive()) == 2
    assert "installed" in box.autostart()
    box.linked()
    assert box.starts() == before


def test_leave_undoes_everything(box: Box) -> None:
    refused = box.worker("leave", "-work_dir", WORK, may_fail=True)
    assert refused.returncode == 1
    assert "-stop 1" in refused.stderr
    assert box.machine.show(UNIT, "ActiveState") == "active"
    said = box.worker("leave", "-work_dir", WORK, "-stop", "1").stdout
    assert "revoked" in said
    assert box.alive() == []
    assert not box.machine.path(f"{WORK}/node.json").exists()
    assert not box.machine.path(f"{WORK}/node.key").exists()
    assert not os.path.lexists(box.machine.path(f"/etc/systemd/system/{UNIT}"))
    assert box.machine.show(UNIT, "LoadState") == "not-found"
    assert until(lambda: (node := box.node())["revoked"] and node, "the master knows")["linked"] is False


def check_updates_by_the_master(box: Box) -> None:
    """A new version takes over the process that systemd watches; one that crashes is restarted as what ran before."""
    folder = box.fleet.folder / "update"
    folder.mkdir()
    make_version(FROZEN, folder / "worker", folder / "scratch", "0.9.1")
    pid, started = box.main_pid(), box.machine.show(UNIT, "NRestarts")
    assert update(box, "0.9.1", (folder / "worker").read_bytes())["state"] == "succeeded"
    assert until(lambda: (node := box.linked("frozen"))["worker_version"] == "0.9.1" and node, "the new version")
    assert (box.main_pid(), box.machine.show(UNIT, "NRestarts")) == (pid, started)
    assert box.machine.show(UNIT, "ActiveState") == "active"
    assert box.machine.show(UNIT, "SubState") == "running", "systemd has heard of no stop"

    failed = update(box, "0.9.2", b"#!/bin/sh\ncase $1 in --version) echo w 0.9.2 ;; *) kill -9 $$ ;; esac\n")
    assert "ended before it had its link" in failed["error"]["message"]
    assert box.linked("frozen")["worker_version"] == "0.9.1"
    assert box.main_pid() != pid


def update(box: Box, version: str, program: bytes) -> dict:
    package = box.fleet.folder / f"{version}.zip"
    package.write_bytes(make_zip({"w": program}, service_json(name="ops-worker", version=version, entrypoint="w")))
    box.fleet.upload(package)
    return box.fleet.operation(box.fleet.post(f"/nodes/{box.node_id}/update", {"version": version}), 120)


@pytest.mark.skipif(not FROZEN.is_file(), reason="dist/worker is not built")
def test_a_frozen_worker_is_upgraded_under_running_services(box: Box) -> None:
    program, token = box.machine.path("/opt/ops/worker"), box.machine.path("/root/token")
    program.parent.mkdir(parents=True)
    shutil.copy2(FROZEN, program)
    token.write_text(box.fleet.master_command("join-token", "create").strip())
    work = "/var/lib/frozen"
    flags = ["-master", box.fleet.url, "-work_dir", work, "-port", str(box.port), "-name", "frozen"]
    box.machine.run("/opt/ops/worker", "-autostart", "1", *flags, "-token", "@/root/token")
    assert 'ExecStart="/opt/ops/worker"' in box.machine.path(f"/etc/systemd/system/{UNIT}").read_text()
    box.node_id = box.linked("frozen")["id"]
    box.machine.run("mkdir", "-p", WORK)
    box.machine.run("rm", "-f", STARTS)
    box.deploy("frozen")
    before, old = box.starts(), box.machine.run("readlink", f"/proc/{box.main_pid()}/exe").stdout
    box.machine.run("systemd-tmpfiles", "--clean")
    other = FROZEN.read_bytes().replace(b"id='worker-", b"id='worker-new", 1)
    program.with_name("new").write_bytes(other)
    program.with_name("new").chmod(0o755)
    program.with_name("new").replace(program)
    box.machine.run("kill", "-9", box.main_pid())
    until(
        lambda: "worker-new" in box.machine.run("readlink", f"/proc/{box.main_pid()}/exe", may_fail=True).stdout, "new"
    )
    assert "worker-new" not in old
    box.linked("frozen")
    check_updates_by_the_master(box)
    assert box.starts() == before
    assert len(box.alive()) == 2
    left = box.machine.run("/opt/ops/worker", "leave", "-work_dir", work, "-stop", "1").stdout
    assert "removed the boot service" in left
    assert box.alive() == []


def test_the_master_as_a_boot_service(box: Box) -> None:
    port, unit = free_port(), "ops-master.service"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    flags = ["-data_dir", "/var/lib/ops master", "-port", str(port), "-tls_port", str(free_port())]
    said = box.machine.run(PROGRAMS / "ops-master", "-autostart", "1", *flags).stdout
    assert "installed the boot service ops-master.service" in said
    assert answers()
    pid = box.machine.show(unit, "MainPID")
    box.machine.run("kill", "-9", pid)
    until(lambda: box.machine.show(unit, "MainPID") not in {"0", pid} and answers(), "the master is back")
    assert "removed" in box.machine.run(PROGRAMS / "ops-master", "-autostart", "0").stdout
    assert not answers()


def test_a_user_has_a_boot_service_of_his_own(box: Box) -> None:
    box.machine.run("useradd", "--create-home", "ada")
    box.machine.run("loginctl", "enable-linger", "ada")
    uid = box.machine.run("id", "-u", "ada").stdout.strip()
    until(lambda: box.machine.path("/var/lib/systemd/linger/ada").exists(), "ada lingers")
    until(lambda: box.machine.show(f"user@{uid}.service", "ActiveState") == "active", "ada's systemd runs")
    token = box.machine.path("/home/ada/token")
    token.write_text(box.fleet.master_command("join-token", "create").strip())
    token.chmod(0o644)
    home = [
        "HOME=/home/ada",
        "USER=ada",
        "PATH=/usr/bin:/bin",
        "LANG=zh_CN.UTF-8",
    ]  # as su leaves it: no runtime folder
    as_ada = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--init-groups", "env", "-i", *home]
    worker = [*as_ada, str(PROGRAMS / "ops-worker")]
    flags = ["-master", box.fleet.url, "-port", str(free_port()), "-name", "ada", "-work_dir", "/home/ada/work"]
    said = box.machine.run(*worker, "-autostart", "1", *flags, "-token", "@/home/ada/token").stdout
    assert "已安装开机服务" in said
    assert "/home/ada/.config/systemd/user/ops-worker.service" in said
    shown = [*as_ada, f"XDG_RUNTIME_DIR=/run/user/{uid}", "systemctl", "--user", "show", "-P", "ActiveState", UNIT]
    assert box.machine.run(*shown).stdout.strip() == "active"
    assert "已移除" in box.machine.run(*worker, "-autostart", "0").stdout
    assert box.machine.run(*shown).stdout.strip() == "inactive"

"""Takeover as people do it: over HTTP, with a real master, a real worker and daemons that nobody here started."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ops_system.processes import procfs
from tests.fakes.daemons import Daemon, no_subreaper
from tests.fakes.master import Api, ApiError, RunningMaster, run_master
from tests.fakes.packages import make_zip, service_json
from tests.fakes.worker import running_worker, worker_config
from tests.integration.test_worker_master import online_node, until, until_state

WELL = {"type": "command", "target": "true", "interval": "1s"}
QUICK = {"delay": "0s"}


@pytest.fixture
async def master(tmp_path: Path) -> AsyncIterator[RunningMaster]:
    async with run_master(tmp_path) as running:
        yield running


@pytest.fixture
async def api(master: RunningMaster) -> AsyncIterator[Api]:
    async with master.admin_client() as client:
        yield client


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "daemon", f"d{os.getpid()}")
    yield daemon
    daemon.kill_all()


class Desk:
    """One node and one system to take things over into."""

    def __init__(self, api: Api, node_id: str, system_id: str) -> None:
        self.api = api
        self.node_id = node_id
        self.system_id = system_id

    def body(self, daemon: Daemon, **fields: object) -> dict[str, object]:
        return {
            "node_id": self.node_id,
            "system_id": self.system_id,
            "name": "daemon",
            "pid_strategy": "pidfile",
            "pid_file": str(daemon.pid_file),
            "start_command": list(daemon.command),
            "health": WELL,
            "restart": QUICK,
            **fields,
        }

    async def adopt(self, daemon: Daemon, **fields: object) -> dict:
        made = await self.api.post("/instances/adopt", self.body(daemon, **fields))
        await self.ended(made)
        return await until_state(self.api, made["instance"]["id"], "running")

    async def ended(self, made: dict) -> dict:
        path = f"/operations/{made['operation']['id']}"
        return await until(lambda: self.api.get(path), lambda one: one["state"] in {"succeeded", "failed", "cancelled"})

    async def refusal(self, daemon: Daemon, **fields: object) -> ApiError:
        with pytest.raises(ApiError) as refused:
            await self.api.post("/instances/adopt", self.body(daemon, **fields))
        return refused.value


async def open_desk(api: Api) -> Desk:
    node = await online_node(api)
    system = await api.post("/systems", {"name": "old"})
    return Desk(api, node["id"], system["id"])


@pytest.fixture
async def desk(master: RunningMaster, api: Api, tmp_path: Path) -> AsyncIterator[Desk]:
    async with running_worker(worker_config(tmp_path / "w", master.url, await master.create_join_token())):
        yield await open_desk(api)


def is_alive(pid: int) -> bool:
    row = procfs.read_row(pid)
    return row is not None and not row.is_dead


async def test_a_daemon_is_shown_taken_over_restarted_and_let_go(desk: Desk, daemon: Daemon) -> None:
    pid = daemon.start()
    fields = {key: value for key, value in desk.body(daemon).items() if key.startswith(("pid", "start"))}
    shown = await desk.api.post(f"/nodes/{desk.node_id}/match", fields)
    assert (shown["leader"]["pid"], shown["refusal"], shown["watched_only"]) == (pid, None, False)
    assert {one["pid"] for one in shown["tree"]} == set(daemon.processes()) - {pid}
    assert (shown["on_exit"], shown["stop_by"], shown["restart_by"]) == ("start_command", "signal", "stop_and_start")

    instance = await desk.adopt(daemon)
    assert (instance["pid"], instance["origin"], instance["watched_only"]) == (pid, "adopted", False)
    assert daemon.starts == [pid]
    listed = await desk.api.get(f"/nodes/{desk.node_id}/processes")
    ours = {one["pid"]: one for one in listed["items"] if one["instance_id"] == instance["id"]}
    assert set(ours) == set(daemon.processes())
    assert ours[pid]["why_not"] == "already_in_care"
    module = await desk.api.get(f"/modules/{instance['module_id']}")
    assert (module["name"], module["package"]) == ("daemon", "")

    os.kill(pid, signal.SIGKILL)
    path = f"/instances/{instance['id']}"
    again = await until(
        lambda: desk.api.get(path), lambda one: one["pid"] not in {None, pid} and one["state"] == "running"
    )
    assert again["pid"] == daemon.pid
    events = await desk.api.get(f"{path}/events")
    assert {"exit_unknown", "taken_over"} <= {line["reason"]["code"] for line in events["items"] if line["reason"]}

    made = await desk.api.post(f"{path}/release")
    assert (await desk.ended(made))["state"] == "succeeded"
    with pytest.raises(ApiError, match="404"):
        await desk.api.get(path)
    assert is_alive(again["pid"])
    assert len(daemon.starts) == 2
    audit = await desk.api.get("/audit?q=instance.")
    assert {"instance.adopt", "instance.release"} <= {row["action"] for row in audit["items"]}
    (let_go,) = [row["details"] for row in audit["items"] if row["action"] == "instance.release"]
    assert (let_go["node"], let_go["pid"], let_go["module"]) == (desk.node_id, again["pid"], instance["module_id"])
    assert made["operation"]["id"] in {one["id"] for one in (await desk.api.get("/operations"))["items"]}

    back = await desk.adopt(daemon, start_command=[])
    assert (back["pid"], back["module_id"], back["watched_only"]) == (again["pid"], instance["module_id"], True)


async def test_delete_lets_go_and_stops_only_when_told(desk: Desk, daemon: Daemon) -> None:
    pid = daemon.start()
    instance = await desk.adopt(daemon)
    assert (await desk.ended(await desk.api.delete(f"/instances/{instance['id']}")))["kind"] == "instance.release"
    assert is_alive(pid)
    instance = await desk.adopt(daemon)
    ended = await desk.ended(await desk.api.delete(f"/instances/{instance['id']}?stop=1"))
    assert (ended["kind"], ended["state"]) == ("instance.destroy", "succeeded")
    assert daemon.processes() == []
    assert daemon.pid_file.exists()


async def deploy(desk: Desk, folder: Path, name: str, files: dict[str, object], **manifest: object) -> dict:
    archive = folder / f"{name}.zip"
    archive.write_bytes(make_zip(files, service_json(name=name, health=WELL, restart=QUICK, **manifest)))
    await desk.api.upload(archive)
    module = {"name": name, "package": name, "version": "1.0.0"}
    made = await desk.api.post(f"/systems/{desk.system_id}/modules", module)
    made = await desk.api.post("/instances", {"module_id": made["id"], "node_id": desk.node_id})
    assert (await desk.ended(made))["state"] == "succeeded"
    return await desk.api.get(f"/instances/{made['instance']['id']}")


async def test_an_external_package_takes_over_what_runs_and_starts_it_when_it_does_not(
    desk: Desk, daemon: Daemon, tmp_path: Path
) -> None:
    pid = daemon.start()
    program, *args = daemon.command
    external = {"is_external": True, "pid_strategy": "pidfile", "pid_file": str(daemon.pid_file)}
    instance = await deploy(desk, tmp_path, "outside", {}, entrypoint=program, args=args, **external)
    assert (instance["pid"], instance["origin"], daemon.starts) == (pid, "adopted", [pid])
    path = f"/instances/{instance['id']}"
    assert (await desk.ended(await desk.api.post(f"{path}/restart")))["state"] == "succeeded"
    assert (await desk.api.get(path))["pid"] == daemon.pid
    assert len(daemon.starts) == 2
    assert (await desk.ended(await desk.api.delete(path)))["kind"] == "instance.release"
    assert is_alive(daemon.pid)


async def test_a_package_whose_entrypoint_forks_is_followed_by_its_pid_file(desk: Desk, tmp_path: Path) -> None:
    start = "#!/bin/sh\n(setsid sh -c 'echo $$ >daemon.pid; exec sleep 1000' >/dev/null 2>&1 &)\n"
    strategy = {"pid_strategy": "pidfile", "pid_file": "daemon.pid"}
    instance = await deploy(desk, tmp_path, "forks", {"run.sh": start}, **strategy)
    assert (instance["origin"], procfs.read_argv(instance["pid"])) == ("managed", ("sleep", "1000"))
    path = f"/instances/{instance['id']}"
    os.kill(instance["pid"], signal.SIGKILL)
    again = await until(
        lambda: desk.api.get(path), lambda one: one["pid"] not in {None, instance["pid"]} and one["state"] == "running"
    )
    assert (await desk.ended(await desk.api.delete(f"{path}?stop=1")))["state"] == "succeeded"
    assert not is_alive(again["pid"])


async def test_what_is_only_watched_cannot_be_restarted_and_its_logs_lie_where_they_lie(
    desk: Desk, daemon: Daemon, tmp_path: Path
) -> None:
    pid = daemon.start()
    log, link, fifo = tmp_path / "daemon.log", tmp_path / "link.log", tmp_path / "fifo.log"
    log.write_text("hello from outside\n")
    link.symlink_to(log)
    os.mkfifo(fifo)
    logs = {"Log": str(log), "Link": str(link), "Pipe": str(fifo), "Kernel": "/proc/kmsg", "Own": str(tmp_path / "w")}
    instance = await desk.adopt(
        daemon, start_command="", reload_command=f"kill -HUP {pid}", log_paths=logs, name="watched"
    )
    path = f"/instances/{instance['id']}"
    assert (instance["watched_only"], instance["can_reload"]) == (True, True)
    with pytest.raises(ApiError, match="watched_only"):
        await desk.api.post(f"{path}/restart")
    answer = await desk.api.post(f"{path}/reload")
    assert answer["exit_code"] == 0
    reloaded = daemon.home / "reloaded"  # it hears the signal when it hears it
    await until(lambda: asyncio.to_thread(reloaded.read_text), lambda text: text == "x")
    lines = await desk.api.get(f"{path}/logs/Log")
    assert [line["text"] for line in lines["lines"]] == ["hello from outside"]
    for name in ("Link", "Pipe", "Kernel", "Own"):
        with pytest.raises(ApiError, match=r"404|422"):
            await desk.api.get(f"{path}/logs/{name}")
    os.kill(pid, signal.SIGKILL)
    report = await until_state(desk.api, instance["id"], "failed")
    assert report["reason"]["code"] == "exit_unknown"
    assert daemon.starts == [pid]


async def test_what_cannot_be_taken_is_refused_before_anything_is_touched(desk: Desk, daemon: Daemon) -> None:
    refused = await desk.refusal(daemon)
    assert refused.body["details"]["reason"] == "pid_file_missing"
    pid = daemon.start()
    before = await desk.api.get("/audit?q=module.create")
    cases = {
        "$.pid": {"pid_strategy": "pid", "pid_file": "", "pid": 1},
        "$.process_name": {"pid_strategy": "match", "pid_file": "", "process_name": "a\nb"},
        "$.process_name: must have": {"pid_strategy": "match", "pid_file": "", "process_name": "x" * 131072},
        "$.pid_file": {"pid_file": "daemon.pid"},
        "$.start_command": {"start_command": "unclosed 'quote"},
        "$.name": {"name": "$(reboot)"},
        "$.external_work_dir": {"external_work_dir": "tmp"},
        "$.log_paths": {"log_paths": {"stdout": "/tmp/x"}},
    }
    for problem, fields in cases.items():
        refused = await desk.refusal(daemon, **fields)
        assert refused.status == 422, fields
        assert problem.split(":")[0] in str(refused.body["details"]["problems"])
    reasons = {
        "no_match": {"pid_strategy": "match", "pid_file": "", "process_name": "$(reboot) no such"},
        "worker": {"pid_strategy": "pid", "pid_file": "", "pid": os.getpid()},
        "process_gone": {"pid_strategy": "pid", "pid_file": "", "pid": 4194303},
        "another_executable": {"pid_strategy": "pid", "pid_file": "", "pid": pid, "executable": "/bin/true"},
        "another_user": {"uid": 4242},
        "another_work_dir": {"external_work_dir": "/tmp"},
    }
    for reason, fields in reasons.items():
        refused = await desk.refusal(daemon, **fields)
        assert (refused.status, refused.body["details"]["reason"]) == (409, reason)
    assert (await desk.api.get("/instances"))["total"] == 0
    assert (await desk.api.get("/audit?q=module.create"))["total"] == before["total"]
    assert is_alive(pid)


async def test_several_matches_that_are_no_tree_are_listed(desk: Desk, daemon: Daemon) -> None:
    pids = {daemon.start(), daemon.start()}
    name = f"{Path(sys.executable).name} -S -E {daemon.script}"
    refused = await desk.refusal(daemon, pid_strategy="match", pid_file="", process_name=name)
    assert refused.body["details"]["reason"] == "ambiguous"
    assert {int(pid) for pid in refused.body["details"]["candidates"]} == pids


async def test_the_same_process_is_not_taken_twice(desk: Desk, daemon: Daemon) -> None:
    daemon.start()
    await desk.adopt(daemon)
    refused = await desk.refusal(daemon, name="other")
    assert refused.body["details"]["reason"] == "already_in_care"


async def test_a_node_may_refuse_and_the_master_has_it_on_record(
    master: RunningMaster, api: Api, daemon: Daemon, tmp_path: Path
) -> None:
    pid = daemon.start()
    config = worker_config(tmp_path / "w", master.url, await master.create_join_token(), policy__takeover="0")
    async with running_worker(config):
        desk = await open_desk(api)
        refused = await desk.refusal(daemon)
        assert refused.body["details"]["reason"] == "policy_refused"
        rows = (await api.get("/audit?q=policy.refuse"))["items"]
        assert [(row["outcome"], row["target"]) for row in rows] == [("denied", f"node:{desk.node_id}")]
    assert is_alive(pid)


async def test_only_the_grant_takes_over(master: RunningMaster, desk: Desk, daemon: Daemon) -> None:
    daemon.start()
    async with master.admin_client("operator") as plain:
        for path, body in ((f"/nodes/{desk.node_id}/match", {}), ("/instances/adopt", desk.body(daemon))):
            with pytest.raises(ApiError, match="403"):
                await plain.post(path, body)


async def test_a_worker_that_is_killed_finds_it_again_and_starts_nothing(
    master: RunningMaster, api: Api, daemon: Daemon, tmp_path: Path
) -> None:
    program = Path(sys.executable).with_name("ops-worker")
    token = tmp_path / "token"
    token.write_text(await master.create_join_token())
    command = [str(program), "-work_dir", str(tmp_path / "w"), "-port", "0", "-master", master.url]
    pid = daemon.start()
    with no_subreaper():
        worker = subprocess.Popen([*command, "-token", f"@{token}"], cwd=tmp_path, stderr=subprocess.DEVNULL)  # noqa: ASYNC220 - starting is quick
    try:
        desk = await open_desk(api)
        instance = await desk.adopt(daemon)
        worker.kill()
        worker.wait()
        worker = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)  # noqa: ASYNC220 - starting is quick
        path = f"/instances/{instance['id']}"
        lines = await until(
            lambda: api.get(f"{path}/events"),
            lambda page: any(line["reason"] and line["reason"]["code"] == "readopted" for line in page["items"]),
        )
        assert lines
        assert (await until_state(api, instance["id"], "running"))["pid"] == pid
        os.kill(pid, signal.SIGKILL)
        again = await until(
            lambda: api.get(path), lambda one: one["pid"] not in {None, pid} and one["state"] == "running"
        )
        assert daemon.starts == [pid, again["pid"]]
    finally:
        worker.terminate()
        worker.wait()

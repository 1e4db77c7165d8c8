"""A whole worker against the master's end of the link: joins, runs what it is told, and goes on without it."""

import asyncio
import json
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from ops_system.model.ids import InstanceId, ModuleId, SystemId
from ops_system.model.instances import ConfigFile, Desired, InstanceSpec, State
from ops_system.model.manifest import Manifest
from ops_system.model.packages import PackageRef
from ops_system.worker.picture import read_picture
from tests.fakes.mastersend import MastersEnd
from tests.fakes.packages import SLEEPER, make_zip, service_json
from tests.fakes.worker import eventually, kill_marked, running_worker, worker_config

ID = InstanceId(f"life-{os.getpid()}-{secrets.token_hex(3)}")  # markers are seen by the whole machine


@pytest.fixture
async def master(tmp_path: Path) -> AsyncIterator[MastersEnd]:
    end = MastersEnd(tmp_path)
    await end.start()
    yield end
    await end.stop()
    kill_marked(ID)


def spec(ref: PackageRef, generation: int = 1, desired: Desired = Desired.RUNNING, **changes) -> InstanceSpec:
    manifest = msgspec.convert(service_json(**changes.pop("manifest", {})), Manifest)
    return InstanceSpec(ID, generation, desired, SystemId("s"), ModuleId("m"), "web", ref, manifest, **changes)


def is_in(master: MastersEnd, state: State):
    return lambda: ID in master.reports and master.reports[ID].state is state


def has_failed(master: MastersEnd, code: str):
    def check() -> bool:
        report = master.reports.get(ID)
        return report is not None and report.reason is not None and report.reason.code == code

    return check


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def destroy(master: MastersEnd, ref: PackageRef, generation: int) -> None:
    master.apply(spec(ref, generation, Desired.ABSENT))
    await master.until(lambda: ID in master.reports and master.reports[ID].removed)


async def test_join_deploy_stop_start_destroy(master: MastersEnd, tmp_path: Path) -> None:
    work_dir, port = tmp_path / "w", free_port()
    ref = master.add_package("web", "1.0.0", make_zip({"run.sh": SLEEPER, "data/readme": "hello"}))
    config = ConfigFile("conf/app.ini", "id=${instance.id} node=${node.name} port=${port.http} mode=${env.MODE}\n")
    overrides = {"args": ["${port.http}"], "ports": {"http": port}, "env": {"MODE": "release"}}
    async with running_worker(worker_config(work_dir, master.url, master.join_token)):
        await master.until(lambda: master.snapshots)
        master.apply(spec(ref, manifest=overrides, config_files=(config,)))
        await master.until(is_in(master, State.RUNNING))
        pid = master.reports[ID].pid
        assert pid is not None
        folder = work_dir / "instances" / ID
        assert (folder / "conf/app.ini").read_text() == f"id={ID} node=n1 port={port} mode=release\n"
        assert (folder / "data/readme").read_text() == "hello"
        assert Path(f"/proc/{pid}/cwd").readlink() == folder
        await eventually(lambda: (work_dir / "logs" / ID / "stdout.log").read_text() == f"started {port}\n")
        assert {"download", "verify", "unpack", "activate"} <= {item.step for item in master.progress}
        assert [event.seq for event in master.events] == sorted({event.seq for event in master.events})

        master.apply(spec(ref, 2, Desired.STOPPED, manifest=overrides, config_files=(config,)))
        await master.until(is_in(master, State.STOPPED))
        assert not is_alive(pid)
        (folder / "written-by-service").write_text("kept")
        master.apply(spec(ref, 3, manifest=overrides, config_files=(config,)))
        await master.until(is_in(master, State.RUNNING))
        assert len(master.ranges) == 1  # not fetched again
        await destroy(master, ref, 4)
        assert not folder.exists()
        assert not (work_dir / "logs" / ID).exists()
        master.forget(ID)
        await eventually(lambda: not list((work_dir / "state/desired").iterdir()))


async def test_services_outlive_the_worker_and_are_found_again(master: MastersEnd, tmp_path: Path) -> None:
    work_dir = tmp_path / "w"
    ref = master.add_package("web", "1.0.0", make_zip({"run.sh": SLEEPER}))
    async with running_worker(worker_config(work_dir, master.url, master.join_token)):
        await master.until(lambda: master.snapshots)
        master.apply(spec(ref))
        await master.until(is_in(master, State.RUNNING))
        pid = master.reports[ID].pid
    assert pid is not None
    assert is_alive(pid)
    seen = len(master.snapshots)
    master.reports.clear()
    async with running_worker(worker_config(work_dir, master.url)):  # enrolled: needs no token
        await master.until(lambda: len(master.snapshots) > seen)
        assert master.snapshots[-1].reports[0].pid == pid
        await master.until(is_in(master, State.RUNNING))
        await destroy(master, ref, 2)
    assert not is_alive(pid)


async def test_a_worker_starts_its_services_with_the_master_away(master: MastersEnd, tmp_path: Path) -> None:
    work_dir = tmp_path / "w"
    ref = master.add_package("web", "1.0.0", make_zip({"run.sh": SLEEPER}))
    async with running_worker(worker_config(work_dir, master.url, master.join_token)):
        await master.until(lambda: master.snapshots)
        master.apply(spec(ref))
        await master.until(is_in(master, State.RUNNING))
        first = master.reports[ID].pid
    await master.stop()
    assert first is not None
    os.kill(first, 9)
    await eventually(lambda: not is_alive(first))
    started = work_dir / "logs" / ID / "stdout.log"
    async with running_worker(worker_config(work_dir, master.url)):
        await eventually(lambda: started.read_text().count("started") == 2)
        master.reports.clear()
        await master.start()
        await master.until(is_in(master, State.RUNNING))
        assert master.reports[ID].pid != first
        await destroy(master, ref, 2)


async def test_a_download_cut_in_half_is_resumed(master: MastersEnd, tmp_path: Path) -> None:
    ref = master.add_package("web", "1.0.0", make_zip({"run.sh": SLEEPER, "blob": os.urandom(3_000_000)}))
    master.cut_after = [1_500_000]
    async with running_worker(worker_config(tmp_path / "w", master.url, master.join_token)):
        await master.until(lambda: master.snapshots)
        master.apply(spec(ref))
        await master.until(is_in(master, State.RUNNING))
        offsets = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in master.ranges]
        assert offsets[0] == 0
        assert 0 < offsets[1] <= 1_500_000
        await destroy(master, ref, 2)
    assert not list((tmp_path / "w/downloads").iterdir())


async def test_a_worker_killed_while_it_downloads_goes_on_where_it_was(master: MastersEnd, tmp_path: Path) -> None:
    work_dir, token = tmp_path / "w", tmp_path / "token"
    token.write_text(master.join_token)
    ref = master.add_package("web", "1.0.0", make_zip({"run.sh": SLEEPER, "blob": os.urandom(6_000_000)}))
    master.gate = asyncio.Event()
    program = Path(sys.executable).with_name("ops-worker")
    argv = [program, "-master", master.url, "-token", f"@{token}", "-work_dir", work_dir, "-port", str(free_port())]
    worker = await asyncio.create_subprocess_exec(*argv)
    await master.until(lambda: master.snapshots)
    master.apply(spec(ref))
    part = work_dir / "downloads" / f"{ref.sha256}.part"
    await eventually(lambda: part.exists() and part.stat().st_size > 2_000_000)
    worker.kill()
    await worker.wait()
    master.gate.set()
    assert not list((work_dir / "versions").iterdir())
    async with running_worker(worker_config(work_dir, master.url)):
        await master.until(is_in(master, State.RUNNING))
        assert int(master.ranges[1].removeprefix("bytes=").removesuffix("-")) > 2_000_000
        await destroy(master, ref, 2)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start services as somebody else")
async def test_a_service_of_another_user_owns_its_folder_and_no_more(master: MastersEnd, open_folder: Path) -> None:
    script = "#!/bin/sh\nid -un\necho mine > written || echo cannot write\ncat ../../node.key\nexec sleep 1000\n"
    ref = master.add_package("web", "1.0.0", make_zip({"run.sh": script}))
    work_dir = open_folder / "w"
    async with running_worker(worker_config(work_dir, master.url, master.join_token)):
        await master.until(lambda: master.snapshots)
        master.apply(spec(ref, manifest={"user": "nobody"}))
        await master.until(is_in(master, State.RUNNING))
        logs = work_dir / "logs" / ID
        assert (logs / "stdout.log").read_text() == "nobody\n"
        assert "node.key: Permission denied" in (logs / "stderr.log").read_text()
        assert (work_dir / "instances" / ID / "written").read_text() == "mine\n"
        assert (logs.stat().st_uid, (logs / "stdout.log").stat().st_uid) == (0, 0)
        await destroy(master, ref, 2)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may pass through, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"os": "windows"}, "wrong_os"),
        ({"arch": "arm64" if os.uname().machine == "x86_64" else "amd64"}, "wrong_arch"),
        ({"args": ["${port.nope}"]}, "unknown_placeholder"),
        ({"entrypoint": "bin/none"}, "entrypoint_missing"),
    ],
)
async def test_what_cannot_run_here_fails_with_its_reason(
    master: MastersEnd, tmp_path: Path, change: dict, code: str
) -> None:
    ref = master.add_package("web", "1.0.0", make_zip({"run.sh": SLEEPER}))
    async with running_worker(worker_config(tmp_path / "w", master.url, master.join_token)):
        await master.until(lambda: master.snapshots)
        master.apply(spec(ref, manifest=change))
        await master.until(has_failed(master, code))
        assert master.reports[ID].state is State.FAILED
        await destroy(master, ref, 2)


async def test_a_package_that_was_changed_is_not_unpacked(master: MastersEnd, tmp_path: Path) -> None:
    ref = master.add_package("web", "1.0.0", make_zip({"run.sh": SLEEPER}))
    master.packages[ref.sha256] = bytes(reversed(master.packages[ref.sha256]))
    async with running_worker(worker_config(tmp_path / "w", master.url, master.join_token)):
        await master.until(lambda: master.snapshots)
        master.apply(spec(ref))
        await master.until(has_failed(master, "verify_failed"))
        assert not list((tmp_path / "w").glob("versions/*/*/*"))
        await destroy(master, ref, 2)


async def test_a_package_signed_by_another_master_is_not_fetched(master: MastersEnd, tmp_path: Path) -> None:
    ref = master.add_package("web", "1.0.0", make_zip({"run.sh": SLEEPER}))
    forged = msgspec.structs.replace(ref, version="1.0.1")
    async with running_worker(worker_config(tmp_path / "w", master.url, master.join_token)):
        await master.until(lambda: master.snapshots)
        master.apply(spec(forged))
        await master.until(has_failed(master, "verify_failed"))
        assert master.ranges == []
        await destroy(master, forged, 2)


async def test_policy_of_the_node_refuses_root(master: MastersEnd, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has root to refuse")
    ref = master.add_package("web", "1.0.0", make_zip({"run.sh": SLEEPER}))
    config = worker_config(tmp_path / "w", master.url, master.join_token, policy__run_as_root="0")
    async with running_worker(config):
        await master.until(lambda: master.snapshots)
        master.apply(spec(ref))
        await master.until(has_failed(master, "policy_refused"))
        await destroy(master, ref, 2)


async def test_the_status_port_tells_and_only_to_loopback_names(master: MastersEnd, tmp_path: Path) -> None:
    port = free_port()
    config = worker_config(tmp_path / "w", master.url, master.join_token, server__port=str(port))
    async with running_worker(config), aiohttp.ClientSession() as session:
        await master.until(lambda: len(master.samples) > 2)
        async with session.get(f"http://127.0.0.1:{port}/health") as answer:
            health = json.loads(await answer.read())
        async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            metrics = await answer.text()
        async with session.get(f"http://127.0.0.1:{port}/health", headers={"Host": "evil.example"}) as answer:
            assert answer.status == 421
        picture = await asyncio.to_thread(read_picture, tmp_path / "w", 1)  # whatever -port says
        assert picture is not None
        assert (picture.running, picture.link) == (True, "linked")
    assert health["status"] == "ok"
    assert health["link"]["state"] == "linked"
    assert "ops_node_cpu_percent " in metrics
    assert "ops_worker_link_up 1" in metrics


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

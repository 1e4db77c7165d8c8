"""The frozen executables are started and used, as somebody does who has nothing else."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from ops_system.processes import procfs
from tests.fakes.fleet import Fleet, free_port, pack, until

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
NAMES = ("master", "worker", "regional-client", "install-agent", "pack-tool", "ops")


@pytest.fixture(scope="module", autouse=True)
def built():
    if not all((DIST / name).is_file() for name in NAMES):
        subprocess.run([sys.executable, ROOT / "packaging/build.py"], check=True)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """Where the executables of these tests unpack themselves to, once."""
    return tmp_path_factory.mktemp("runtime")


@pytest.fixture(autouse=True)
def _own_place(unpacked, monkeypatch):
    monkeypatch.setenv("OPS_RUNTIME_DIR", str(unpacked))


@pytest.mark.parametrize("name", NAMES)
def test_version_and_help(name):
    for flag in ("--version", "-help"):
        answer = subprocess.run([DIST / name, flag], capture_output=True, text=True, timeout=30)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.strip()


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_flag_is_exit_2_in_one_line(name):
    answer = subprocess.run([DIST / name, "-verzion"], capture_output=True, text=True, timeout=30)
    assert answer.returncode == 2
    assert len(answer.stderr.strip().splitlines()) == 1
    assert "version" in answer.stderr


def test_frozen_master_and_worker_run_a_frozen_package(tmp_path, example_zips, unpacked):
    settings = {"OPS_RUNTIME_DIR": str(unpacked)}
    with Fleet(tmp_path, master=DIST / "master", worker=DIST / "worker", settings=settings) as fleet:
        fleet.start_master()
        node_id = fleet.start_worker("w1")
        archive = tmp_path / "http.zip"
        subprocess.run(
            [DIST / "pack-tool", "build", ROOT / "examples/http-service", "-o", archive],
            check=True,
            capture_output=True,
        )
        assert archive.read_bytes() == pack(ROOT / "examples/http-service", tmp_path / "again.zip").read_bytes()
        subprocess.run(
            [DIST / "pack-tool", "push", archive, "--master", fleet.url, "--token", fleet.token],
            check=True,
            capture_output=True,
            timeout=60,
        )
        package = fleet.get("/packages")["items"][0]
        environ = {**os.environ, "OPS_URL": fleet.url, "OPS_TOKEN": fleet.token}
        told = subprocess.run([DIST / "ops", "nodes", "-q"], env=environ, capture_output=True, text=True, timeout=60)
        assert (told.returncode, told.stdout.split()) == (0, [node_id]), told.stderr
        ran = [DIST / "ops", "exec", node_id, "--", "echo", "hello"]
        told = subprocess.run(ran, env=environ, capture_output=True, text=True, timeout=60)
        assert (told.returncode, told.stdout) == (0, "hello\n"), told.stderr
        port = free_port()
        instance = fleet.deploy(package, node_id, ports={"http": port})
        assert instance["state"] == "running"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            assert answer.status == 200
        with urllib.request.urlopen(fleet.url, timeout=5) as page:
            assert b'<div id="app"' in page.read()


def test_a_double_click_gives_a_console_and_a_data_folder(tmp_path):
    """No arguments, empty folder: the port comes from the environment here, so that tests can run side by side."""
    port, tls_port = free_port(), free_port()
    environment = {**os.environ, "OPS_MASTER_SERVER_PORT": str(port), "OPS_MASTER_SERVER_TLS_PORT": str(tls_port)}
    environment.pop("DISPLAY", None)
    with (tmp_path / "out").open("wb") as out:
        master = subprocess.Popen(
            [DIST / "master"], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/health") or died(master, tmp_path), "console answers")
        assert (tmp_path / "data" / "setup-code").is_file()
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
        code = (tmp_path / "data" / "setup-code").read_text().strip()
        assert code in (tmp_path / "out").read_text()
    finally:
        master.terminate()
        assert master.wait(15) == 0


def test_running_executables_survive_a_cleaner_and_their_own_replacement(tmp_path, unpacked):
    """What a program has not imported yet must still be there (R22); the next start takes the new file."""
    temporary, copies = tmp_path / "tmp", {name: tmp_path / name for name in ("master", "worker")}
    temporary.mkdir()
    for name, copy in copies.items():
        shutil.copy2(DIST / name, copy)
    settings = {"OPS_RUNTIME_DIR": str(unpacked), "TMPDIR": str(temporary)}
    with Fleet(tmp_path, master=copies["master"], worker=copies["worker"], settings=settings) as fleet:
        fleet.start_master()
        node_id = fleet.start_worker("w1")
        assert list(temporary.iterdir()) == []  # nothing of ours lies where cleaners clean
        for copy in copies.values():
            replace(copy, b"#!/bin/sh\nexit 1\n")
        package = fleet.upload(pack(ROOT / "examples/http-service", tmp_path / "http.zip"))
        instance = fleet.deploy(package, node_id, ports={"http": free_port()})
        assert fleet.get(f"/nodes/{node_id}/processes")
        assert fleet.get(f"/instances/{instance['id']}/logs/stdout?tail=10")["lines"] is not None
        with urllib.request.urlopen(f"{fleet.url}/metrics", timeout=5) as answer:
            assert b"ops_" in answer.read()
        for name, copy in copies.items():
            replace(copy, (DIST / name).read_bytes())
        fleet.stop("w1")
        fleet.stop("master")
        fleet.start_master()
        fleet.start_worker("w1")
        path = f"/instances/{instance['id']}"
        until(lambda: fleet.get(path)["state"] == "running", "the service is found again")
        assert fleet.get(path)["pid"] == instance["pid"]


def test_a_frozen_keeper_tells_the_next_worker_what_lives_and_what_ended(tmp_path, unpacked):
    """The worker is killed; meanwhile one of three services ends. The keeper is the worker's own program."""
    source = tmp_path / "waiting"
    source.mkdir()
    manifest = {"schema": 1, "name": "waiting", "version": "1.0.0", "entrypoint": "run"}
    rules = {"restart": {"policy": "never"}, "health": {"type": "command", "target": "/bin/true"}}
    (source / "service.json").write_text(json.dumps({**manifest, **rules}))
    (source / "run").write_text("#!/bin/sh\nwhile [ ! -e end ]; do sleep 0.05; done\nexit 143\n")
    (source / "run").chmod(0o755)
    settings = {"OPS_RUNTIME_DIR": str(unpacked)}
    with Fleet(tmp_path, worker=DIST / "worker", settings=settings) as fleet:
        fleet.start_master()
        node_id = fleet.start_worker("w1")
        package = fleet.upload(pack(source, tmp_path / "waiting.zip"))
        first, *others = (fleet.deploy(package, node_id, name=f"s{number}") for number in range(3))
        assert keepers_below(tmp_path) == {parent_of(one["pid"]) for one in (first, *others)}
        fleet.stop("w1", signal.SIGKILL)
        (tmp_path / "w1/instances" / first["id"] / "end").touch()
        until(lambda: not Path(f"/proc/{first['pid']}").exists(), "the first service has ended")
        fleet.start_worker("w1")
        until(lambda: fleet.get(f"/instances/{first['id']}")["state"] == "failed", "its end is known")
        assert fleet.get(f"/instances/{first['id']}")["exit_code"] == 143
        for one in others:
            until(lambda path=f"/instances/{one['id']}": fleet.get(path)["state"] == "running", "it is found again")
            assert fleet.get(f"/instances/{one['id']}")["pid"] == one["pid"]
        assert len(keepers_below(tmp_path)) == 1
    until(lambda: not keepers_below(tmp_path), "the keeper ends with its last service and its worker")


def keepers_below(folder):
    """The processes that are a frozen keeper of a worker in this folder."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if words[1:2] == [b"ops-keeper"] and os.fsencode(folder) in words[2]:
                found.add(int(process.name))
    return found


def parent_of(pid):
    return procfs.read_row(pid).ppid


def replace(target, content):
    beside = target.with_name(f"{target.name}.new")
    beside.write_bytes(content)
    beside.chmod(0o755)
    beside.replace(target)


def test_folders_of_older_builds_go_when_nobody_runs_from_them(tmp_path):
    place = {**os.environ, "OPS_RUNTIME_DIR": str(tmp_path / "a place")}

    def version():
        return subprocess.run([DIST / "worker", "--version"], env=place, capture_output=True, text=True, timeout=30)

    assert version().returncode == 0
    (current,) = (tmp_path / "a place").iterdir()
    older, used = current.with_name("worker-0000"), current.with_name("worker-1111")
    older.mkdir()
    shutil.copytree(current, used, ignore=shutil.ignore_patterns(".in-use"))
    with subprocess.Popen([used / "worker", "-token", "-"], stdin=subprocess.PIPE, cwd=tmp_path) as running:
        until((used / ".in-use").exists, "the older build runs")
        until(lambda: version().returncode == 0 and not older.exists(), "the unused folder is gone")
        assert used.exists()
        running.communicate(b"nonsense", timeout=20)
    version()
    assert not used.exists()
    assert current.exists()


def test_an_executable_starts_from_a_relative_path_and_without_a_place_to_unpack(tmp_path):
    shutil.copy2(DIST / "worker", tmp_path / "worker")
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    environment = {**os.environ, "OPS_RUNTIME_DIR": str(blocked)}
    for command in (["./worker", "--version"], ["worker", "--version"], ["sh", "worker", "--version"]):
        environment["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
        answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30)
        assert answer.returncode == 0, answer.stderr
    assert (tmp_path / ".ops-runtime").is_dir()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def died(program: subprocess.Popen, folder: Path) -> bool:
    assert program.poll() is None, (folder / "out").read_text()
    return False

"""The frozen executables are started and used, as somebody does who has nothing else."""

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.fakes.fleet import Fleet, free_port, pack, until

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
NAMES = ("master", "worker", "pack-tool")


@pytest.fixture(scope="module", autouse=True)
def built():
    if not all((DIST / name).is_file() for name in NAMES):
        subprocess.run([sys.executable, ROOT / "packaging/build.py"], check=True)


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


def test_frozen_master_and_worker_run_a_frozen_package(tmp_path, example_zips):
    with Fleet(tmp_path, master=DIST / "master", worker=DIST / "worker") as fleet:
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


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def died(program: subprocess.Popen, folder: Path) -> bool:
    assert program.poll() is None, (folder / "out").read_text()
    return False

"""master.exe, worker.exe and pack-tool.exe come out of PyInstaller under Wine, and each does its work once."""

import subprocess
import urllib.request
import zipfile

import pytest

from tests.fakes.fleet import free_port, until
from tests.fakes.winefleet import WineFleet, run_wine, windows_package

pytestmark = [pytest.mark.wine, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def dist(lane):
    """The folder with the three, built when older than the sources."""
    assert [lane.build(name) for name in lane.EXECUTABLES] == [0, 0, 0]
    return lane.LANE / "dist"


@pytest.mark.parametrize("name", ["master", "worker", "pack-tool"])
def test_each_tells_its_version_and_refuses_an_unknown_flag(lane, dist, name):
    code, said = run_wine(lane, dist / f"{name}.exe", "--version")
    assert code == 0
    assert " 0." in said
    code, said = run_wine(lane, dist / f"{name}.exe", "-no_such_flag", "1")
    assert code == 2
    assert "no_such_flag" in said


def test_the_pack_tool_makes_a_package(lane, dist, tmp_path):
    with zipfile.ZipFile(windows_package(lane, tmp_path / "given.zip")) as given:
        given.extractall(tmp_path / "folder")
    code, said = run_wine(lane, dist / "pack-tool.exe", "build", tmp_path / "folder", "-o", tmp_path / "made.zip")
    assert code == 0, said
    with zipfile.ZipFile(tmp_path / "made.zip") as package:
        assert {"service.json", "run.cmd", "service.py"} <= set(package.namelist())


def test_the_master_serves_its_console(lane, dist, tmp_path):
    port, tls_port = free_port(), free_port()
    flags = ("-data_dir", tmp_path / "data", "-port", port, "-tls_port", tls_port, "-open_browser", 0)
    with subprocess.Popen(
        ["wine", *map(str, (dist / "master.exe", *flags))],
        env=lane.make_environment({}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as master:
        try:
            assert b'"ok"' in until(lambda: read(f"http://127.0.0.1:{port}/health"), "master.exe answers", 90)
            assert b"<html" in read(f"http://127.0.0.1:{port}/")
        finally:
            master.kill()
            lane.end_server()


def test_the_worker_joins_and_runs_a_package(lane, dist, tmp_path):
    with WineFleet(lane, tmp_path, worker=["wine", str(dist / "worker.exe")]) as fleet:
        fleet.start_master()
        node_id = fleet.start_worker("w1")
        package = fleet.upload(windows_package(lane, tmp_path / "win.zip"))
        instance = fleet.deploy(package, node_id)
        assert instance["state"] == "running"
        fleet.operation(fleet.post(f"/instances/{instance['id']}/stop"))


def read(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read()
    except OSError:
        return b""

"""The commands of the older documentation, as they stand there; the header, and `make` for the programs, are new."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.fleet import PROGRAMS, Fleet, until
from tests.fakes.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
TASK = {"idc": "dc1", "sn": "sn-001", "mac": "00:1a:2b:3c:4d:5e", "os_type": "Ubuntu 22.04", "os_version": "22.04"}
AS_IT_IS = "-o .venv/.stamps/venv -o .venv/.stamps/runtime"  # what `make install` made is taken as it is


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("older")) as made:
        made.start_master()
        yield made


def curl(fleet: Fleet, *words: str) -> dict:
    """Run curl as the documentation writes it, with the header that is needed now."""
    command = ["curl", "-sS", "-H", f"Authorization: Bearer {fleet.token}", *words]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True, timeout=30).stdout)


def start(fleet: Fleet, name: str, command: list[str], **environment: str) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OPS_", "MAKE", "MFLAGS"))}
    with (fleet.folder / f"{name}.log").open("ab") as log:
        fleet.programs[name] = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=kept | environment
        )


def make(*words: str) -> list[str]:
    return ["make", *AS_IT_IS.split(), *words]


def health(port: int) -> dict:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return json.load(answer)
    except OSError:
        return {}


@pytest.mark.timeout(120)
def test_a_task_is_made_seen_and_counted_and_a_played_machine_reports(fleet):
    api, data = f"{fleet.url}/api/v1", f"DATA={fleet.data}"
    made = curl(fleet, "-X", "POST", f"{api}/tasks", "-H", "Content-Type: application/json", "-d", json.dumps(TASK))
    assert (made["idc"], made["sn"], made["status"]) == ("dc1", "sn-001", "pending")
    assert [task["task_id"] for task in curl(fleet, f"{api}/tasks")["items"]] == [made["task_id"]]
    assert [server["sn"] for server in curl(fleet, f"{api}/servers/dc1")["items"]] == ["sn-001"]
    assert curl(fleet, f"{api}/stats")["pending"] == 1
    port = free_port()
    start(fleet, "dc1", make("run-regional", "IDC=dc1", f"PORT={port}", data, f"MASTER_PORT={fleet.port}"))
    until(lambda: health(port).get("status") == "ok", "the regional client answers")
    start(fleet, "agent", make("run-agent", "SN=sn-001", f"REGIONAL=http://127.0.0.1:{port}"))
    until(lambda: curl(fleet, f"{api}/tasks/dc1/sn-001")["status"] == "pending_approval", "the machine has reported")


@pytest.mark.timeout(120)
def test_a_regional_client_is_started_by_hand_and_a_second_idc_beside_it(fleet):
    ports = {"dc3": free_port(), "dc4": free_port()}
    for idc, port in ports.items():
        token = fleet.master_command("token", "create", idc, "--role", "regional", "--idc", idc).strip()
        command = [str(PROGRAMS / "ops-regional"), f"--idc={idc}", f"--api-port={port}"]
        surroundings = {
            "OPS_REGIONAL_STORE_URLS": fleet.url,
            "OPS_REGIONAL_STORE_TOKEN": token,
            "OPS_REGIONAL_REGION_LISTEN": "127.0.0.1",
            "OPS_REGIONAL_REGION_DATA_DIR": str(fleet.folder / idc),
        }
        start(fleet, idc, command, **surroundings)
    for idc, port in ports.items():
        until(lambda: health(port).get("status") == "ok", f"{idc} answers")  # noqa: B023 - asked at once
        assert health(port)["idc"] == idc
    known = {one["idc"]: one["is_alive"] for one in curl(fleet, f"{fleet.url}/api/v1/idcs")["items"]}
    assert known.items() >= {"dc3": True, "dc4": True}.items()
    for idc in ports:
        curl(
            fleet, "-X", "POST", f"{fleet.url}/api/v1/tasks", "-H", "Content-Type: application/json", "-d",
            json.dumps(TASK | {"idc": idc}),
        )  # fmt: skip
        assert curl(fleet, f"{fleet.url}/api/v1/stats/{idc}")["pending"] == 1


@pytest.mark.timeout(120)
def test_an_etcd_is_run_and_keeps_what_a_master_makes(tmp_path):
    ports = free_port(), free_port()
    with Fleet(tmp_path, settings={"OPS_MASTER_PROVISION_ETCD": f"http://127.0.0.1:{ports[0]}"}) as fleet:
        command = [PROGRAMS / "python", "packaging/run_etcd.py", "--data", tmp_path]
        start(fleet, "etcd", [*map(str, command), "--port", str(ports[0]), "--peer-port", str(ports[1])])
        until(lambda: health(ports[0]).get("health") == "true", "etcd answers")
        fleet.start_master()
        fleet.post("/tasks", TASK)
        start(
            fleet,
            "dc1",
            make(
                "run-regional",
                f"PORT={(port := free_port())}",
                f"DATA={fleet.data}",
                f"STORE=http://127.0.0.1:{ports[0]}",
            ),
        )
        until(lambda: health(port).get("status") == "ok", "the regional client answers")
        assert fleet.get("/servers/dc1")["total"] == 1

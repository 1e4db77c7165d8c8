"""Bad input gets a clear answer that says what, where and what to do; nothing half done stays visible."""

import json
import os
import socket
import subprocess
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fakes.fleet import PROGRAMS, ApiError, free_port, pack, until

SLEEPER = "#!/bin/sh\nexec sleep 3600\n"


def write_zip(archive: Path, service: dict | str | None, files: dict[str, str] | None = None) -> Path:
    """Write a package by hand, wrong or right."""
    with zipfile.ZipFile(archive, "w") as target:
        if service is not None:
            target.writestr("service.json", service if isinstance(service, str) else json.dumps(service))
        for name, text in (files or {"run.sh": SLEEPER}).items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100755 << 16
            target.writestr(entry, text)
    return archive


def service(name: str, **fields) -> dict:
    return {"name": name, "version": "1.0.0", "entrypoint": "run.sh", **fields}


def refused(fleet, archive: Path) -> dict:
    """Upload what must be refused; return the error and see that nothing of it stayed."""
    before = fleet.get("/packages")["total"]
    with pytest.raises(ApiError) as caught:
        fleet.upload(archive)
    assert fleet.get("/packages")["total"] == before
    assert not [path for path in (fleet.data).rglob("*") if path.is_file() and path.suffix in {".part", ".tmp"}]
    return {"status": caught.value.status, **caught.value.body}


def failed_deploy(fleet, node_id: str, archive: Path, **module) -> dict:
    """Deploy what cannot run; return the ended operation's target."""
    package = fleet.upload(archive)
    system = fleet.post("/systems", {"name": f"bad-{package['name']}"})
    wanted = {"name": package["name"], "package": package["name"], "version": package["version"], **module}
    created = fleet.post(f"/systems/{system['id']}/modules", wanted)
    answer = fleet.post("/instances", {"module_id": created["id"], "node_id": node_id})
    operation = fleet.operation(answer)
    assert operation["state"] == "failed", operation
    return {**operation["targets"][0], "instance": answer["instance"]["id"]}


# --- packages ------------------------------------------------------------------------------------------------------
def test_a_zip_without_service_json(fleet, tmp_path):
    error = refused(fleet, write_zip(tmp_path / "a.zip", None))
    assert error["status"] == 422
    assert error["code"] == "invalid"
    assert "service.json" in error["message"]


def test_a_broken_service_json(fleet, tmp_path):
    error = refused(fleet, write_zip(tmp_path / "a.zip", "{ not json"))
    assert error["status"] == 422
    assert "service.json" in error["message"]


def test_every_problem_of_a_service_json_is_named_at_once(fleet, tmp_path):
    wrong = service("x", version="", helth={}, ports={"http": 70000}, health={"type": "http", "interval": "soon"})
    error = refused(fleet, write_zip(tmp_path / "a.zip", wrong))
    problems = "\n".join(error["details"]["problems"])
    for path in ("$.version", "$.helth", "$.ports", "$.health.interval"):
        assert path in problems
    assert "health" in problems


def test_something_that_is_no_zip(fleet, tmp_path):
    archive = tmp_path / "a.zip"
    archive.write_bytes(os.urandom(4096))
    assert refused(fleet, archive)["status"] == 422


def test_an_entrypoint_that_is_missing_or_outside(fleet, tmp_path):
    missing = refused(fleet, write_zip(tmp_path / "a.zip", service("x", entrypoint="bin/none")))
    assert "bin/none" in json.dumps(missing)
    outside = refused(fleet, write_zip(tmp_path / "b.zip", service("x", entrypoint="../../bin/sh")))
    assert "entrypoint" in json.dumps(outside)


def test_the_same_version_with_other_bytes_is_a_conflict(fleet, tmp_path):
    first = write_zip(tmp_path / "a.zip", service("same"))
    fleet.upload(first)
    assert fleet.upload(first)["name"] == "same"
    other = write_zip(tmp_path / "b.zip", service("same"), {"run.sh": SLEEPER + "# other\n"})
    error = refused(fleet, other)
    assert error["status"] == 409
    assert error["code"] == "conflict"


# --- deploys -------------------------------------------------------------------------------------------------------
def test_a_package_for_another_system(fleet, node_id, tmp_path):
    package = fleet.upload(write_zip(tmp_path / "a.zip", service("winonly", os="windows")))
    system = fleet.post("/systems", {"name": "winonly"})
    module = fleet.post(
        f"/systems/{system['id']}/modules", {"name": "w", "package": package["name"], "version": "1.0.0"}
    )
    with pytest.raises(ApiError) as caught:
        fleet.post("/instances", {"module_id": module["id"], "node_id": node_id})
    assert caught.value.status in {409, 422}
    assert "windows" in caught.value.body["message"]
    assert not [item for item in fleet.get("/instances")["items"] if item["module_id"] == module["id"]]


def test_an_entrypoint_that_exits_at_once(fleet, node_id, tmp_path):
    archive = write_zip(
        tmp_path / "a.zip",
        service("quitter", restart={"policy": "never"}),
        {"run.sh": "#!/bin/sh\necho no config >&2\nexit 7\n"},
    )
    target = failed_deploy(fleet, node_id, archive)
    assert target["reason"]["code"] == "exited"
    assert target["reason"]["params"]["exit_code"] == 7
    assert fleet.get(f"/instances/{target['instance']}/logs/stderr")["lines"][-1]["text"] == "no config"


def test_an_unknown_placeholder_is_an_error_at_deploy(fleet, node_id, tmp_path):
    package = fleet.upload(write_zip(tmp_path / "a.zip", service("placeholder", args=["${env.NOPE}"])))
    system = fleet.post("/systems", {"name": "placeholder"})
    module = fleet.post(
        f"/systems/{system['id']}/modules", {"name": "p", "package": package["name"], "version": "1.0.0"}
    )
    with pytest.raises(ApiError, match=r"env\.NOPE") as caught:
        fleet.post("/instances", {"module_id": module["id"], "node_id": node_id})
    assert caught.value.status == 422
    assert not [item for item in fleet.get("/instances")["items"] if item["module_id"] == module["id"]]


def test_a_port_already_taken_by_a_stranger(fleet, node_id, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        archive = write_zip(tmp_path / "a.zip", service("porty", ports={"http": port}, restart={"policy": "never"}))
        target = failed_deploy(fleet, node_id, archive)
    assert target["reason"]["code"] == "port_taken"
    assert str(port) in json.dumps(target["reason"])


# --- programs ------------------------------------------------------------------------------------------------------
def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OPS_")}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**kept, **environment}, stdin=subprocess.DEVNULL
    )


def test_two_masters_on_one_data_folder(fleet):
    answer = run(
        PROGRAMS / "ops-master",
        "-data_dir",
        fleet.data,
        "-port",
        str(free_port()),
        "-tls_port",
        str(free_port()),
        "-open_browser",
        "0",
    )
    assert answer.returncode == 3
    assert str(fleet.data) in answer.stderr


def test_a_port_in_use(fleet, tmp_path):
    answer = run(PROGRAMS / "ops-master", "-data_dir", tmp_path / "d", "-port", str(fleet.port), "-open_browser", "0")
    assert answer.returncode == 3
    assert str(fleet.port) in answer.stderr


def test_a_wrong_config_key_names_the_nearest(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("server:\n  prot: 8080\n")
    answer = run(PROGRAMS / "ops-master", "-config", config)
    assert answer.returncode == 2
    assert len(answer.stderr.strip().splitlines()) == 1
    assert "server.prot" in answer.stderr
    assert "server.port" in answer.stderr


def test_a_named_config_file_that_is_missing(tmp_path):
    answer = run(PROGRAMS / "ops-worker", "-config", tmp_path / "none.yaml")
    assert answer.returncode == 2
    assert "none.yaml" in answer.stderr


def test_a_worker_without_identity_and_token(fleet, tmp_path):
    answer = run(PROGRAMS / "ops-worker", "-master", fleet.url, "-work_dir", tmp_path / "w", "-port", str(free_port()))
    assert answer.returncode == 2
    assert "join-token" in answer.stderr


def test_a_worker_with_a_wrong_or_used_token(fleet, tmp_path):
    used = fleet.master_command("join-token", "create").strip()
    assert (fleet.folder / "w1" / "node.json").exists()
    fleet_token = (fleet.folder / "w1.token").read_text()
    for token in (fleet_token, used[:-4] + "0000", "opsj1.nonsense"):
        answer = run(
            PROGRAMS / "ops-worker",
            "-master",
            fleet.url,
            "-work_dir",
            tmp_path / "w",
            "-port",
            str(free_port()),
            "-token",
            token,
        )
        assert answer.returncode in {1, 2}, answer.stderr
        assert "token" in answer.stderr
        assert token.split(".")[-1] not in answer.stderr
    assert not (tmp_path / "w" / "node.json").exists()


JOIN_FAULTS = {
    "expired": ("this join token has expired; make a new one", "该接入令牌已过期"),
    "used": ("this join token is used up; make a new one", "该接入令牌已用完"),
    "taken back": ("this join token is not known here", "主控端不认识该接入令牌"),
}


@pytest.mark.parametrize("language", ["en_GB.UTF-8", "zh_CN.UTF-8"])
@pytest.mark.parametrize("fault", JOIN_FAULTS)
def test_an_expired_used_or_withdrawn_token_says_so(fleet, tmp_path, fault, language):
    """In words on the worker's own console, in the language it is set to, with what to do next."""
    token = (fleet.folder / "w1.token").read_text()
    if fault != "used":
        token = fleet.master_command("join-token", "create", "--ttl", "1s" if fault == "expired" else "1h").strip()
    token_id = token.split(".")[2]
    if fault == "taken back":
        fleet.call("DELETE", f"/join-tokens/{token_id}")
    elif fault == "expired":
        expires = datetime.fromisoformat(fleet.get(f"/join-tokens/{token_id}")["expires_at"])
        until(lambda: datetime.now(UTC) > expires, "the token expires")
    command = [PROGRAMS / "ops-worker", "-master", fleet.url, "-work_dir", tmp_path / "w", "-port", str(free_port())]
    answer = run(*command, "-token", token, LC_ALL=language, PYTHONUTF8="1")
    english, chinese = JOIN_FAULTS[fault]
    assert answer.returncode == 2, answer.stderr
    assert english in answer.stderr
    assert "ops-master join-token create" in answer.stderr
    assert (chinese in answer.stderr) is language.startswith("zh")
    assert answer.stderr.count("\n") == 1
    assert token.split(".")[-1] not in answer.stderr
    assert not (tmp_path / "w" / "node.json").exists()


def test_a_plain_address_on_another_host_is_refused_with_the_right_one(tmp_path):
    answer = run(
        PROGRAMS / "ops-worker",
        "-master",
        "http://192.0.2.1:8080",
        "-token",
        "opsj1.a.b.c",
        "-work_dir",
        tmp_path / "w",
    )
    assert answer.returncode == 2
    assert "https://192.0.2.1:8443" in answer.stderr


def test_a_master_that_dies_in_the_middle_of_a_deploy_goes_on(fleet, node_id, tmp_path):
    archive = pack_blob(tmp_path, 30_000_000)
    package = fleet.upload(archive)
    system = fleet.post("/systems", {"name": "cut"})
    module = fleet.post(
        f"/systems/{system['id']}/modules", {"name": "cut", "package": package["name"], "version": "1.0.0"}
    )
    answer = fleet.post("/instances", {"module_id": module["id"], "node_id": node_id})
    fleet.stop("master", 9)
    fleet.start_master()
    until(lambda: fleet.get(f"/instances/{answer['instance']['id']}")["state"] == "running", "runs after all", 60)
    assert fleet.operation(answer)["state"] == "succeeded"
    versions = list((fleet.folder / "w1").rglob("*.part"))
    assert versions == []


def pack_blob(scratch: Path, size_bytes: int) -> Path:
    folder = scratch / "big"
    folder.mkdir()
    (folder / "blob.bin").write_bytes(os.urandom(size_bytes))
    (folder / "run.sh").write_text(SLEEPER)
    (folder / "run.sh").chmod(0o755)
    (folder / "service.json").write_text(json.dumps(service("big")))
    return pack(folder, scratch / "big.zip")

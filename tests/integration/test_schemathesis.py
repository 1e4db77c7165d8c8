"""The whole API as its own document describes it, asked by schemathesis: no 5xx, no answer that breaks its schema."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.fleet import PASSWORD, Fleet

PROGRAM = Path(sys.executable).with_name("schemathesis")
CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance"
SEED, EXAMPLES = 20, 8
LIMIT_S = 240  # a run takes a fifth of it
ENDS_THE_RUN = ("log_out", "delete_token", "remove_node", "revoke_session")
# A watch never ends (`kv/test_watch_stream.py` asks it). No zips (`security/test_attack_uploads.py` does); `prefixItems` are read wrongly.
NOT_SPOKEN = ("store_watch", "upload_package", "get_node_metrics", "get_instance_metrics")


@pytest.fixture
def fleet(tmp_path):
    with Fleet(tmp_path) as running:
        running.start_master()
        running.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD + "\n")
        running.start_worker("w1")
        yield running


def take_back(fleet) -> None:
    """Undo what was asked of the only node by chance, and see its worker come back."""
    node_id = next(
        node["id"] for node in fleet.get("/nodes?limit=500")["items"] if node["os"]
    )  # the others are planned
    fleet.stop("w1")
    fleet.call("PATCH", f"/nodes/{node_id}", {"revoked": False, "name": "w1"})
    assert fleet.start_worker("w1") == node_id


def left_out(document) -> list[str]:
    """WebSockets, which HTTP cannot ask, and what it finds by itself and would end its own run with."""
    sockets = [
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "x-websocket" in operation
    ]
    return [*sockets, *ENDS_THE_RUN, *NOT_SPOKEN]


@pytest.mark.timeout(LIMIT_S + 60)
def test_no_answer_breaks_the_document(fleet, tmp_path):
    command = [PROGRAM, "run", f"{fleet.url}/api/v1/openapi.json", "--header", f"Authorization: Bearer {fleet.token}"]
    command += ["--checks", CHECKS, "--max-examples", str(EXAMPLES), "--seed", str(SEED), "--workers", "2"]
    command += ["--phases", "fuzzing", "--no-color", "--generation-database", "none", "--request-timeout", "30"]
    for operation_id in left_out(fleet.get("/openapi.json")):
        command += ["--exclude-operation-id", operation_id]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    take_back(fleet)
    assert fleet.get("/audit/verify")["ok"] is True

"""Identity over real programs: a copied work folder, revoked and removed nodes, and the way back."""

import json
import shutil
import subprocess
import urllib.request

import pytest

from tests.fakes.fleet import Fleet, free_port, until

TOO_LONG_S = 20.0  # the promise is 2 s; bench_trust measures it


@pytest.fixture
def fleet(tmp_path):
    with Fleet(tmp_path) as made:
        made.start_master()
        yield made


class Copy:
    """A second worker program on a copy of the first one's folder."""

    def __init__(self, fleet, name="w1", copy="w2"):
        self.fleet, self.name, self.port = fleet, copy, free_port()
        shutil.copytree(fleet.folder / name, fleet.folder / copy)

    def start(self):
        work_dir = str(self.fleet.folder / self.name)
        flags = ["-master", self.fleet.url, "-work_dir", work_dir, "-port", str(self.port)]
        self.fleet._spawn(self.name, [self.fleet._worker, *flags])
        self.fleet.wait_ready(self.name, f"http://127.0.0.1:{self.port}")

    def link(self):
        return link_of(self.port)


def link_of(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
        return json.loads(answer.read())["link"]


def link_of_first(fleet):
    return link_of(fleet._worker_ports["w1"])


def nodes(fleet):
    return {node["name"]: node for node in fleet.get("/nodes")["items"]}


def test_a_copied_folder_is_quarantined_and_the_first_worker_stays_and_comes_back(fleet):
    node_id = fleet.start_worker("w1")
    copy = Copy(fleet)
    copy.start()
    until(lambda: "quarantined" in copy.link()["message"], "the copy is told why")
    found = nodes(fleet)
    assert {name: node["status"] for name, node in found.items()} == {"w1": "online", "w1-clone": "quarantined"}
    assert "join anew" in copy.link()["message"]
    assert link_of_first(fleet)["times_linked"] == 1  # nobody flapped

    fleet.stop("w1")
    until(lambda: not nodes(fleet)["w1"]["linked"], "the first worker is gone")
    assert fleet.start_worker("w1") == node_id  # a reconnect is no clone
    until(lambda: link_of_first(fleet)["state"] == "linked", "the first worker is back", 10)
    fleet.stop(copy.name)
    copy.start()  # and a copy stays one, however often it is started
    until(lambda: "quarantined" in copy.link()["message"], "the copy is told again")
    assert sorted(nodes(fleet)) == ["w1", "w1-clone"]
    assert link_of_first(fleet)["times_linked"] == 1


def test_a_revoked_node_is_cut_off_stays_out_and_joins_anew_after_leaving(fleet):
    node_id = fleet.start_worker("w1")
    fleet.call("PATCH", f"/nodes/{node_id}", {"revoked": True})
    until(lambda: link_of_first(fleet)["state"] == "refused", "the link is closed", TOO_LONG_S)
    assert "revoked" in link_of_first(fleet)["message"]
    assert not nodes(fleet)["w1"]["linked"]

    fleet.stop("w1")
    start_again(fleet)
    until(lambda: link_of_first(fleet)["state"] == "refused", "the revoked worker is told again")
    fleet.stop("w1")
    leave(fleet)
    newer = join_as(fleet, "w1-new")
    assert newer["id"] != node_id
    assert nodes(fleet)["w1"]["revoked"]


def test_a_removed_node_says_what_to_do_and_comes_back_by_a_token(fleet):
    node_id = fleet.start_worker("w1")
    fleet.call("PATCH", f"/nodes/{node_id}", {"name": "renamed"})
    until(lambda: "renamed" in nodes(fleet), "the new name")
    assert link_of_first(fleet)["state"] == "linked"
    fleet.call("DELETE", f"/nodes/{node_id}")
    until(lambda: link_of_first(fleet)["state"] == "refused", "the link is closed", TOO_LONG_S)
    assert "ops-worker leave" in link_of_first(fleet)["message"]
    fleet.stop("w1")
    leave(fleet)
    assert join_as(fleet, "w1")["id"] != node_id


def start_again(fleet):
    flags = ["-master", fleet.url, "-work_dir", str(fleet.folder / "w1"), "-port", str(fleet._worker_ports["w1"])]
    fleet._spawn("w1", [fleet._worker, *flags])
    fleet.wait_ready("w1", f"http://127.0.0.1:{fleet._worker_ports['w1']}")


def leave(fleet):
    command = [fleet._worker, "leave", "-work_dir", str(fleet.folder / "w1")]
    subprocess.run(command, check=True, capture_output=True, env=fleet._environment(), timeout=30)


def join_as(fleet, name):
    """Join with the first worker's folder under `name`; return the node."""
    token = fleet.folder / "again.token"
    token.write_text(fleet.master_command("join-token", "create").strip())
    port = str(fleet._worker_ports["w1"])
    flags = ["-master", fleet.url, "-work_dir", str(fleet.folder / "w1"), "-port", port, "-name", name]
    fleet._spawn("w1", [fleet._worker, *flags, "-token", f"@{token}"])
    fleet.wait_ready("w1", f"http://127.0.0.1:{port}")
    return until(lambda: online(fleet, name), f"{name} is online")


def online(fleet, name):
    node = nodes(fleet).get(name)
    return node if node and node["status"] == "online" else None

"""A whole master on a full disk (trust R14): writing answers 507, reading goes on, it heals by itself."""

import os
import subprocess
import sys

import pytest

from tests.fakes.master import ApiError, run_master

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="mounts a small tmpfs"),
]


@pytest.fixture
def small_disk(tmp_path):
    target = tmp_path / "disk"
    target.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", target], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("no right to mount here")
    yield target
    subprocess.run(["umount", "--lazy", target], check=True)


def fill(path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return


async def test_a_full_disk_answers_507_and_heals(small_disk):
    async with run_master(small_disk) as master, master.admin_client() as api:
        assert (await api.post("/systems", {"name": "before"}))["name"] == "before"
        ballast = small_disk / "ballast"
        fill(ballast)
        refused = []
        for number in range(400):  # what was preallocated must be used up first
            try:
                await api.post("/systems", {"name": f"full-{number}"})
            except ApiError as error:
                refused.append(error)
                break
        assert refused, "the disk never became full"
        assert (refused[0].status, refused[0].body["code"]) == (507, "storage_full")
        kept = (await api.get("/systems?limit=500"))["items"]
        assert len(kept) == number + 1
        async with api.session.post(f"{master.url}/api/v1/systems", json={"nam": 1}) as answer:
            assert answer.status == 422
        ballast.unlink()
        assert (await api.post("/systems", {"name": "after"}))["name"] == "after"
        assert (await api.get("/health"))["status"] == "ok"

"""A master that keeps packages on SeaweedFS, a real worker, a backup, time that gets lost, and the way back."""

import asyncio
import json
import os
import signal

from tests.fakes.fleet import Fleet, kill_marked, until
from tests.fakes.packages import make_zip
from tests.fakes.weed import weed_server

SERVICE = {"run.sh": "#!/bin/sh\nexec sleep 600\n"}


def settings_of(s3) -> dict[str, str]:
    minio = {
        "ENDPOINT": s3.endpoint,
        "AK": s3.access_key,
        "SK": s3.secret_key,
        "BUCKET": s3.bucket,
        "USE_SSL": "0",
    }
    return {"OPS_MASTER_STORAGE_TYPE": "minio"} | {f"OPS_MASTER_STORAGE_MINIO_{key}": minio[key] for key in minio}


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_after_a_restore_the_worker_is_back_with_the_restored_wish_and_packages_come_from_s3(tmp_path):
    async with weed_server(tmp_path / "weed") as s3:
        await asyncio.to_thread(lose_time_and_restore, tmp_path, settings_of(s3))


def lose_time_and_restore(folder, settings) -> None:
    with Fleet(folder, settings=settings) as fleet:
        fleet.start_master()
        node_id = fleet.start_worker("w1")
        archive = folder / "web.zip"
        archive.write_bytes(make_zip(SERVICE))
        package = fleet.upload(archive)
        kept = fleet.deploy(package, node_id, name="kept")
        assert fleet.operation(fleet.post("/backups", {}))["state"] == "succeeded"
        backup = fleet.get("/backups")["items"][0]["name"]

        fleet.operation(fleet.post(f"/instances/{kept['id']}/stop"))
        lost = fleet.deploy(package, node_id, name="lost")
        try:
            fleet.post(f"/backups/{backup}/restore", {"confirm": backup})
            until(lambda: restored_from(fleet) == backup, "the restored master answers", 60)
            until(lambda: fleet.get(f"/nodes/{node_id}")["status"] == "online", "the worker is back", 60)
            again = until(lambda: started_anew(fleet, kept), "what was stopped in the lost time runs again", 60)
            assert runs(again["pid"])
            assert runs(lost["pid"])
            (stranger,) = until(lambda: fleet.get("/backups/restored")["strangers"], "the stranger is told")
            assert (stranger["node_id"], stranger["instance_id"]) == (node_id, lost["id"])
            more = fleet.deploy(package, node_id, name="more")
            assert more["state"] == "running"
        finally:
            os.kill(lost["pid"], signal.SIGKILL)
    kill_marked(folder)


def restored_from(fleet: Fleet) -> str:
    try:
        return str(fleet.get("/backups/restored").get("name", ""))
    except (OSError, json.JSONDecodeError):
        return ""


def started_anew(fleet: Fleet, before):
    """Return the instance when it runs as another process: until its worker reports, the backup's word stands."""
    found = fleet.get(f"/instances/{before['id']}")
    runs_as_wished = found["state"] == "running" and found["desired"] == "running"
    return found if runs_as_wished and found["pid"] != before["pid"] else None

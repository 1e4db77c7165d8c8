"""Rules on log lines through a deployed service: every line counts once, whatever goes away meanwhile."""

import asyncio
import json

from tests.fakes.fleet import Fleet, until
from tests.fakes.packages import make_zip, service_json
from tests.fakes.receiver import receiver

WRITER = "#!/bin/sh\nmkdir -p log\nexec sleep 1000\n"
WINDOW_S = 900


class Log:
    """The named log of a deployed service, written as the service would."""

    def __init__(self, fleet, instance):
        self.path = fleet.folder / "w1" / "instances" / instance["id"] / "log" / "app.log"
        until(self.path.parent.is_dir, "the service has begun")

    def add(self, text):
        with self.path.open("a") as file:
            file.write(text)

    def rotate(self):
        older = self.path.with_name("app.log.1")
        if older.exists():
            older.rename(self.path.with_name("app.log.2"))
        self.path.rename(older)


def prepare(fleet, site):
    fleet.start_master()
    node_id = fleet.start_worker()
    archive = fleet.folder / "web.zip"
    archive.write_bytes(make_zip({"run.sh": WRITER}, service_json(log_paths={"app": "log/app.log"})))
    fleet.post("/channels", {"name": "ops", "kind": "webhook", "url": site.url(), "secret": "hush-84"})
    pattern = {"kind": "log", "log": "app", "pattern": r"ERROR \d+", "regex": True, "window_s": WINDOW_S}
    rule = {"name": "errors", "severity": "critical", "condition": pattern | {"fire_level": 9}}
    fleet.post("/alert-rules", rule)
    instance = fleet.deploy(fleet.upload(archive), node_id)
    return Log(fleet, instance), instance


def written_while_everything_restarts(fleet, log):
    """Write eight lines that match: rotated, in halves, with the worker away, with the master away."""
    log.add("ERROR 1\nfine\n" + "x" * 300 + "\nERR")
    log.add("OR 2\n")
    log.rotate()
    log.add("ERROR 3\nER")
    fleet.stop("w1")
    log.add("ROR 4\nERROR 5\n")
    log.rotate()
    log.add("ERROR 6\n")
    fleet.start_worker()
    fleet.stop("master")
    log.add("ERROR 7\n")
    fleet.start_master()
    log.add("ERROR 8\n")


async def test_no_line_is_missed_over_rotations_and_restarts(tmp_path):
    async with receiver() as site:
        with Fleet(tmp_path, settings={"OPS_MASTER_OUTBOUND_ALLOW": "127.0.0.1"}) as fleet:
            log, instance = await asyncio.to_thread(prepare, fleet, site)
            await asyncio.to_thread(written_while_everything_restarts, fleet, log)
            assert not site.got
            log.add("ERROR 9\n")
            (told,) = await site.wait_for(1, within_s=30)
            (item,) = json.loads(told.body)["items"]
            assert item["subject"] == f"instance:{instance['id']}"
            assert item["lines"] == ["ERROR 9"]
            (alert,) = await asyncio.to_thread(lambda: fleet.get("/alerts?state=firing")["items"])
            assert alert["value"] == 9

"""A backup while the master serves: the API's p95 beside it and without it, on 100 000 audit rows and 2 GB of packages.

python -m tests.bench.bench_backup [--rows 100000] [--megabytes 2000] [--rounds 3]

Packages are incompressible bytes of 100 MB each. Rounds alternate: a quiet window as long as the backup took, a backup.
"""

import argparse
import contextlib
import hashlib
import os
import sqlite3
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

from ops_system.master.audit.rules import GENESIS, Entry, link
from tests.bench.measure import emit, median, percentile
from tests.fakes.fleet import Fleet

PACKAGE_BYTES = 100_000_000
PAUSE_S = 0.005
BATCH = 5000
PATHS = ("/nodes", "/operations?limit=50", "/audit?limit=50", "/packages")


def fill(data: Path, rows: int, megabytes: int) -> None:
    """Write audit rows and packages into the data folder of a stopped master."""
    with contextlib.closing(sqlite3.connect(data / "ops.db", isolation_level=None)) as raw:
        raw.execute("BEGIN")
        last = raw.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone() or (0, GENESIS)
        seq, previous = int(last[0]), bytes(last[1])
        names = ", ".join((*Entry.__struct_fields__, "hash"))
        marks = ", ".join("?" * 10)
        for seq in range(seq + 1, seq + 1 + rows):  # noqa: B020 - goes on from the last row
            details = f'{{"reason":"bench","number":{seq}}}'
            entry = Entry(
                seq, 1_700_000_000_000 + seq, "user", "usr-1", "ann", "bench.row", f"thing:{seq}", "done", details
            )
            previous = link(previous, entry)
            values = [getattr(entry, name) for name in Entry.__struct_fields__]
            raw.execute(f"INSERT INTO audit ({names}) VALUES ({marks})", (*values, previous))
        for number in range(max(1, megabytes * 1_000_000 // PACKAGE_BYTES)):
            content = os.urandom(PACKAGE_BYTES)
            sha256 = hashlib.sha256(content).hexdigest()
            place = data / "uploads" / "sha256" / sha256[:2] / sha256
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            raw.execute(
                "INSERT INTO packages (name, version, version_key, sha256, size_bytes, signature, manifest, created_ms,"
                " created_by) VALUES (?, '1', '1', ?, ?, '', ?, 0, 'bench')",
                (f"p{number}", sha256, PACKAGE_BYTES, f'{{"name":"p{number}","version":"1","entrypoint":"run"}}'),
            )
        raw.execute("COMMIT")


class Caller:
    """Asks one page after another and notes how long each took, in milliseconds."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._stop = threading.Event()
        self.took_ms: list[float] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(PAUSE_S):
            began = time.perf_counter()
            self._fleet.call("GET", PATHS[number % len(PATHS)])
            self.took_ms.append(1000 * (time.perf_counter() - began))
            number += 1


def back_up(fleet: Fleet) -> float:
    """Make one backup over HTTP; return how many seconds it took."""
    began = time.perf_counter()
    operation = fleet.call("POST", "/backups", {})["operation"]
    while operation["state"] in {"pending", "running"}:
        time.sleep(0.1)
        operation = fleet.call("GET", f"/operations/{operation['id']}")
    if operation["state"] != "succeeded":
        raise RuntimeError(f"the backup failed: {operation['error']}")
    took_s = time.perf_counter() - began
    newest = fleet.call("GET", "/backups?limit=1")["items"][0]["name"]
    fleet.call("DELETE", f"/backups/{newest}")
    return took_s


def main() -> None:
    """Alternate quiet windows and backups."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        fleet.start_master()
        fleet.stop("master")
        fill(fleet.data, wanted.rows, wanted.megabytes)
        fleet.start_master()
        quiet, busy, took = [], [], []
        window_s = 5.0
        for _ in range(wanted.rounds):
            with Caller(fleet) as caller:
                time.sleep(window_s)
            quiet.append(percentile(caller.took_ms, 0.95))
            with Caller(fleet) as caller:
                took.append(back_up(fleet))
            busy.append(percentile(caller.took_ms, 0.95))
            window_s = min(30.0, took[-1])
        size = {"rows": wanted.rows, "megabytes": wanted.megabytes}
        emit("backup while serving, time", median(took), "s", **size)
        emit("API p95 without a backup", median(quiet), "ms", **size)
        emit("API p95 beside a backup", median(busy), "ms", ratio=round(median(busy) / median(quiet), 2), **size)


if __name__ == "__main__":
    main()

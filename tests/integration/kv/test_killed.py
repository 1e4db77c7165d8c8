"""kill -9 at any instant: what was acknowledged is there, and the revision never goes back."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ops_system.kv.base import RangeRequest, WatchRequest
from ops_system.kv.embedded import Embedded

WRITER = """
import asyncio, sys
from pathlib import Path
from ops_system.kv.base import PutRequest, DeleteRequest, TxnRequest
from ops_system.kv.embedded import Embedded

async def main():
    store = await Embedded.open(Path(sys.argv[1]), kept_revisions=200)
    print(f"open {store.revision}", flush=True)

    async def write(number):
        turn = 0
        while True:
            turn += 1
            key = b"w%d" % number
            puts = (PutRequest(key, b"%d" % turn), PutRequest(key + b"/twin", b"%d" % turn))
            done = await store.txn(TxnRequest((), puts))
            print(f"done {number} {turn} {done.revision}", flush=True)
            if turn % 10 == 0:
                await store.delete(DeleteRequest(b"x%d" % number))
                await store.put(PutRequest(b"x%d" % number))

    async with asyncio.TaskGroup() as group:
        group.create_task(store.run())
        for number in range(8):
            group.create_task(write(number))

asyncio.run(main())
"""


def write_and_kill(path: Path, lines: int) -> tuple[int, dict[bytes, int], int]:
    """Run the writer until it acknowledged so much, then kill it; return what it had promised."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        began = int(process.stdout.readline().split()[1])
        promised: dict[bytes, int] = {}
        revision = began
        for count, line in enumerate(process.stdout):
            if count == lines:
                process.send_signal(signal.SIGKILL)
            if not line.endswith("\n"):
                break
            _, number, turn, at = line.split()
            promised[b"w" + number.encode()] = int(turn)
            revision = max(revision, int(at))
    return began, promised, revision


async def check(path: Path, promised: dict[bytes, int], revision: int) -> int:
    store = await Embedded.open(path)
    try:
        answer = await store.range(RangeRequest(b"\0", b"\0"))
        assert answer.revision >= revision
        values = {kv.key: int(kv.value or b"0") for kv in answer.kvs}
        for key, turn in promised.items():
            assert values[key] >= turn
            assert values[key] == values[key + b"/twin"]  # a transaction is there whole or not at all
        async with store.watch(WatchRequest(b"\0", b"\0", start_revision=max(store.compacted, 1))) as watch:
            told = await watch.next()
        assert told.events[-1].kv.mod_revision <= answer.revision
        return answer.revision
    finally:
        await store.close()


async def look(path: Path, rounds: int, seed: int) -> None:
    dice, newest = random.Random(seed), 0
    for _ in range(rounds):
        began, promised, revision = write_and_kill(path, dice.randrange(1, 400))
        assert began >= newest
        newest = await check(path, promised, revision)


async def test_what_was_acknowledged_outlives_kill_9(tmp_path):
    await look(tmp_path / "store.db", 3, 1)


@pytest.mark.long
async def test_what_was_acknowledged_outlives_kill_9_often(tmp_path):
    await look(tmp_path / "store.db", 40, 2)

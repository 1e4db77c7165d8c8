"""A worker that puts markup wherever a machine's own words are shown, beside a test that drives a browser."""

import asyncio
import contextlib
import threading
from datetime import UTC, datetime

import aiohttp
import msgspec

from ops_system.model.instances import Desired, HealthState, InstanceEvent, InstanceReport, State
from ops_system.model.metrics import NODE_SERIES
from ops_system.model.nodes import Disk, Fingerprint
from ops_system.model.reasons import Reason
from ops_system.protocol.frames import Apply, Events, Ping, Report, Sample
from ops_system.protocol.logs import FollowLog, ListLogs, LogFile, LogFiles, LogLine, LogLines, ReadLog
from ops_system.protocol.requests import ListProcesses, Processes, ProcessInfo
from ops_system.runtime.tasks import running
from tests.bench.sim import SimWorker

MARKUP = (
    '<img src=x onerror="window.__x=1"><script>window.__x=1</script><svg onload="window.__x=1">\x1b]52;c;ZXZpbA==\x07'
)
PLAIN = MARKUP.replace("\x1b]52;c;ZXZpbA==\x07", "")
STEP_S = 0.5


class MarkupWorker(SimWorker):
    """Runs in a thread of its own; every text it sends is `MARKUP`."""

    def start(self, token: str) -> None:
        self._stop = threading.Event()
        self._token = token
        self.linked = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="markup worker")
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(20)

    async def _live(self) -> None:
        self.fingerprint = _marked(self.fingerprint)
        self._answer()
        _, _, token_id, secret = self._token.split(".", 3)
        async with aiohttp.ClientSession() as session:
            await self.enrol(session, token_id, secret)
            link = await self.dial(session)
            async with running(self.carry(link), "markup worker"):
                self.linked.set()
                while not self._stop.is_set():
                    self._speak()
                    await asyncio.sleep(STEP_S)
                link.close()

    def _speak(self) -> None:
        assert self.link is not None
        now = datetime.now(UTC)
        self.link.send(Ping(1, now))
        extra = {f"disk:{PLAIN[:100]}:used_percent": 1.0, "cpu0_percent": 1.0}
        self.link.send(Sample(now.timestamp(), (1.0,) * len(NODE_SERIES), extra))
        for spec in {frame.spec.instance_id: frame.spec for frame in self.heard if isinstance(frame, Apply)}.values():
            seen = {"instance_id": spec.instance_id, "generation": spec.generation, "at": now}
            if spec.desired is Desired.ABSENT:
                self.link.send(
                    Report(InstanceReport(**seen, state=State.STOPPED, health=HealthState.UNKNOWN, removed=True))
                )
                continue
            said = {"state": State.RUNNING, "health": HealthState.HEALTHY, "reason": Reason("odd", MARKUP)}
            self.link.send(Report(InstanceReport(**seen, **said, version=PLAIN, pid=1)))
            self.link.send(Events((InstanceEvent(seq=1, kind=PLAIN, **seen, **said),)))

    def _answer(self) -> None:
        async def list_logs(_body: ListLogs) -> LogFiles:
            return LogFiles(tuple(LogFile(name, 100, None) for name in ("stdout", "stderr", PLAIN)))

        async def read_log(_body: ReadLog) -> LogLines:
            return LogLines((LogLine(None, MARKUP, 0), LogLine(None, f"\x1b[31mred\x1b[0m {MARKUP}", 1)), None)

        async def follow(stream, _body: FollowLog) -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    await stream.write(f"followed {MARKUP}\n".encode())
                    await asyncio.sleep(STEP_S)

        async def processes(_body: ListProcesses) -> Processes:
            return Processes((ProcessInfo(7, 1, PLAIN, (f"argv{MARKUP}", PLAIN), PLAIN, 1.0, 1024, None),))

        self.handlers.on_request("logs.list", ListLogs, list_logs)
        self.handlers.on_request("logs.read", ReadLog, read_log)
        self.handlers.on_request("processes.list", ListProcesses, processes)
        self.handlers.on_stream("log", FollowLog, follow)


def _marked(seen: Fingerprint) -> Fingerprint:
    disk = Disk(PLAIN, PLAIN, PLAIN, 1000, PLAIN, PLAIN)
    words = {name: f"{name}{MARKUP}" for name in ("hostname", "platform", "kernel", "cpu_model")}
    return msgspec.structs.replace(seen, **words, macs=(PLAIN,), ips=(PLAIN,), disks=(disk,))

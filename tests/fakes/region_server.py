"""A small regional client for tests of the agent: real HTTP, one machine, the rules of `ops_system.provision.rules`.

It records every call in order, keeps intents and refuses what the real one refuses; tests steer it by its fields.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from ops_system.model.errors import Conflict, NotAllowed, OpsError, Unauthenticated
from ops_system.protocol.agent import (
    BeginCall,
    CompleteCall,
    HardwareConfig,
    InstallCompleteCall,
    InstallConfig,
    LeaseAnswer,
    NextData,
    NextOperation,
    ProgressAnswer,
    ProgressCall,
    Report,
    ReportAnswer,
)

TOKEN = "session-token"


class FakeRegion:
    """The state of one region with one machine."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.operations: list[NextOperation] = []
        self.config: InstallConfig | None = None
        self.hardware = HardwareConfig(None)
        self.reports: list[Report] = []
        self.begun: list[BeginCall] = []
        self.done: list[CompleteCall] = []
        self.ends: list[InstallCompleteCall] = []
        self.progress: list[ProgressCall] = []
        self.files: dict[str, bytes] = {}
        self.ttl_s, self.fence, self.is_cancel_asked = 30.0, 1, False
        self.refuse_lease = ""
        self.renews_along = False  # with progress that asks for it
        self.refuse_begin: dict[str, OpsError] = {}
        self.away_for = 0  # so many calls are dropped without an answer
        self.ranges: list[str] = []  # the Range of every download
        self.break_files_at: list[int] = []  # a download breaks off after so many bytes, once each
        self.slow_file = 0.0  # seconds between two pieces of a file
        self.task_mac = ""
        self.boot_script = "#!ipxe\necho unknown: this machine starts from its disk\n"
        self.changed = threading.Condition()
        self.url = ""

    def wait_for(self, what, timeout_s: float = 20.0) -> None:
        """Wait until `what()` is true after some call."""
        with self.changed:
            assert self.changed.wait_for(what, timeout_s), f"never happened; calls: {self.calls[-20:]}"

    @property
    def lines(self) -> list[str]:
        return [line for call in self.progress for line in call.lines]

    def answer(self, path: str, body: bytes, token: str) -> object:
        name = path.rpartition("/")[2]
        if path.startswith("/boot/"):
            return self.boot_script
        if name != "report" and token != f"Bearer {TOKEN}":
            raise Unauthenticated("no such session")
        if path.startswith("/api/v1/task/"):
            return {"mac": self.task_mac}
        return getattr(self, f"on_{name}")(body)

    def on_report(self, body: bytes) -> ReportAnswer:
        self.reports.append(msgspec.json.decode(body, type=Report))
        return ReportAnswer(TOKEN, self.ttl_s, is_known=self.config is not None, fence=0)

    def on_lease(self, _: bytes) -> LeaseAnswer:
        if self.refuse_lease:
            raise Conflict("another one is here", reason=self.refuse_lease)
        return LeaseAnswer(self.ttl_s, self.fence, is_cancel_asked=self.is_cancel_asked)

    def on_getNextOperation(self, _: bytes) -> NextOperation:  # noqa: N802 - the contract's name
        if self.operations:
            return self.operations.pop(0)
        return NextOperation("wait", NextData(retry_after_s=0.05))

    def on_getOSInstallConfig(self, _: bytes) -> InstallConfig:  # noqa: N802 - the contract's name
        assert self.config is not None
        return self.config

    def on_getHardwareConfig(self, _: bytes) -> HardwareConfig:  # noqa: N802 - the contract's name
        return self.hardware

    def on_operationBegin(self, body: bytes) -> dict[str, bool]:  # noqa: N802 - the contract's name
        call = msgspec.json.decode(body, type=BeginCall)
        if call.operation in self.refuse_begin:
            raise self.refuse_begin[call.operation]
        if call.fence != self.fence:
            raise Conflict("stale", reason="stale_fence")
        if self.is_cancel_asked:
            raise NotAllowed("cancelled", reason="cancel_asked")
        self.begun.append(call)
        return {"ok": True}

    def on_operationComplete(self, body: bytes) -> dict[str, bool]:  # noqa: N802 - the contract's name
        self.done.append(msgspec.json.decode(body, type=CompleteCall))
        return {"ok": True}

    def on_installComplete(self, body: bytes) -> dict[str, bool]:  # noqa: N802 - the contract's name
        call = msgspec.json.decode(body, type=InstallCompleteCall)
        if call.fence != self.fence:
            raise Conflict("stale", reason="stale_fence")
        self.ends.append(call)
        return {"ok": True}

    def on_progress(self, body: bytes) -> ProgressAnswer:
        call = msgspec.json.decode(body, type=ProgressCall)
        self.progress.append(call)
        return ProgressAnswer(lease=self.on_lease(b"") if call.renews and self.renews_along else None)


@contextlib.contextmanager
def serving(region: FakeRegion) -> Iterator[FakeRegion]:
    """Serve a region on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer(body)

        def do_GET(self) -> None:
            if self.path in region.files:
                self._send_file(region.files[self.path])
            else:
                self._answer(b"")

        def _answer(self, body: bytes) -> None:
            with region.changed:
                region.calls.append(self.path)
                if region.away_for:
                    region.away_for -= 1
                    region.changed.notify_all()
                    self.close_connection = True
                    return
                try:
                    told = region.answer(self.path, body, self.headers.get("Authorization", ""))
                    status, text = 200, told.encode() if isinstance(told, str) else msgspec.json.encode(told)
                except OpsError as error:
                    status = error.http_status
                    text = msgspec.json.encode({"code": error.code, "message": error.message, "details": error.details})
                region.changed.notify_all()
            self._send(status, text)

        def _send(self, status: int, text: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _send_file(self, content: bytes) -> None:
            wanted = self.headers.get("Range", "")
            region.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(content) - start))
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            end = len(content)
            if region.break_files_at and start < region.break_files_at[0] < end:
                end = region.break_files_at.pop(0)
            with contextlib.suppress(ConnectionError):
                for place in range(start, end, 256 * 1024):
                    self.wfile.write(content[place : min(end, place + 256 * 1024)])
                    if region.slow_file:
                        time.sleep(region.slow_file)
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    region.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield region
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

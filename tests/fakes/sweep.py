"""What the sweep over the API knows: every operation of the document, callers of every kind, one site to call on."""

import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from jsonschema import Draft202012Validator

from ops_system.protocol.logs import (
    FollowLog,
    ListLogs,
    LogBytes,
    LogFile,
    LogFiles,
    LogHits,
    LogLine,
    LogLines,
    ReadLog,
    ReadLogBytes,
    SearchLog,
)
from ops_system.protocol.requests import Crashes, ListCrashes, ListProcesses, Processes, ProcessInfo
from ops_system.runtime.handlers import Handlers
from ops_system.runtime.streams import Stream
from tests.bench.sim import SimWorker
from tests.fakes.attacker import join, linked
from tests.fakes.master import PASSWORD, Api, RunningMaster, run_master
from tests.fakes.packages import make_zip, service_json

MISSING = "none_such"
ANYBODY = frozenset({"open", "loopback"})  # the sweep calls from this machine
VIEWER = ANYBODY | {"self", "view"}
OPERATOR = VIEWER | {"operate"}
ADMIN = OPERATOR | {"admin", "regional", "exec", "terminal", "takeover", "wipe.approve", "secrets"}
SCOPE = {"env": "test"}
SCOPED = tuple(f"/api/v1/{kind}/{{id}}" for kind in ("nodes", "instances", "operations", "systems", "modules"))
MEDIA_BODY = b"no archive"
LINE = b"2026-01-02T03:04:05Z hello\n"
BY_ITSELF = {"audit", "node_events", "alert_beat", "alerts", "alert_transitions", "deliveries", "notice_marks"}
"""Tables that time and the workers of the site fill, with no request at all."""


@dataclass(frozen=True)
class Caller:
    """Somebody who calls, and what the contract lets them do."""

    name: str
    may: frozenset[str]
    bearer: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.bearer}"} if self.bearer else {}


@dataclass(frozen=True)
class Operation:
    """One operation of the OpenAPI document."""

    method: str
    path: str
    about: dict[str, Any]

    @property
    def permission(self) -> str:
        return self.about["x-permission"]

    @property
    def is_websocket(self) -> bool:
        return self.about.get("x-websocket", False)

    @property
    def needs_step_up(self) -> bool:
        return self.about.get("x-step-up", False)

    @property
    def is_act(self) -> bool:
        return self.method != "GET"

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Answer:
    """What came back."""

    status: int
    media: str
    raw: bytes

    @property
    def told(self) -> Any:
        return json.loads(self.raw) if self.media == "application/json" else None


class Document:
    """The OpenAPI document of a running master."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.operations = [
            Operation(method.upper(), path, about)
            for path, methods in document["paths"].items()
            for method, about in methods.items()
        ]

    def fault_of(self, operation: Operation, answer: Answer) -> str:
        """Return what in an answer the document does not promise; empty when nothing."""
        promised = operation.about["responses"].get(str(answer.status))
        if promised is None:
            return f"status {answer.status} is not described: {answer.raw[:200]!r}"
        content = promised.get("content", {})
        if answer.media not in content:
            return f"{answer.media} is not described for {answer.status}"
        if answer.media != "application/json":
            return ""
        schema = {**content[answer.media]["schema"], "components": self._document["components"]}
        checker = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        faults = [f"{fault.json_path}: {fault.message[:200]}" for fault in checker.iter_errors(answer.told)]
        return "; ".join(faults)

    def body_of(self, operation: Operation) -> tuple[bytes | None, dict[str, str]]:
        """Return the smallest body the document allows, with its content type."""
        for media, content in operation.about.get("requestBody", {}).get("content", {}).items():
            is_json = media == "application/json"
            data = json.dumps(self._least(content["schema"])).encode() if is_json else MEDIA_BODY
            return data, {"Content-Type": media}
        return None, {}

    def query_of(self, operation: Operation) -> dict[str, Any]:
        """Return the query parameters that the document wants, each with the least value."""
        wanted = (one for one in operation.about.get("parameters", ()) if one["in"] == "query" and one.get("required"))
        return {one["name"]: self._least(one["schema"]) for one in wanted}

    def _least(self, schema: dict[str, Any]) -> Any:
        if "$ref" in schema:
            return self._least(self._document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
        for choices in ("anyOf", "oneOf", "enum"):
            if choices in schema:
                first = schema[choices][0]
                return first if choices == "enum" else self._least(first)
        if schema.get("type") == "object":
            return {name: self._least(schema["properties"][name]) for name in schema.get("required", ())}
        return {"array": [], "integer": 1, "number": 1, "boolean": True, "string": "x"}.get(schema.get("type", ""))


@dataclass
class Site:
    """A master with one object of each kind, twice where a scope tells them apart."""

    master: RunningMaster
    document: Document
    session: aiohttp.ClientSession
    callers: list[Caller]
    near: dict[str, str] = field(default_factory=dict)  # path prefix -> an id within the scope
    far: dict[str, str] = field(default_factory=dict)  # and one beyond it

    def caller(self, name: str) -> Caller:
        return next(caller for caller in self.callers if caller.name == name)

    def path(self, operation: Operation, ids: dict[str, str]) -> str:
        """Return the path with the ids known for it; others do not exist."""
        known = next((value for prefix, value in ids.items() if operation.path.startswith(prefix)), MISSING)
        package = ids.get("package", MISSING)
        spelled = operation.path.replace("{id}", known).replace("{sha256}", known)
        if "/packages/" in operation.path:
            spelled = spelled.replace("{name}", package).replace("{version}", "1.0.0")
        parts = [MISSING if part.startswith("{") else part for part in spelled.replace("{name}", "stdout").split("/")]
        return "/".join(parts)

    async def ask(
        self,
        operation: Operation,
        ids: dict[str, str],
        headers: dict[str, str],
        session: aiohttp.ClientSession | None = None,
    ) -> Answer:
        """Send one request with the smallest body."""
        body, media = self.document.body_of(operation)
        url = self.master.url + self.path(operation, ids)
        sender = session or self.session
        query = self.document.query_of(operation)
        async with sender.request(operation.method, url, data=body, params=query, headers=media | headers) as answer:
            return Answer(answer.status, answer.content_type, await answer.read())

    async def shake(
        self,
        operation: Operation,
        headers: dict[str, str],
        session: aiohttp.ClientSession | None = None,
        ids: dict[str, str] | None = None,
    ) -> int:
        """Open a WebSocket; return the status."""
        url = self.master.url + self.path(operation, ids or self.near)
        try:
            async with (session or self.session).ws_connect(url, headers=headers):
                return 101
        except aiohttp.WSServerHandshakeError as refusal:
            return refusal.status

    @contextlib.asynccontextmanager
    async def browser(self) -> AsyncIterator[tuple[aiohttp.ClientSession, dict[str, str]]]:
        """A browser in which the administrator is logged in, and the headers its page sends."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            login = {"username": "admin", "password": PASSWORD}
            headers = {"Origin": self.master.url}
            async with session.post(f"{self.master.url}/api/v1/login", json=login, headers=headers) as answer:
                me = await answer.json()
            yield session, headers | {"X-CSRF-Token": me["csrf_token"]}

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return every row of the database, without what the master writes by itself and stamps of last use."""
        with contextlib.closing(sqlite3.connect(self.master.master.ground.folder.database)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
            return {name: list(_rows(connection, name)) for (name,) in tables if name not in BY_ITSELF}


def _rows(connection: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    kept = [name for name in columns if name not in {"last_used_ms", "last_seen_ms"}]
    yield from connection.execute(f"SELECT {', '.join(kept)} FROM {table} ORDER BY 1")


@contextlib.asynccontextmanager
async def open_site(folder: Path) -> AsyncIterator[Site]:
    """Run a master, fill it, and gather callers of every kind."""
    async with (
        run_master(folder) as master,
        aiohttp.ClientSession() as session,
        master.admin_client() as api,
        contextlib.AsyncExitStack() as stack,
    ):
        document = Document(await api.get("/openapi.json"))
        workers = {}
        for env in ("test", "live"):
            workers[env] = await join(master, session, f"n-{env}", _answers())
            await stack.enter_async_context(linked(workers[env], session))
            await api.patch(f"/nodes/{workers[env].node_id}", {"labels": {"env": env}})
        callers = await _gather(master, api, workers["test"])
        site = Site(master, document, session, callers)
        await _fill(site, api, workers)
        yield site


def _answers() -> Handlers:
    """What the workers of the site say of themselves: one log of one line, one process."""
    handlers, now = Handlers(), datetime.now(UTC)

    async def list_logs(_body: ListLogs) -> LogFiles:
        return LogFiles((LogFile("stdout", len(LINE), now),))

    async def read_log(_body: ReadLog) -> LogLines:
        return LogLines((LogLine(now, LINE.decode().strip(), 0),), None)

    async def search(_body: SearchLog) -> LogHits:
        return LogHits((LogLine(now, LINE.decode().strip(), 0),), None, len(LINE), len(LINE))

    async def read_bytes(_body: ReadLogBytes) -> LogBytes:
        return LogBytes(LINE, len(LINE))

    async def follow(stream: Stream, _body: FollowLog) -> None:
        await stream.write(LINE)

    async def list_processes(_body: ListProcesses) -> Processes:
        return Processes((ProcessInfo(1, 0, "init", ("/sbin/init",), "root", 0.0, 4096, now),))

    handlers.on_request("logs.list", ListLogs, list_logs)
    handlers.on_request("logs.read", ReadLog, read_log)
    handlers.on_request("logs.search", SearchLog, search)
    handlers.on_request("logs.bytes", ReadLogBytes, read_bytes)
    handlers.on_stream("log", FollowLog, follow)

    async def list_crashes(_body: ListCrashes) -> Crashes:
        return Crashes(())

    handlers.on_request("processes.list", ListProcesses, list_processes)
    handlers.on_request("crashes.list", ListCrashes, list_crashes)
    return handlers


async def _gather(master: RunningMaster, api: Api, worker: SimWorker) -> list[Caller]:
    scoped = await api.post("/tokens", {"name": "scoped", "role": "operator", "scope": SCOPE})
    regional = await api.post("/tokens", {"name": "dc1", "role": "regional", "idc": "dc1"})
    assert worker.welcome is not None
    return [
        Caller("anonymous", ANYBODY),
        Caller("stranger", ANYBODY, "ops_" + "x" * 43),
        Caller("viewer", VIEWER, await master.create_token("viewer", "viewer")),
        Caller("operator", OPERATOR, await master.create_token("operator", "operator")),
        Caller("scoped operator", OPERATOR, scoped["token"]),
        Caller("admin", ADMIN, await master.create_token("admin")),
        Caller("regional client", ANYBODY | {"self", "regional"}, regional["token"]),
        Caller("node", ANYBODY | {"node"}, worker.welcome.session_token),
    ]


async def _fill(site: Site, api: Api, workers: dict[str, SimWorker]) -> None:
    package = make_zip({"run.sh": "#!/bin/sh\n"}, service_json(os="any", arch="any"))
    found = await api.ask("POST", "/packages", data=package, headers={"Content-Type": "application/zip"})
    for env, ids in (("test", site.near), ("live", site.far)):
        system = await api.post("/systems", {"name": f"shop-{env}"})
        body = {"name": "web", "package": "web", "version": "1.0.0", "placement": {"labels": {"env": env}}}
        module = await api.post(f"/systems/{system['id']}/modules", body)
        node_id = workers[env].node_id
        made = await api.post("/instances", {"module_id": module["id"], "node_id": node_id})
        known = (node_id, made["instance"]["id"], made["operation"]["id"], system["id"], module["id"])
        ids |= {path.removesuffix("{id}"): value for path, value in zip(SCOPED, known, strict=True)}
    bot = await api.post("/channels", {"name": "bot", "kind": "slack", "url": "https://hooks.example/x"})
    users = await api.get("/users")
    tokens = await api.get("/tokens")
    site.near |= {
        "/api/v1/channels/": bot["id"],
        "/api/v1/users/": users["items"][0]["id"],
        "/api/v1/tokens/": tokens["items"][0]["id"],
        "/api/v1/join-tokens/": (await api.post("/join-tokens", {}))["id"],
        "/api/v1/worker/packages/": found["sha256"],
        "package": "web",
    }

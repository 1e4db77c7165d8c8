"""Every operation of the OpenAPI document against every kind of caller. A new route is swept without being named here.

The document is read from a running master, so that what is swept is what is served.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.sweep import SCOPED, Answer, Caller, Operation, Site, open_site

ETCD_FORBIDDEN = 7  # below /v3 refusals carry gRPC's codes
NO_LOGIN = "log in, or send a valid token"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as made:
        yield made


def wanted(operation: Operation, caller: Caller) -> str:
    if operation.permission in caller.may:
        return "let in"
    return "not known" if caller.name in {"anonymous", "stranger"} else "forbidden"


def given(operation: Operation, answer: Answer) -> str:
    """Say what the permission check decided; what the handler says afterwards is its own business."""
    told = answer.told or {}
    if answer.status == 401 and told["message"] == NO_LOGIN:
        return "not known"
    if operation.path.startswith("/v3/"):
        is_ours = answer.status == 403 and told["message"].endswith(f"has no permission {operation.permission}")
        return "forbidden" if is_ours else "let in"
    is_forbidden = answer.status == 403 and told["code"] == "forbidden"
    if is_forbidden and told["details"] == {"permission": operation.permission}:
        return "forbidden"
    return "let in"


async def test_the_document_knows_every_route(site: Site) -> None:
    assert len(site.document.operations) == len(site.master.master.routes) > 70
    assert any(operation.is_websocket for operation in site.document.operations)


async def test_every_operation_answers_each_caller_as_it_declares(site: Site) -> None:
    faults, seen = [], set()
    for operation in site.document.operations:
        if operation.is_websocket:
            continue
        for caller in site.callers:
            ids = {} if operation.is_act else site.near
            answer = await site.ask(operation, ids, caller.headers)
            seen.add((operation.is_act, answer.status))
            if given(operation, answer) != wanted(operation, caller):
                faults.append(f"{operation} by {caller.name}: {answer.status} {answer.raw[:200]!r}")
            if fault := site.document.fault_of(operation, answer):
                faults.append(f"{operation} by {caller.name}: {fault}")
    assert faults == []
    assert {(False, 200), (True, 201), (True, 404), (True, 422), (True, 401), (True, 403)} <= seen


async def test_every_socket_opens_for_whom_it_declares(site: Site) -> None:
    faults = []
    for operation in sockets(site):
        for caller in site.callers:
            status = await site.shake(operation, caller.headers)
            decided = {401: "not known", 403: "forbidden"}.get(status, "let in")
            if decided != wanted(operation, caller) or str(status) not in operation.about["responses"]:
                faults.append(f"{operation} by {caller.name}: {status}")
    assert faults == []


def sockets(site: Site) -> list[Operation]:
    found = [operation for operation in site.document.operations if operation.is_websocket]
    assert len(found) >= 3
    return found


async def test_no_socket_opens_for_another_origin(site: Site) -> None:
    url, port = site.master.url, site.master.opened.port
    wrong = [
        "",
        "null",
        "file://",
        "http://evil.example",
        f"http://127.0.0.1:{port + 1}",
        f"https://127.0.0.1:{port}",
        f"http://localhost:{port}",
        "http://127.0.0.1",
        f"{url}/",
        f"{url}.evil.example",
        f"http://evil.example@127.0.0.1:{port}",
        url.upper(),
    ]
    faults = []
    async with site.browser() as (session, _):
        for operation in sockets(site):
            for origin in wrong:
                for how, status in (
                    ("cookie", await site.shake(operation, {"Origin": origin}, session)),
                    ("bearer", await site.shake(operation, {"Origin": origin} | site.caller("admin").headers)),
                ):
                    if status != 403 or "403" not in operation.about["responses"]:
                        faults.append(f"{operation} by {how} from {origin!r}: {status}")
            if operation.permission != "open" and (status := await site.shake(operation, {}, session)) != 403:
                faults.append(f"{operation} by cookie without Origin: {status}")
        live = next(operation for operation in sockets(site) if operation.path == "/api/v1/live")
        assert await site.shake(live, {"Origin": url}, session) == 101
    assert faults == []


async def test_no_act_of_a_browser_without_its_own_origin_and_csrf_token(site: Site) -> None:
    faults = []
    async with site.browser() as (session, good):
        tries = {
            "another origin": good | {"Origin": "http://evil.example"},
            "no origin": {"X-CSRF-Token": good["X-CSRF-Token"]},
            "no CSRF token": {"Origin": good["Origin"]},
            "a wrong CSRF token": good | {"X-CSRF-Token": "x" * 43},
        }
        for operation in site.document.operations:
            if not operation.is_act or operation.permission in {"open", "node"}:
                continue
            for how, headers in tries.items():
                answer = await site.ask(operation, {}, headers, session)
                code = ETCD_FORBIDDEN if operation.path.startswith("/v3/") else "forbidden"
                if (answer.status, answer.told["code"]) != (403, code):
                    faults.append(f"{operation} with {how}: {answer.status}")
    assert faults == []


async def test_a_proof_is_asked_for_exactly_where_the_document_says(site: Site) -> None:
    faults = []
    async with site.browser() as (session, good):
        async with site.master.master.ground.database.transaction() as tx:
            await tx.execute("UPDATE sessions SET proven_ms = 0")
        for operation in site.document.operations:
            if operation.is_websocket or operation.permission == "node" or operation.about["operationId"] == "log_out":
                continue
            answer = await site.ask(operation, {}, good, session)
            is_asked = answer.status == 403 and answer.told["code"] == "step_up_required"
            if is_asked != operation.needs_step_up:
                faults.append(f"{operation}: {answer.status} {answer.raw[:200]!r}")
            if is_asked and (fault := site.document.fault_of(operation, answer)):
                faults.append(f"{operation}: {fault}")
    assert faults == []
    assert any(operation.needs_step_up for operation in site.document.operations)


async def test_a_scope_hides_what_lies_beyond_on_every_route(site: Site) -> None:
    scoped, faults = site.caller("scoped operator"), []
    secrets = [value.encode() for value in site.far.values()]
    for operation in site.document.operations:
        if operation.permission not in scoped.may:
            continue
        if operation.path.startswith(SCOPED):
            faults += await beyond(site, operation, scoped)
        elif not operation.is_act and not operation.is_websocket:
            answer = await site.ask(operation, site.near, scoped.headers)
            if any(secret in answer.raw for secret in secrets):
                faults.append(f"{operation} shows what lies beyond")
    assert faults == []


async def beyond(site: Site, operation: Operation, scoped: Caller) -> list[str]:
    """Return what is wrong with an operation on one object: 404 beyond the scope, and only there."""
    if operation.is_websocket:
        far = await site.shake(operation, scoped.headers, ids=site.far)
        near = await site.shake(operation, scoped.headers, ids=site.near)
        return [] if (far, near) == (404, 101) else [f"{operation}: {far} beyond, {near} within"]
    answer = await site.ask(operation, site.far, scoped.headers)
    if operation.is_act:
        is_malformed = answer.status == 422 and (await site.ask(operation, site.near, scoped.headers)).status == 422
        return [] if answer.status == 404 or is_malformed else [f"{operation}: {answer.status} {answer.raw[:200]!r}"]
    within = await site.ask(operation, site.near, scoped.headers)
    if (answer.status, within.status) == (404, 200):
        return []
    return [f"{operation}: {answer.status} beyond, {within.status} within; let the workers of the site answer it"]


async def test_a_scope_hides_what_lies_beyond_on_the_live_socket(site: Site) -> None:
    topics = ["nodes", "instances", "operations", "systems", "modules", "metrics:fleet"]
    url, told = f"{site.master.url}/api/v1/live", b""
    async with site.session.ws_connect(url, headers=site.caller("scoped operator").headers) as socket:
        await socket.send_json({"subscribe": topics})
        awaited = set(topics)
        while awaited:
            message = await socket.receive(timeout=30)
            told += message.data.encode()
            awaited.discard(message.json()["topic"] if message.json()["type"] == "snapshot" else "")
        far = site.far["/api/v1/nodes/"]
        await change_node(site, far)
        await change_node(site, site.near["/api/v1/nodes/"])
        with contextlib.suppress(asyncio.TimeoutError):
            while site.near["/api/v1/nodes/"].encode() not in (
                data := (await socket.receive(timeout=30)).data.encode()
            ):
                told += data
        for topic in (f"metrics:node:{far}", f"events:node:{far}", f"events:instance:{site.far['/api/v1/instances/']}"):
            await socket.send_json({"subscribe": [topic]})
            refusal = await socket.receive_json(timeout=30)
            assert (refusal["type"], refusal["data"]["code"]) == ("error", "not_found")
    assert site.near["/api/v1/instances/"].encode() in told
    assert not any(value.encode() in told for value in site.far.values())


async def test_a_node_is_planned_within_the_scope_only(site: Site) -> None:
    url, headers = f"{site.master.url}/api/v1/nodes", site.caller("scoped operator").headers
    for name, labels, status in (("a", {}, 403), ("b", {"env": "live"}, 403), ("c", {"env": "test"}, 201)):
        async with site.session.post(url, json={"name": name, "labels": labels}, headers=headers) as answer:
            assert answer.status == status, await answer.text()


async def change_node(site: Site, node_id: str) -> None:
    url = f"{site.master.url}/api/v1/nodes/{node_id}"
    async with site.session.patch(url, json={"paused": True}, headers=site.caller("admin").headers) as answer:
        assert answer.status == 200


async def test_no_get_changes_the_database(site: Site) -> None:
    faults = []
    for operation in site.document.operations:
        if operation.is_act or operation.is_websocket:
            continue
        for caller in site.callers:
            for ids in (site.near, {}):
                before = site.contents()
                await site.ask(operation, ids, caller.headers)
                after = site.contents()
                faults += [f"{operation} by {caller.name}: {name}" for name in after if after[name] != before.get(name)]
    assert faults == []

"""HTTP of nodes, enrolment, and the WebSocket of workers: parse, call, answer."""

from collections.abc import Callable

import msgspec
from aiohttp import web

from ops_system.master.nodes.links import Links, Peer
from ops_system.master.nodes.notes import NodeEvent, NodeEventQuery
from ops_system.master.nodes.rules import (
    Enrolled,
    Enrolment,
    Node,
    NodeChange,
    NodeQuery,
    PlannedNode,
    check_within,
)
from ops_system.master.nodes.service import Nodes
from ops_system.master.nodes.timeline import NodeTimeline
from ops_system.master.web.clients import client_of
from ops_system.master.web.route import Call, Nothing, Page, Permission, Route
from ops_system.protocol.frames import MAX_FRAME_BYTES
from ops_system.protocol.requests import ListProcesses, Processes
from ops_system.protocol.vouchers import Voucher
from ops_system.runtime.tap import put_tap

CLOSE_TIMEOUT_S = 2.0
PROCESSES_TIMEOUT_S = 30.0  # every open file of every process is looked at for its ports


class CaAnswer(msgspec.Struct, frozen=True):
    """The certificate authority of this master, and its word for an own certificate, where one is served."""

    ca_pem: str
    voucher: Voucher | None = None


class RemoveQuery(msgspec.Struct, frozen=True):
    """`?force=1` removes a node although instances are on it."""

    force: bool = False


def worker_routes(nodes: Nodes, links: Links, voucher: Callable[[], Voucher | None]) -> list[Route]:
    """Return what workers call; open to everyone, because a join token or a node key is shown inside."""

    async def get_ca(_call: Call) -> CaAnswer:
        return CaAnswer(nodes.facts.ca_pem, voucher())

    async def enrol(call: Call) -> Enrolled:
        return await nodes.enrol(call.body, client_of(call.request).address)

    async def open_link(call: Call) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=MAX_FRAME_BYTES, compress=False, timeout=CLOSE_TIMEOUT_S)
        await socket.prepare(call.request)
        put_tap(socket, call.request, MAX_FRAME_BYTES)
        client = client_of(call.request)
        await links.serve(socket, Peer(client.address, client.is_tls, client.is_local))
        return socket

    return [
        Route(
            "GET",
            "/worker/ca",
            Permission.OPEN,
            get_ca,
            "Show the certificate authority; a worker checks it against its join token",
            "get_worker_ca",
            answer=CaAnswer,
            tag="worker",
        ),
        Route(
            "POST",
            "/worker/enrol",
            Permission.OPEN,
            enrol,
            "Join as a node with a join token",
            "enrol_worker",
            answer=Enrolled,
            body=Enrolment,
            tag="worker",
            errors=("unauthenticated", "forbidden", "invalid"),
        ),
        Route(
            "GET",
            "/worker/link",
            Permission.OPEN,
            open_link,
            "The link of a worker; it proves its node key inside",
            "open_worker_link",
            answer=web.StreamResponse,
            is_websocket=True,
            tag="worker",
        ),
    ]


def routes(nodes: Nodes, links: Links) -> list[Route]:
    """Return the routes of `/nodes`."""

    async def list_nodes(call: Call) -> Page[Node]:
        return nodes.list_page(call.query, call.principal)

    async def get_node(call: Call) -> Node:
        return nodes.get(call.params["id"], call.principal)

    async def plan_node(call: Call) -> Node:
        check_within(call.body.labels, call.principal.scope)
        return await nodes.plan(call.body, call.principal)

    async def change_node(call: Call) -> Node:
        node = await nodes.change(call.params["id"], call.body, call.principal)
        if node.revoked:
            links.disconnect(
                node.id,
                "forbidden",
                f"node {node.name} is revoked; to come back: ops-worker leave, then join anew with a fresh token",
            )
        return node

    async def remove_node(call: Call) -> Nothing:
        await nodes.remove(call.params["id"], call.principal, is_forced=call.query.force)
        return Nothing()

    async def list_processes(call: Call) -> Processes:
        node = nodes.get(call.params["id"], call.principal)
        return await links.request(node.id, "processes.list", ListProcesses(), Processes, PROCESSES_TIMEOUT_S)

    return [
        Route(
            "GET",
            "/nodes",
            Permission.VIEW,
            list_nodes,
            "List nodes; sort by a field or a current metric",
            "list_nodes",
            answer=Page[Node],
            query=NodeQuery,
            tag="nodes",
            errors=("invalid",),
        ),
        Route(
            "POST",
            "/nodes",
            Permission.OPERATE,
            plan_node,
            "Plan a node: the next worker of this name takes its place",
            "plan_node",
            answer=Node,
            body=PlannedNode,
            status=201,
            tag="nodes",
            errors=("invalid", "conflict"),
        ),
        Route(
            "GET",
            "/nodes/{id}",
            Permission.VIEW,
            get_node,
            "Show one node with its fingerprint and current metrics",
            "get_node",
            answer=Node,
            tag="nodes",
            errors=("not_found",),
        ),
        Route(
            "PATCH",
            "/nodes/{id}",
            Permission.OPERATE,
            change_node,
            "Pause or drain; rename, label or revoke (administrators)",
            "change_node",
            answer=Node,
            body=NodeChange,
            tag="nodes",
            errors=("not_found", "invalid", "conflict", "not_allowed", "forbidden"),
        ),
        Route(
            "DELETE",
            "/nodes/{id}",
            Permission.ADMIN,
            remove_node,
            "Remove a node and revoke its key; refused while instances are on it, unless ?force=1",
            "remove_node",
            query=RemoveQuery,
            tag="nodes",
            errors=("not_found", "not_allowed"),
        ),
        Route(
            "GET",
            "/nodes/{id}/processes",
            Permission.VIEW,
            list_processes,
            "List the processes of a node, asked of its worker now",
            "list_node_processes",
            answer=Processes,
            tag="nodes",
            errors=("not_found", "node_offline", "timeout"),
        ),
    ]


def timeline_routes(timeline: NodeTimeline) -> list[Route]:
    """Return the routes of what happened to a node."""

    async def list_events(call: Call) -> Page[NodeEvent]:
        return await timeline.list_page(call.params["id"], call.query, call.principal)

    return [
        Route(
            "GET",
            "/nodes/{id}/events",
            Permission.VIEW,
            list_events,
            "What happened to a node, the newest first: status, links, duty, identity, updates",
            "list_node_events",
            answer=Page[NodeEvent],
            query=NodeEventQuery,
            tag="nodes",
            errors=("not_found", "invalid"),
        )
    ]

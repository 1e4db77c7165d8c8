"""The live links of workers: who may open one, who holds it, and the way of frames in and out.

    opening -> proven -> (rival? ping it) -> linked -> gone
                 |              |
              Goodbye       quarantined

One link per node. A second one is a reconnect when the first does not answer a ping within `RIVAL_PING_S`, else a
clone (trust R18). Frames of a link that is no longer the node's are dropped.
"""

import asyncio
import hashlib
import logging
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus
from ops_system.master.nodes.events import NodeLinked, NodeRemoved, NodeUnlinked
from ops_system.master.nodes.keys import is_signed
from ops_system.master.nodes.notes import NoteKind, link_over
from ops_system.master.nodes.rules import NodeRecord, principal_of
from ops_system.master.nodes.service import Nodes
from ops_system.master.web.route import Principal
from ops_system.model.errors import Forbidden, Invalid, NodeOffline, OpsError, StorageFull, Unavailable
from ops_system.model.ids import NodeId
from ops_system.protocol.codec import Frame
from ops_system.protocol.frames import (
    HEARTBEAT_S,
    LEAVING,
    PROTOCOL_VERSION,
    Challenge,
    Goodbye,
    Ping,
    Pong,
    Proof,
    Welcome,
    proof_text,
)
from ops_system.runtime.clock import Clock
from ops_system.runtime.link import Link, LinkEnd
from ops_system.runtime.sockets import Socket
from ops_system.runtime.streams import Stream

_log = logging.getLogger(__name__)

OPENING_S = 10.0
RIVAL_PING_S = 3.0
RETRY_WRITE_S = 1.0
MAX_OPENING = 1000
NEVER = -1.0
LATER_S = 300.0
AUDIT_EVERY_S = 60.0
MAX_FAULT = 500
_REJOIN = "to come back: ops-worker leave, then join anew with a fresh token"
_OFFENCES = frozenset({"invalid", "internal"})  # ends of a link that are the worker's doing

_GONE = (TimeoutError, ConnectionError, RuntimeError)  # RuntimeError: aiohttp's word for a socket already closed

T = TypeVar("T")
F = TypeVar("F")


class Peer(msgspec.Struct, frozen=True):
    """The other end of a new socket, as this machine sees it."""

    address: str
    is_tls: bool
    is_loopback: bool


@dataclass(frozen=True, slots=True)
class Live:
    """A node's link."""

    node_id: NodeId
    link: Link
    epoch: int
    run_id: str
    boot_id: str
    token_hash: bytes


class _Refused(Exception):
    """The opening ends with these words to the worker."""

    def __init__(self, code: str, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.goodbye = Goodbye(code, message, retry_after_s)


class Links:
    """All live links. `app` registers the features' handlers before the first link comes."""

    def __init__(
        self,
        nodes: Nodes,
        audit: Audit,
        bus: Bus,
        clock: Clock,
        *,
        is_own_certificate: Callable[[bytes], bool],
        heartbeat_s: float = HEARTBEAT_S,
        sample_s: float = 1.0,
        rival_ping_s: float = RIVAL_PING_S,
        retry_write_s: float = RETRY_WRITE_S,
    ) -> None:
        self._nodes = nodes
        self._audit = audit
        self._bus = bus
        self._clock = clock
        self._is_own_certificate = is_own_certificate
        self._heartbeat_s = heartbeat_s
        self._sample_s = sample_s
        self._rival_ping_s = rival_ping_s
        self.retry_write_s = retry_write_s
        self._live: dict[NodeId, Live] = {}
        self._by_token: dict[bytes, NodeId] = {}
        self._handlers: dict[type, Callable[[NodeId, Any], Awaitable[None]]] = {}
        self._quick: dict[type, Callable[[NodeId, Any], None]] = {}
        self._locks: defaultdict[NodeId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._denied_s: dict[NodeId, float] = {}
        self._opening = 0
        bus.subscribe(NodeRemoved, self._on_removed)

    # --- for the features above -----------------------------------------------------------------------------------
    def on(self, frame_type: type[F], handler: Callable[[NodeId, F], Awaitable[None]]) -> None:
        """Await `handler` for each frame of this type, one frame of a node at a time, in order.

        While it raises `StorageFull` or `Unavailable` the same frame is tried again each second.
        """
        self._handlers[frame_type] = handler

    def on_quick(self, frame_type: type[F], handler: Callable[[NodeId, F], None]) -> None:
        """Call `handler` at once for each frame of this type, past any that wait; for what needs no I/O."""
        self._quick[frame_type] = handler

    def send(self, node_id: str, frame: Frame) -> bool:
        """Queue a frame for a node; False when it has no link."""
        live = self._live.get(NodeId(node_id))
        return live is not None and live.link.send(frame)

    def is_linked(self, node_id: str) -> bool:
        """Return whether frames can be sent now."""
        return node_id in self._live

    def linked(self) -> list[NodeId]:
        """Return the nodes that have a link."""
        return list(self._live)

    async def request(
        self, node_id: str, kind: str, body: msgspec.Struct, reply_type: type[T], timeout_s: float = 10.0
    ) -> T:
        """Ask a node. Raises `NodeOffline`, `TimedOut`, or what the worker answers."""
        return await self._link(node_id).request(kind, body, reply_type, timeout_s)

    def open_stream(self, node_id: str, kind: str, body: msgspec.Struct) -> Stream:
        """Open a stream to a node. Raises `NodeOffline`."""
        return self._link(node_id).open_stream(kind, body)

    def session_principal(self, token: str) -> Principal | None:
        """Return the node that holds this session token of a live link, for package downloads."""
        node_id = self._by_token.get(_hash(token))
        record = self._nodes.find(node_id) if node_id is not None else None
        return None if record is None else principal_of(record)

    def disconnect(self, node_id: str, code: str, message: str, retry_after_s: float = NEVER) -> None:
        """Say goodbye to a node, if it is here."""
        live = self._live.get(NodeId(node_id))
        if live is not None:
            live.link.say_goodbye(Goodbye(code, message, retry_after_s))

    def _link(self, node_id: str) -> Link:
        live = self._live.get(NodeId(node_id))
        if live is None:
            record = self._nodes.record(node_id)
            raise NodeOffline(f"node {record.name} has no link to this master", id=record.id, name=record.name)
        return live.link

    # --- one link from its first byte to its last -----------------------------------------------------------------
    async def serve(self, socket: Socket, peer: Peer) -> LinkEnd | None:
        """Open, carry and end the link on a fresh WebSocket; None when it was not let in."""
        link = Link(socket, "master")
        link.expect_every(self._heartbeat_s)
        try:
            live, welcome = await self._admit(link, peer)
        except _Refused as refused:
            await _part(socket, link, refused.goodbye)
            return None
        except OpsError as problem:
            _log.info("no link with %s: %s", peer.address, problem.message)
            await _part(socket, link, Goodbye(problem.code, problem.message))
            return None
        except _GONE as problem:
            _log.info("no link with %s: it went away during the opening: %r", peer.address, problem)
            return None
        try:
            end = await self._carry(live, welcome)
            self._nodes.note(live.node_id, NoteKind.LINK, link_over(end.code, end.message))
            if end.goodbye is not None and end.goodbye.code == LEAVING:
                await self._retire(live.node_id)
            if end.code in _OFFENCES and (record := self._nodes.find(live.node_id)) is not None:
                await self._audit_denied(record, Goodbye(end.code, end.message), peer)
            return end
        finally:
            self._leave(live)

    async def _retire(self, node_id: NodeId) -> None:
        try:
            await self._nodes.retire(node_id)
        except (StorageFull, Unavailable) as problem:
            _log.warning("node %s leaves, but that cannot be written: %s", node_id, problem.message)

    async def _carry(self, live: Live, welcome: Welcome) -> LinkEnd:
        try:
            async with asyncio.timeout(OPENING_S):
                await live.link.send_now(welcome)
        except _GONE as problem:
            _log.info("node %s went away during the opening: %r", live.node_id, problem)
        self._bus.publish(NodeLinked(live.node_id, live.epoch))
        _log.info("node %s linked, epoch %d", welcome.node_name, live.epoch)
        end = await live.link.run(partial(self._on_frame, live), partial(self._on_heard, live), (Ping, *self._quick))
        _log.info("node %s: link over: %s %s", welcome.node_name, end.code, end.message)
        return end

    def _leave(self, live: Live) -> None:
        self._by_token.pop(live.token_hash, None)
        if self._live.get(live.node_id) is live:
            del self._live[live.node_id]
            self._nodes.link_down(live.node_id)
            self._bus.publish(NodeUnlinked(live.node_id))

    # --- admission ------------------------------------------------------------------------------------------------
    async def _admit(self, link: Link, peer: Peer) -> tuple[Live, Welcome]:
        if self._opening >= MAX_OPENING:
            raise Unavailable("too many links are being opened; come back in a moment")
        self._opening += 1
        try:
            record, proof = await self._prove(link, peer)
            async with self._locks[record.id]:
                await self._settle_rival(record, proof, peer)
                return await self._enter(link, proof, peer)
        finally:
            self._opening -= 1

    async def _prove(self, link: Link, peer: Peer) -> tuple[NodeRecord, Proof]:
        """Let the worker prove its key over a fresh nonce and the certificate it saw (trust S5)."""
        nonce = secrets.token_bytes(32)
        async with asyncio.timeout(OPENING_S):
            await link.send_now(Challenge(nonce, self._nodes.facts.epoch))
        proof = await link.receive(OPENING_S)
        if not isinstance(proof, Proof):
            raise Invalid(f"a link opens with Proof, not {type(proof).__name__}")
        record = self._nodes.find(proof.node_id)
        refusal = self._find_fault(proof, record, nonce, peer)
        if refusal is None and record is not None:
            return record, proof
        assert refusal is not None
        _log.warning("no link for %s from %s: %s", proof.node_id, peer.address, refusal.goodbye.message)
        if record is not None:
            await self._audit_denied(record, refusal.goodbye, peer)
        raise refusal

    async def _audit_denied(self, record: NodeRecord, goodbye: Goodbye, peer: Peer) -> None:
        """Record a false proof or a broken frame, once a while per node: nobody who knows an id can fill the log."""
        now_s = self._clock.monotonic_s()
        if now_s - self._denied_s.get(record.id, -AUDIT_EVERY_S) >= AUDIT_EVERY_S:
            self._denied_s[record.id] = now_s
            fault = Forbidden(goodbye.message, address=peer.address, fault=goodbye.message[:MAX_FAULT])
            await self._audit.record_denied(principal_of(record), "node.link", f"node:{record.id}", fault)

    def _find_fault(self, proof: Proof, record: NodeRecord | None, nonce: bytes, peer: Peer) -> _Refused | None:
        """Return why this proof does not open a link."""
        if proof.protocol != PROTOCOL_VERSION:
            words = f"this master speaks link protocol {PROTOCOL_VERSION}, the worker {proof.protocol}; update one"
            return _Refused("not_allowed", words, LATER_S)
        if record is None or record.public_key is None:
            return _Refused("forbidden", f"this master does not know the node; {_REJOIN}", NEVER)
        if record.is_revoked:
            return _Refused("forbidden", f"node {record.name} is revoked; {_REJOIN}", NEVER)
        return self._find_channel_fault(proof, peer) or _find_key_fault(proof, record.public_key, nonce)

    def _find_channel_fault(self, proof: Proof, peer: Peer) -> _Refused | None:
        if not peer.is_tls and not peer.is_loopback:
            return _Refused("forbidden", "plain http is only for this machine; use the https address", LATER_S)
        seen = proof.certificate_sha256
        if self._is_own_certificate(seen) if peer.is_tls else not seen:
            return None
        words = "the worker saw another certificate than this master serves: something stands in between"
        return _Refused("unauthenticated", words, LATER_S)

    async def _settle_rival(self, record: NodeRecord, proof: Proof, peer: Peer) -> None:
        """Let the new link in when the old one is dead; else the newcomer is the clone."""
        rival = self._live.get(record.id)
        is_known_clone = self._nodes.find_clone(record.id, proof) is not None
        if rival is None and not is_known_clone:
            return
        if rival is not None and not await rival.link.ping(self._rival_ping_s):
            rival.link.close("replaced", "a newer link of this node took its place")
            self._leave(rival)
            rival = None
        if rival is not None and rival.run_id == proof.run_id:
            raise _Refused("conflict", "this worker's earlier link still answers", HEARTBEAT_S)
        if rival is not None or is_known_clone:
            clone = await self._nodes.quarantine(record, proof, peer.address)
            raise _Refused(
                "quarantined",
                f"another machine runs as node {record.name}; this one is quarantined as {clone.name}. Give it an "
                "identity of its own: remove node.key and node.json in its work folder and join anew",
                LATER_S,
            )

    async def _enter(self, link: Link, proof: Proof, peer: Peer) -> tuple[Live, Welcome]:
        record = await self._nodes.link_up(proof.node_id, proof, peer.address)
        token = f"opsn_{secrets.token_urlsafe(32)}"
        live = Live(record.id, link, record.connection_epoch, proof.run_id, proof.boot_id, _hash(token))
        self._live[record.id] = live
        self._by_token[live.token_hash] = record.id
        return live, Welcome(
            node_id=record.id,
            node_name=record.name,
            connection_epoch=record.connection_epoch,
            session_token=token,
            heartbeat_s=self._heartbeat_s,
            sample_s=self._sample_s,
            server_time=self._clock.now(),
            labels=record.labels,
        )

    # --- frames in ------------------------------------------------------------------------------------------------
    def _on_heard(self, live: Live, frame: Frame) -> bool:
        if self._live.get(live.node_id) is not live:
            return True  # a late frame of an older connection
        self._nodes.hear(live.node_id)
        quick = self._quick.get(type(frame))
        if quick is not None:
            quick(live.node_id, frame)
            return True
        if isinstance(frame, Ping):
            now = self._clock.now()
            self._nodes.presence.note_skew(live.node_id, (frame.sent_at - now).total_seconds())
            live.link.send(Pong(frame.seq, now))
            return True
        return False

    async def _on_frame(self, live: Live, frame: Frame) -> None:
        handler = self._handlers.get(type(frame))
        if handler is None:
            _log.warning("node %s sent %s, which nothing here takes", live.node_id, type(frame).__name__)
            return
        while self._live.get(live.node_id) is live:
            try:
                await handler(live.node_id, frame)
            except (StorageFull, Unavailable) as problem:
                _log.warning("a frame of node %s waits: %s", live.node_id, problem.message)
                await asyncio.sleep(self.retry_write_s)
            else:
                return

    def _on_removed(self, event: NodeRemoved) -> None:
        self._denied_s.pop(event.node_id, None)
        self.disconnect(event.node_id, "forbidden", f"this node was removed from the master; {_REJOIN}")


def _find_key_fault(proof: Proof, public_key: bytes, nonce: bytes) -> _Refused | None:
    if is_signed(public_key, proof.signature, proof_text(nonce, proof.node_id, proof.certificate_sha256)):
        return None
    return _Refused("unauthenticated", f"the signature is not by the key of node {proof.node_id}", NEVER)


async def _part(socket: Socket, link: Link, goodbye: Goodbye) -> None:
    """Say why, and close; a peer that does not listen is dropped."""
    try:
        async with asyncio.timeout(OPENING_S):
            await link.send_now(goodbye)
            await socket.close(code=1000, message=goodbye.code.encode())
    except _GONE as problem:
        _log.debug("no goodbye: %r", problem)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()

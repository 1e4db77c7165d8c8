"""The one connection to the master: dials, proves the node key, keeps the heart beating, comes back when it breaks.

    away --dial--> opening --Welcome--> linked --lost, silent, Goodbye--> away (full jitter, 1 s … 10 s)
                      |
                      Goodbye with retry_after_s < 0 (revoked, a clone): refused; the services go on; the next dial
                      is REFUSED_RETRY_S later, or when `try_again` is called (SIGHUP)

What must arrive (events) is kept by the journal until the master acknowledges it; what is only the newest picture
(reports, progress, samples) is coalesced or dropped by the link. `app` wires it to the rest through `Node`.
"""

import asyncio
import contextlib
import hashlib
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops_system import __version__
from ops_system.model.errors import Invalid, OpsError, TimedOut, Unavailable
from ops_system.model.ids import InstanceId
from ops_system.model.instances import InstanceReport, PrepareProgress
from ops_system.model.nodes import Fingerprint
from ops_system.protocol.codec import Frame
from ops_system.protocol.frames import (
    LEAVING,
    MAX_FRAME_BYTES,
    PROTOCOL_VERSION,
    Apply,
    Challenge,
    Events,
    EventsAck,
    Forget,
    Goodbye,
    Ping,
    Pong,
    Progress,
    Proof,
    Report,
    Sample,
    Welcome,
    proof_text,
)
from ops_system.runtime.handlers import Handlers
from ops_system.runtime.link import Link, LinkEnd
from ops_system.runtime.tasks import every, spawn
from ops_system.worker.enrol import fetch_ca
from ops_system.worker.identity import Identity, NodeKey
from ops_system.worker.outgoing import MAX_REASON_CHARS, bounded, snapshot_of
from ops_system.worker.patience import REFUSED_RETRY_S, ServerClock, retry_wait_s
from ops_system.worker.standing import LinkPicture, LinkState, Node
from ops_system.worker.tls import trust_for

if TYPE_CHECKING:
    import aiohttp

_log = logging.getLogger(__name__)

OPENING_S = 10.0
HEARTBEAT_JITTER = 0.2
EVENTS_A_FRAME = 200
NEVER = -1.0
LEAVE_TRIES = 3
_NEARLY = 0.9  # of an interval has passed: the pace of two clocks is never quite the same


class Uplink:
    """See the module. `run` ends only by cancellation."""

    def __init__(
        self,
        identity: Identity,
        key: NodeKey,
        fingerprint: Callable[[], Fingerprint],
        handlers: Handlers,
        dice: Callable[[], float] = random.random,
        *,
        refused_retry_s: float = REFUSED_RETRY_S,
    ) -> None:
        self._refused_retry_s = refused_retry_s
        self._knock = asyncio.Event()
        self._identity = identity
        self._key = key
        self._fingerprint = fingerprint
        self._node: Node | None = None
        self._is_waking = False
        self._handlers = handlers
        self._dice = dice
        self._tls = trust_for(identity.master_url, identity.ca_pem)
        self._link: Link | None = None
        self._welcome: Welcome | None = None
        self._run_id = secrets.token_hex(8)
        self._clock = ServerClock()
        self._sent_seq = 0
        self._untimely: dict[InstanceId, Apply] = {}  # newest per instance, until the next Pong
        self._sampled_at_s = 0.0
        self._linked = asyncio.Event()
        self.picture = LinkPicture()

    # --- for the rest of the worker -------------------------------------------------------------------------------
    @property
    def node_name(self) -> str:
        """The node's name as the master last said it."""
        return self._welcome.node_name if self._welcome else self._identity.node_name

    @property
    def dropped_samples(self) -> int:
        """How many samples the present link has thrown away because the master did not read."""
        return self._link.dropped_samples if self._link else 0

    @asynccontextmanager
    async def http(self) -> "AsyncIterator[aiohttp.ClientSession]":
        """Give a client session that trusts this master only, with its address as base."""
        import aiohttp

        connector = aiohttp.TCPConnector(ssl=self._tls, limit=8)
        async with aiohttp.ClientSession(
            self._identity.master_url, connector=connector, trust_env=False, auto_decompress=False
        ) as session:
            yield session

    async def session_token(self) -> str:
        """Return the Bearer for downloads, waiting for the link."""
        await self._linked.wait()
        assert self._welcome is not None
        return self._welcome.session_token

    def send_report(self, report: InstanceReport) -> None:
        """Send the newest picture of one instance; lost when away, the snapshot brings it again."""
        self._send(Report(bounded(report, MAX_REASON_CHARS)))

    def send_progress(self, progress: PrepareProgress) -> None:
        """Send how far a preparation is."""
        self._send(Progress(progress))

    def send_sample(self, sample: Sample) -> None:
        """Send one second of metrics, as often as the master wants them; a gap in the chart when away."""
        wanted_s = self._welcome.sample_s if self._welcome else 0.0
        if sample.at_s - self._sampled_at_s < _NEARLY * wanted_s and sample.at_s >= self._sampled_at_s:
            return
        if self._send(sample):
            self._sampled_at_s = sample.at_s

    def wake_events(self) -> None:
        """There are new events: send them once this turn of the loop is over, many in one frame."""
        if self._link is not None and not self._is_waking:
            self._is_waking = True
            asyncio.get_running_loop().call_soon(self._send_events)

    def _send_events(self) -> None:
        self._is_waking = False
        while self._link is not None and (batch := self._owner.events_after(self._sent_seq, EVENTS_A_FRAME)):
            if not self._send(Events(tuple(bounded(event, MAX_REASON_CHARS) for event in batch))):
                return
            self._sent_seq = batch[-1].seq

    @property
    def _owner(self) -> Node:
        assert self._node is not None
        return self._node

    def _send(self, frame: Frame) -> bool:
        return self._link is not None and self._link.send(frame)

    # --- life -----------------------------------------------------------------------------------------------------
    async def run(self, node: Node) -> None:
        """Stay linked for ever on behalf of `node`."""
        self._node = node
        attempt = 0
        async with self.http() as session:
            while True:
                linked_before = self.picture.times_linked
                end = await self._live_once(session)
                attempt = 0 if self.picture.times_linked > linked_before else attempt + 1
                goodbye = end.goodbye
                if goodbye is not None and goodbye.retry_after_s < 0:
                    await self._stay_away(goodbye)
                    continue
                wait_s = retry_wait_s(attempt, goodbye.retry_after_s if goodbye else 0.0, self._dice())
                self._show("away", end.message or end.code)
                await asyncio.sleep(wait_s)

    async def _stay_away(self, goodbye: Goodbye) -> None:
        """The master does not want this node: what runs goes on, and an operator decides; ask again now and then."""
        again = f"asked again every {self._refused_retry_s / 60:g} min, or at once on SIGHUP"
        self._show("refused", f"{goodbye.code}: {goodbye.message} ({again})")
        self._knock.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._refused_retry_s):
                await self._knock.wait()

    def try_again(self) -> None:
        """Dial a master that refused this node now; anything else goes its way."""
        self._knock.set()

    async def leave(self) -> str:
        """Have the master forget this node's key; return why it could not be told, empty when it knows.

        Instead of `run`, not beside it. That the master refuses the next dial proves that it has understood.
        """
        goodbye = Goodbye(LEAVING, "the node leaves by its own wish", NEVER)
        async with self.http() as session:
            for _ in range(LEAVE_TRIES):
                reached = await self._reach(session)
                if isinstance(reached, LinkEnd):
                    is_out = reached.goodbye is not None and reached.goodbye.code == "forbidden"
                    return "" if is_out else reached.message or reached.code
                link, _ = reached
                link.say_goodbye(goodbye)
                await link.run(_hear_nothing)
        return "it goes on letting the node in"

    async def _live_once(self, session: "aiohttp.ClientSession") -> LinkEnd:
        """Dial, open, and carry frames until the link ends."""
        reached = await self._reach(session)
        return reached if isinstance(reached, LinkEnd) else await self._carry(*reached)

    async def _reach(self, session: "aiohttp.ClientSession") -> tuple[Link, Welcome] | LinkEnd:
        """Dial and open; the end of the link where the master is away or does not want us."""
        import aiohttp

        try:
            async with asyncio.timeout(OPENING_S):
                socket = await session.ws_connect(
                    "/api/v1/worker/link", max_msg_size=MAX_FRAME_BYTES, compress=0, ssl=self._tls
                )
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch) as problem:
            await self._learn_trust(session)
            return LinkEnd(
                "away", f"{self._identity.master_url} shows a certificate that is not the master's: {problem}"
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            return LinkEnd(
                "away", f"{self._identity.master_url} does not answer ({str(problem) or 'no answer in time'})"
            )
        link = Link(socket, "worker", self._handlers)
        try:
            return link, await self._open(link, _certificate_sha256(socket))
        except OpsError as problem:
            await socket.close()
            return link.end or LinkEnd(problem.code, problem.message)
        except _Refused as refused:
            await socket.close()
            return LinkEnd(refused.goodbye.code, refused.goodbye.message, refused.goodbye)

    async def _learn_trust(self, session: "aiohttp.ClientSession") -> None:
        """Ask whether the pinned CA vouches for another certificate now; the next dial accepts that one alone.

        Whoever answers can only repeat the CA's own word: a relay's certificate is never vouched for.
        """
        import aiohttp

        identity = self._identity
        try:
            async with asyncio.timeout(OPENING_S):
                told = await fetch_ca(session, identity.master_url)
        except (aiohttp.ClientError, TimeoutError, OSError, OpsError) as problem:
            _log.debug("no voucher: %r", problem)
            return
        self._tls = trust_for(identity.master_url, identity.ca_pem, told.voucher)

    async def _open(self, link: Link, certificate_sha256: bytes) -> Welcome:
        """Answer the master's challenge. Raises `_Refused` on a Goodbye, an OpsError on anything unexpected."""
        challenge = await link.receive(OPENING_S)
        if isinstance(challenge, Goodbye):
            raise _Refused(challenge)
        if not isinstance(challenge, Challenge):
            raise Invalid(f"the master opened with {type(challenge).__name__}; a Challenge was due")
        await self._send_proof(link, challenge, certificate_sha256)
        welcome = await link.receive(OPENING_S)
        if isinstance(welcome, Goodbye):
            raise _Refused(welcome)
        if not isinstance(welcome, Welcome):
            raise Invalid(f"the master answered the proof with {type(welcome).__name__}; a Welcome was due")
        return welcome

    async def _send_proof(self, link: Link, challenge: Challenge, certificate_sha256: bytes) -> None:
        fingerprint = self._fingerprint()
        node_id = self._identity.node_id
        proof = Proof(
            node_id=node_id,
            signature=self._key.sign(proof_text(challenge.nonce, node_id, certificate_sha256)),
            certificate_sha256=certificate_sha256,
            boot_id=fingerprint.boot_id,
            run_id=self._run_id,
            worker_version=__version__,
            fingerprint=fingerprint,
            protocol=PROTOCOL_VERSION,
        )
        try:
            async with asyncio.timeout(OPENING_S):
                await link.send_now(proof)
        except TimeoutError as problem:
            raise TimedOut("the master does not read our proof") from problem
        except (ConnectionError, RuntimeError) as problem:
            raise Unavailable(f"the master closed the link during the opening ({problem})") from problem

    async def _carry(self, link: Link, welcome: Welcome) -> LinkEnd:
        """Live on an open link."""
        self._clock.hear(welcome.server_time)
        link.expect_every(welcome.heartbeat_s)
        self._link, self._welcome, self._sent_seq = link, welcome, 0
        link.send(snapshot_of(self._owner.reports(), self._owner.last_event_seq()))
        self._linked.set()
        self.picture.times_linked += 1
        self._show("linked", "")
        self._send_events()
        try:
            async with asyncio.TaskGroup() as group:
                heart = spawn(group, self._beat(welcome.heartbeat_s), "heartbeat")
                end = await link.run(self._on_frame)
                heart.cancel()
        finally:
            self._link = None
            self._linked.clear()
        return end

    async def _beat(self, interval_s: float) -> None:
        seq = 0

        async def beat() -> None:
            nonlocal seq
            seq += 1
            self._send(Ping(seq=seq, sent_at=datetime.now(UTC)))

        await every(interval_s, beat, "heartbeat", HEARTBEAT_JITTER)

    async def _on_frame(self, frame: Frame) -> None:
        match frame:
            case Apply():
                await self._apply(frame)
            case Forget():
                await self._owner.on_forget(frame.instance_id)
            case EventsAck():
                await self._owner.on_events_ack(frame.seq)
            case Pong():
                self._clock.hear(frame.server_time)
                await self._apply_untimely()
                self.picture.clock_skew_s = (datetime.now(UTC) - frame.server_time).total_seconds()
            case _:
                _log.warning("a %s frame means nothing here; ignored", type(frame).__name__)

    async def _apply(self, frame: Apply) -> None:
        if await self._owner.on_apply(frame, self._clock.now()):
            self._untimely[frame.spec.instance_id] = frame

    async def _apply_untimely(self) -> None:
        """Try once more what came at the wrong time: the master's clock may have jumped just before it was sent."""
        untimely, self._untimely = self._untimely, {}
        for frame in untimely.values():
            await self._owner.on_apply(frame, self._clock.now())

    def _show(self, state: LinkState, message: str) -> None:
        """Keep the picture, and log what is new: a master away for a week is one line, not sixty thousand."""
        if (state, message) == (self.picture.state, self.picture.message):
            return
        level = logging.INFO if state == "linked" else logging.WARNING
        _log.log(level, "link to %s: %s", self._identity.master_url, f"{state} ({message})" if message else state)
        if state != self.picture.state:
            self.picture.since = datetime.now(UTC)
        self.picture.state, self.picture.message = state, message


async def _hear_nothing(_frame: Frame) -> None:
    """What the master still says to one who leaves."""


class _Refused(Exception):
    """The master said Goodbye during the opening."""

    def __init__(self, goodbye: Goodbye) -> None:
        super().__init__(goodbye.message)
        self.goodbye = goodbye


def _certificate_sha256(socket: "aiohttp.ClientWebSocketResponse") -> bytes:
    """Return the SHA-256 of the certificate this connection shows, empty on plain http."""
    tls = socket.get_extra_info("ssl_object")
    if tls is None:
        return b""
    return hashlib.sha256(tls.getpeercert(binary_form=True) or b"").digest()

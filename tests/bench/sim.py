"""One simulated worker: real enrolment, a real link, a made-up machine. For tests; `ops_sim` makes a fleet of them."""

import asyncio
import base64
import hashlib
import math
import secrets
from dataclasses import dataclass, field

import aiohttp
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ops_system.master.nodes.rules import Enrolled, Enrolment
from ops_system.model.ids import NodeId
from ops_system.model.metrics import NODE_SERIES
from ops_system.model.nodes import Disk, Fingerprint
from ops_system.protocol.codec import Frame
from ops_system.protocol.frames import (
    MAX_FRAME_BYTES,
    Challenge,
    Goodbye,
    Proof,
    Sample,
    Snapshot,
    Welcome,
    proof_text,
)
from ops_system.runtime.link import Handlers, Link, LinkEnd

OPENING_S = 10.0
VERSION = "0.1.0-sim"


class Refused(Exception):
    """The master said goodbye during the opening."""

    def __init__(self, goodbye: Goodbye) -> None:
        super().__init__(goodbye.message)
        self.goodbye = goodbye


def make_fingerprint(name: str, boot_id: str = "") -> Fingerprint:
    """Return a plausible machine."""
    return Fingerprint(
        hostname=name,
        os="linux",
        arch="amd64",
        platform="Debian GNU/Linux 12",
        kernel="6.1.0-sim",
        boot_id=boot_id or secrets.token_hex(8),
        machine_id=secrets.token_hex(8),
        cpu_model="Simulated CPU @ 3.0 GHz",
        cpu_cores=8,
        mem_total_bytes=16 * 2**30,
        macs=("02:00:00:00:00:01",),
        ips=("192.0.2.7",),
        disks=(Disk("vda", "/", "ext4", 100 * 10**9),),
    )


def make_sample(at_s: float, phase: float = 0.0) -> Sample:
    """Return one second of a machine whose load swings once a minute."""
    wave = 50.0 + 40.0 * math.sin(at_s / 60.0 * 2 * math.pi + phase)
    values = tuple(wave if name.endswith("_percent") else wave * 1000.0 for name in NODE_SERIES)
    return Sample(at_s=at_s, node=values, extra={"cpu0_percent": wave, "disk:/:used_percent": 40.0})


@dataclass
class SimWorker:
    """One simulated worker; `link` is set while it is linked."""

    url: str
    name: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    handlers: Handlers = field(default_factory=Handlers)
    certificate_sha256: bytes = b""
    node_id: NodeId = field(default_factory=lambda: NodeId(""))
    run_id: str = field(default_factory=lambda: secrets.token_hex(8))
    heard: list[Frame] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    link: Link | None = None
    welcome: Welcome | None = None

    def __post_init__(self) -> None:
        self.fingerprint = make_fingerprint(self.name)

    async def enrol(self, session: aiohttp.ClientSession, token_id: str, secret: str) -> Enrolled:
        """Join; raises `AssertionError` with the master's answer when it says no."""
        body = Enrolment(
            token_id=token_id,
            token_secret=secret,
            public_key=base64.b64encode(self.key.public_key().public_bytes_raw()).decode(),
            name=self.name,
            fingerprint=self.fingerprint,
            labels={"sim": "1"},
            worker_version=VERSION,
        )
        headers = {"Content-Type": "application/json"}
        async with session.post(
            f"{self.url}/api/v1/worker/enrol", data=msgspec.json.encode(body), headers=headers
        ) as answer:
            raw = await answer.read()
            if answer.status != 200:
                raise AssertionError(f"{answer.status} {raw.decode()}")
        enrolled = msgspec.json.decode(raw, type=Enrolled)
        self.node_id = enrolled.node_id
        return enrolled

    async def dial(self, session: aiohttp.ClientSession) -> Link:
        """Open and prove a link; the caller runs it. Raises `Refused`."""
        socket = await session.ws_connect(f"{self.url}/api/v1/worker/link", max_msg_size=MAX_FRAME_BYTES, compress=0)
        if (tls := socket.get_extra_info("ssl_object")) is not None and not self.certificate_sha256:
            self.certificate_sha256 = hashlib.sha256(tls.getpeercert(binary_form=True)).digest()
        link = Link(socket, "worker", self.handlers)
        challenge = await link.receive(OPENING_S)
        assert isinstance(challenge, Challenge), challenge
        await link.send_now(self.prove(challenge))
        welcome = await link.receive(OPENING_S)
        if isinstance(welcome, Goodbye):
            await socket.close()
            raise Refused(welcome)
        assert isinstance(welcome, Welcome), welcome
        self.link, self.welcome = link, welcome
        link.send(Snapshot((), 0))
        return link

    def prove(self, challenge: Challenge) -> Proof:
        """Return the proof of this worker's key."""
        return Proof(
            node_id=self.node_id,
            signature=self.key.sign(proof_text(challenge.nonce, self.node_id, self.certificate_sha256)),
            certificate_sha256=self.certificate_sha256,
            boot_id=self.fingerprint.boot_id,
            run_id=self.run_id,
            worker_version=VERSION,
            fingerprint=self.fingerprint,
        )

    async def carry(self, link: Link) -> LinkEnd:
        """Keep what the master sends until the link ends."""
        return await link.run(self._take)

    async def _take(self, frame: Frame) -> None:
        self.heard.append(frame)
        self.news.set()

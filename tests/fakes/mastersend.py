"""The master's end of the worker link and of enrolment, as a worker sees it: real sockets, real TLS, real frames.

For tests of the worker alone; tests of both roles together use the real master.
"""

import asyncio
import base64
import datetime as dt
import hashlib
import ipaddress
import secrets
import ssl
from collections.abc import Callable
from pathlib import Path

import msgspec
from aiohttp import web
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from ops_system.model.ids import NodeId
from ops_system.model.instances import InstanceReport, InstanceSpec
from ops_system.model.packages import PackageRef, signed_text
from ops_system.protocol.frames import (
    MAX_FRAME_BYTES,
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
    Snapshot,
    Welcome,
    proof_text,
)
from ops_system.runtime.link import Link

NODE = NodeId("node_test")


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Authority:
    """A CA with one leaf for loopback."""

    def __init__(self, folder: Path) -> None:
        key, name = ec.generate_private_key(ec.SECP256R1()), self._name("test CA")
        ca = self._build(name, name, key.public_key(), True).sign(key, hashes.SHA256())
        leaf_key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._build(self._name("leaf"), name, leaf_key.public_key(), False).sign(key, hashes.SHA256())
        self.pem = ca.public_bytes(serialization.Encoding.PEM).decode()
        spki = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.key_sha256 = hashlib.sha256(spki).hexdigest()
        self.leaf_sha256 = hashlib.sha256(leaf.public_bytes(serialization.Encoding.DER)).digest()
        chain = folder / f"leaf-{secrets.token_hex(4)}.pem"
        chain.write_bytes(
            leaf.public_bytes(serialization.Encoding.PEM)
            + leaf_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain)

    @staticmethod
    def _name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    @staticmethod
    def _build(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, is_ca: bool):
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now() - dt.timedelta(days=1))
            .not_valid_after(now() + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        return builder if is_ca else builder.add_extension(x509.SubjectAlternativeName(names), critical=False)


class MastersEnd:
    """A master that believes one join token, keeps what it hears, and says what the test wants."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.signing_key = ed25519.Ed25519PrivateKey.generate()
        self.token_secret = "s3cret"
        self.enrolled: list[dict] = []
        self.node_key: ed25519.Ed25519PublicKey | None = None
        self.enrol_status: tuple[int, str, str] | None = None  # answer this instead
        self.goodbye: Goodbye | None = None
        self.packages: dict[str, bytes] = {}
        self.cut_after: list[int] = []  # so many bytes of each next download, then the connection breaks
        self.gate: asyncio.Event | None = None  # downloads stop half way until it is set
        self.ranges: list[str] = []
        self.elsewhere = ""  # where downloads are sent to, unless the worker refuses
        self.heard_elsewhere: list[tuple[str, str]] = []  # Range and Authorization of what came to /elsewhere
        self._wanted = b""
        self.proofs: list[Proof] = []
        self.snapshots: list[Snapshot] = []
        self.reports: dict[str, InstanceReport] = {}
        self.report_log: list[InstanceReport] = []
        self.events: list = []
        self.progress: list = []
        self.samples: list[Sample] = []
        self.pings = 0
        self.acks = True
        self.link: Link | None = None
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.is_tls = False

    @property
    def url(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def join_token(self) -> str:
        return f"opsj1.{self.authority.key_sha256}.tok1.{self.token_secret}"

    @property
    def signing_public_key(self) -> str:
        return base64.b64encode(self.signing_key.public_key().public_bytes_raw()).decode()

    async def start(self, *, is_tls: bool = False) -> None:
        self.is_tls = is_tls
        app = web.Application()
        app.router.add_get("/api/v1/worker/ca", self._ca)
        app.router.add_post("/api/v1/worker/enrol", self._enrol)
        app.router.add_get("/api/v1/worker/link", self._link)
        app.router.add_get("/api/v1/worker/packages/{sha256}", self._package)
        app.router.add_get("/elsewhere", self._elsewhere)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self.authority.context if is_tls else None)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            if self.link is not None:
                self.link.close()
            await self._runner.cleanup()
            self._runner = None

    async def until(self, is_true: Callable[[], object], timeout_s: float = 40.0) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not is_true():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as problem:
            told = [f"{one.instance_id} {one.generation} {one.state} {one.reason}" for one in self.reports.values()]
            raise TimeoutError(f"not so within {timeout_s:g} s; the worker says: {told}") from problem

    def touch(self) -> None:
        self._changed.set()

    # --- what a test says -----------------------------------------------------------------------------------------
    def add_package(self, name: str, version: str, data: bytes) -> PackageRef:
        sha256 = hashlib.sha256(data).hexdigest()
        self.packages[sha256] = data
        signature = self.signing_key.sign(signed_text(name, version, sha256, len(data)))
        return PackageRef(name, version, sha256, len(data), base64.b64encode(signature).decode())

    def apply(self, spec: InstanceSpec, node_id: NodeId = NODE, issued_at: dt.datetime | None = None) -> None:
        issued_at = issued_at or now()
        assert self.link is not None
        self.link.send(Apply(node_id, issued_at, issued_at + dt.timedelta(minutes=5), spec))

    def forget(self, instance_id) -> None:
        assert self.link is not None
        self.link.send(Forget(instance_id))

    # --- what the worker asks -------------------------------------------------------------------------------------
    async def _ca(self, _request: web.Request) -> web.Response:
        return web.json_response({"ca_pem": self.authority.pem})

    async def _enrol(self, request: web.Request) -> web.Response:
        if self.enrol_status is not None:
            status, code, message = self.enrol_status
            return web.json_response({"code": code, "message": message, "details": {}}, status=status)
        body = await request.json()
        if body["token_secret"] != self.token_secret:
            return web.json_response({"code": "unauthenticated", "message": "the join token is wrong"}, status=401)
        self.enrolled.append(body)
        self.node_key = ed25519.Ed25519PublicKey.from_public_bytes(base64.b64decode(body["public_key"]))
        answer = {
            "node_id": NODE,
            "node_name": body["name"] or "unnamed",
            "ca_pem": self.authority.pem,
            "signing_public_key": self.signing_public_key,
            "epoch": 1,
        }
        return web.json_response(answer)

    async def _package(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != "Bearer session":
            return web.Response(status=401)
        data = self.packages.get(request.match_info["sha256"])
        if data is None:
            return web.Response(status=404)
        if self.elsewhere and request.query.get("direct") != "0":
            self._wanted = data
            return web.Response(status=307, headers={"Location": self.elsewhere})
        self.ranges.append(request.headers.get("Range", ""))
        start = request.http_range.start or 0
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(data) - start
        await response.prepare(request)
        if self.cut_after:
            await response.write(data[start : start + self.cut_after.pop(0)])
            request.transport.close()
            return response
        half = start + (len(data) - start) // 2
        await response.write(data[start:half])
        if self.gate is not None:
            self.touch()
            await self.gate.wait()
        await response.write(data[half:])
        return response

    async def _elsewhere(self, request: web.Request) -> web.Response:
        self.heard_elsewhere.append((request.headers.get("Range", ""), request.headers.get("Authorization", "")))
        return web.Response(body=self._wanted)

    async def _link(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=MAX_FRAME_BYTES, compress=False)
        await socket.prepare(request)
        link = Link(socket, "master")
        nonce = secrets.token_bytes(32)
        await link.send_now(Challenge(nonce, 1))
        proof = await link.receive(5)
        assert isinstance(proof, Proof)
        self.proofs.append(proof)
        if self.goodbye is not None or not self._is_proven(proof, nonce):
            await link.send_now(self.goodbye or Goodbye("unauthenticated", "wrong proof", -1))
            await socket.close()
            self.touch()
            return socket
        await link.send_now(Welcome(proof.node_id, "n1", len(self.proofs), "session", 0.1, 0.1, now()))
        self.link = link
        self.touch()
        await link.run(self._on_frame)
        return socket

    def _is_proven(self, proof: Proof, nonce: bytes) -> bool:
        expected = self.authority.leaf_sha256 if self.is_tls else b""
        if self.node_key is None or proof.certificate_sha256 != expected:
            return False
        try:
            self.node_key.verify(proof.signature, proof_text(nonce, proof.node_id, expected))
        except InvalidSignature:
            return False
        return True

    async def _on_frame(self, frame: msgspec.Struct) -> None:
        assert self.link is not None
        match frame:
            case Snapshot():
                self.snapshots.append(frame)
                self.reports |= {report.instance_id: report for report in frame.reports}
            case Report(report):
                self.reports[report.instance_id] = report
                self.report_log.append(report)
            case Progress(progress):
                self.progress.append(progress)
            case Events(events):
                self.events += events
                if self.acks:
                    self.link.send(EventsAck(events[-1].seq))
            case Sample():
                self.samples.append(frame)
            case Ping(seq):
                self.pings += 1
                self.link.send(Pong(seq, now()))
            case _:
                raise AssertionError(f"unexpected {frame}")
        self.touch()

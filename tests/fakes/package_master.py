"""The package half of a master's API on a real socket, plain or TLS, for the pack tool's tests."""

import contextlib
import datetime as dt
import hashlib
import io
import json
import ssl
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

TOKEN = "ops_test_token_0123456789"


class PackageMaster:
    """`packages` maps (name, version) to the sha256. `hang_up_after` closes the connection after so many bytes."""

    def __init__(self, tls: Path | None = None) -> None:
        self.packages: dict[tuple[str, str], str] = {}
        self.requests: list[str] = []
        self.refusal: tuple[int, dict] | None = None
        self.hang_up_after: int | None = None
        self.ca_pem = ""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.port = self._server.server_address[1]
        if tls is not None:
            self.ca_pem = self._use_tls(tls)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def _use_tls(self, folder: Path) -> str:
        make_certificates(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "leaf.pem", folder / "leaf.key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        return (folder / "ca.pem").read_text()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


def _handler(master: PackageMaster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            master.requests.append(f"GET {self.path}")
            if self.path == "/api/v1/worker/ca":
                self.answer(200, {"ca_pem": master.ca_pem})
            elif self.is_known():
                name, version = self.path.split("/")[-2:]
                sha256 = master.packages.get((name, version))
                self.answer(200, {"sha256": sha256}) if sha256 else self.refuse(404, "not_found")

        def do_POST(self) -> None:
            master.requests.append(f"POST {self.path}")
            if master.hang_up_after is not None:
                self.rfile.read(master.hang_up_after)
                self.close_connection = True
                return
            if master.refusal is not None:
                self.close_connection = True
                self.answer(*master.refusal)
                return
            if self.is_known():
                self.take(self.rfile.read(int(self.headers["Content-Length"])))

        def is_known(self) -> bool:
            if self.headers["Authorization"] == f"Bearer {TOKEN}":
                return True
            self.refuse(401, "unauthenticated")
            return False

        def take(self, data: bytes) -> None:
            assert self.headers["Content-Type"] == "application/zip"
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                manifest = json.loads(archive.read("service.json"))
            key, sha256 = (manifest["name"], manifest["version"]), hashlib.sha256(data).hexdigest()
            known = master.packages.setdefault(key, sha256)
            if known != sha256:
                self.refuse(409, "conflict")
            else:
                self.answer(201, {"name": key[0], "version": key[1], "sha256": sha256})

        def refuse(self, status: int, code: str) -> None:
            self.answer(status, {"code": code, "message": code, "details": {}})

        def answer(self, status: int, body: dict) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(data)

    return Handler


def make_certificates(folder: Path) -> None:
    """Write a CA and a leaf for 127.0.0.1: ca.pem, leaf.pem, leaf.key."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def build(name: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    ca_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    usage = dict.fromkeys(
        [
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ],
        False,
    )
    ca = (
        build("test ca", "test ca", ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        build("leaf", "test ca", leaf_key)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(ca.public_bytes(forms.Encoding.PEM))
    (folder / "leaf.pem").write_bytes(leaf.public_bytes(forms.Encoding.PEM))
    (folder / "leaf.key").write_bytes(
        leaf_key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    )


def key_sha256(ca_pem: str) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_pem_x509_certificate(ca_pem.encode()).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()

import asyncio
import hashlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ops_system.master.trust.authority import LEAF_LIFE
from ops_system.master.trust.names import find_own_names
from ops_system.master.trust.service import Trust
from ops_system.model.errors import SafetyRefusal, Unavailable
from ops_system.storage.folder import DataFolder

NAMES = ("localhost", "127.0.0.1", "::1", "ops.example")


class SetClock:
    def __init__(self) -> None:
        self.at = datetime(2030, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic_s(self) -> float:
        return 0.0


class LiveClock(SetClock):
    def now(self) -> datetime:
        return datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    return folder


def open_trust(folder: DataFolder, clock=None, names=NAMES) -> Trust:
    return Trust.open(folder, lambda: names, clock or LiveClock())


def test_keys_are_private_and_stay_the_same(folder: DataFolder) -> None:
    first, second = open_trust(folder), open_trust(folder)
    first.ssl_context()
    assert first.ca_pem == second.ca_pem
    assert first.signing_public_key == second.signing_public_key
    assert second.unseal(first.seal(b"secret")) == b"secret"
    for path in (folder.master_key, folder.signing_key, folder.ca / "ca.key", folder.ca / "leaf.key"):
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_the_hash_in_join_tokens_is_that_of_the_ca_key(folder: DataFolder) -> None:
    trust = open_trust(folder)
    key = x509.load_pem_x509_certificate(trust.ca_pem.encode()).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert trust.ca_key_sha256 == hashlib.sha256(spki).hexdigest()


def test_a_seal_shows_tampering_and_differs_each_time(folder: DataFolder) -> None:
    trust = open_trust(folder)
    sealed = trust.seal(b"secret")
    assert sealed != trust.seal(b"secret")
    for bad in (sealed[:-1] + bytes([sealed[-1] ^ 1]), b"\x02" + sealed[1:], b"", sealed[:5]):
        with pytest.raises(Unavailable):
            trust.unseal(bad)


def test_signatures_verify_with_the_public_key(folder: DataFolder) -> None:
    trust = open_trust(folder)
    key = Ed25519PublicKey.from_public_bytes(trust.signing_public_key)
    key.verify(trust.sign(b"data"), b"data")
    with pytest.raises(InvalidSignature):
        key.verify(trust.sign(b"data"), b"date")


@pytest.mark.parametrize("name", ["master.key", "signing.key", "ca/ca.key", "ca/ca.pem"])
def test_a_lost_or_damaged_key_of_a_folder_in_use_is_never_made_anew(folder: DataFolder, name: str) -> None:
    open_trust(folder)
    folder.mark_initialized()
    path = folder.root / name
    content = path.read_bytes()
    for bad in (None, b"", content[: len(content) // 2]):
        path.unlink()
        if bad is not None:
            path.write_bytes(bad)
        with pytest.raises(SafetyRefusal, match=str(path)):
            open_trust(folder)
        path.write_bytes(content)
    open_trust(folder)


def test_a_foreign_ca_key_is_refused(folder: DataFolder, tmp_path: Path) -> None:
    other = DataFolder(tmp_path / "other")
    other.create()
    open_trust(folder)
    open_trust(other)
    (folder.ca / "ca.key").write_bytes((other.ca / "ca.key").read_bytes())
    with pytest.raises(SafetyRefusal, match=r"ca\.pem does not belong"):
        open_trust(folder)


def test_the_leaf_rotates_for_new_names_and_in_time(folder: DataFolder) -> None:
    clock, names = SetClock(), list(NAMES)
    trust = Trust.open(folder, lambda: tuple(names), clock)
    assert trust.certificate_sha256() == b""
    trust.ssl_context()
    first = trust.certificate_sha256()
    assert not trust.rotate()
    names.append("10.9.8.7")
    assert trust.rotate()
    second = trust.certificate_sha256()
    assert second != first
    assert trust.is_own_certificate(first)
    clock.at += LEAF_LIFE * 0.75
    assert trust.rotate()
    assert not trust.is_own_certificate(first)
    clock.at += timedelta(days=-3)  # a clock that jumps back
    assert not trust.rotate()


def test_a_damaged_leaf_is_just_issued_again(folder: DataFolder) -> None:
    open_trust(folder).ssl_context()
    folder.mark_initialized()
    (folder.ca / "leaf.pem").write_bytes(b"rubbish")
    open_trust(folder).ssl_context()
    (folder.ca / "leaf.key").unlink()
    open_trust(folder).ssl_context()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "ops.example"])
async def test_a_client_that_knows_the_ca_accepts_each_name(folder: DataFolder, name: str) -> None:
    trust = open_trust(folder)

    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0, ssl=trust.ssl_context())
    client = ssl.create_default_context(cadata=trust.ca_pem)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(30), server:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
        seen = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert hashlib.sha256(seen).digest() == trust.certificate_sha256()
        writer.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="evil.example")


def test_own_names_hold_loopback_and_what_was_added() -> None:
    names = find_own_names(("Ops.Example",))
    assert {"localhost", "127.0.0.1", "::1", "ops.example"} <= set(names)

"""`ops-master doctor`: looks at configuration, data folder, database, keys and ports, and says what to do."""

import asyncio
import os
import socket
import sqlite3
import ssl
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ops_system.master.config import MasterConfig, ServerConfig
from ops_system.master.doctorwords import CHINESE
from ops_system.master.trust.authority import Authority
from ops_system.master.trust.keys import Sealer, Signer
from ops_system.master.trust.own import OwnCertificate
from ops_system.master.trust.service import ServedCertificate, describe
from ops_system.model.errors import OpsError
from ops_system.model.language import is_chinese
from ops_system.storage.checks import check_database
from ops_system.storage.folder import DataFolder

_PRIVATE = 0o077  # bits that must be off in DATA and its keys
_SOON = timedelta(days=14)  # an own certificate is renewed by hand: told so long before


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, whether it is well, and words."""

    name: str
    is_well: bool
    words: str


def examine(config: MasterConfig, folder: DataFolder) -> list[Finding]:
    """Return every finding. Changes nothing."""
    findings = [_check_folder(folder)]
    if folder.is_initialized:
        findings.append(_check_database(folder))
        findings.append(_check_key(folder.master_key, lambda: Sealer.open(folder)))
        findings.append(_check_key(folder.signing_key, lambda: Signer.open(folder)))
        findings.append(_check_ca(folder))
    if folder.is_initialized or config.server.tls_cert or config.server.tls_key:
        findings.append(_check_certificate(config.server, folder))
    if folder.is_initialized and config.storage.require_publisher:
        findings.append(_check_publishers(folder.database))
    if config.storage.type == "minio":
        findings.append(_check_store(config))
    ports = {"port": ("127.0.0.1", config.server.port), "tls_port": (config.server.listen, config.server.tls_port)}
    findings += [_check_port(name, address, port, folder) for name, (address, port) in ports.items()]
    return findings


def render(findings: list[Finding]) -> str:
    """Return one line a finding."""
    colon, names = ("：", CHINESE) if is_chinese(os.environ) else (": ", {})
    marks = {True: "ok  ", False: "FAIL"}
    return "\n".join(f"{marks[one.is_well]}  {names.get(one.name, one.name)}{colon}{one.words}" for one in findings)


def _say(english: str, **values: object) -> str:
    """Return the words in the language of the environment."""
    return (CHINESE[english] if is_chinese(os.environ) else english).format(**values)


def _judge(name: str, look: Callable[[], str]) -> Finding:
    """`look` returns words when it is well and raises OpsError, OSError or ValueError when not."""
    try:
        return Finding(name, is_well=True, words=look())
    except OpsError as error:
        return Finding(name, is_well=False, words=error.message)
    except (OSError, ValueError) as error:
        return Finding(name, is_well=False, words=str(error))


def _check_folder(folder: DataFolder) -> Finding:
    def look() -> str:
        if not folder.root.exists():
            return _say("{path} does not exist yet; the first start makes it", path=folder.root)
        _check_mode(folder.root)
        if not os.access(folder.root, os.W_OK):
            raise ValueError(_say("{path} cannot be written by this user", path=folder.root))
        free_mb = _free_bytes(folder.root) // 1_000_000
        found = "{path}, {free_mb} MB free" + ("" if folder.is_initialized else ", not initialized yet")
        return _say(found, path=folder.root, free_mb=free_mb)

    return _judge("data folder", look)


def _free_bytes(path: Path) -> int:
    import shutil

    return shutil.disk_usage(path).free


def _check_mode(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name == "posix" and mode & _PRIVATE:
        words = "{path} is open to others (mode {mode}): chmod go-rwx {path}"
        raise ValueError(_say(words, path=path, mode=f"{mode:04o}"))


def _check_database(folder: DataFolder) -> Finding:
    def look() -> str:
        check_database(folder)
        size_kb = folder.database.stat().st_size // 1000
        return _say("{path}, {size_kb} kB, sound", path=folder.database, size_kb=size_kb)

    return _judge("database", look)


def _check_key(path: Path, read: Callable[[], object]) -> Finding:
    def look() -> str:
        read()
        _check_mode(path)
        return _say("{path}, readable by its owner alone", path=path)

    return _judge(path.name, look)


def _check_ca(folder: DataFolder) -> Finding:
    def look() -> str:
        opened = Authority.open(folder, datetime.now(UTC))  # makes nothing in a folder that is in use
        _check_mode(folder.ca)
        authority = folder.ca / "ca.pem"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(authority)
        (found,) = context.get_ca_certs()
        words = "{path}, good until {until}, key SHA-256 {sha256}"
        return _say(words, path=authority, until=found["notAfter"], sha256=opened.key_sha256)

    return _judge("certificate authority", look)


def _check_certificate(server: ServerConfig, folder: DataFolder) -> Finding:
    def look() -> str:
        own = OwnCertificate.of(server.tls_cert, server.tls_key)
        if own is None:
            return _spell_leaf(folder)
        served = describe(own.read(datetime.now(UTC)), is_own=True)
        _check_mode(own.key)
        if served.expires_at - datetime.now(UTC) < _SOON:
            raise ValueError(
                _say("{path} expires on {until} UTC; renew it", path=own.certificate, until=_minute(served))
            )
        words = "{path} (own), good until {until} UTC, SHA-256 {sha256}"
        return _say(words, path=own.certificate, until=_minute(served), sha256=served.sha256)

    return _judge("TLS certificate", look)


def _spell_leaf(folder: DataFolder) -> str:
    from cryptography import x509

    path = folder.ca / "leaf.pem"
    if not path.exists():
        return _say("made when there is an administrator")
    served = describe(x509.load_pem_x509_certificate(path.read_bytes()), is_own=False)
    words = "{path}, good until {until} UTC, SHA-256 {sha256}"
    return _say(words, path=path, until=_minute(served), sha256=served.sha256)


def _minute(served: ServedCertificate) -> str:
    return f"{served.expires_at:%Y-%m-%d %H:%M}"


def _check_publishers(database: Path) -> Finding:
    def look() -> str:
        try:
            with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
                (count,) = connection.execute("SELECT count(*) FROM publisher_keys").fetchone()
        except sqlite3.Error as error:
            raise ValueError(_say("the trusted publishers cannot be read: {error}", error=error)) from error
        if not count:
            words = "storage.require_publisher is on and no key is trusted: no package is taken. Add one under Settings"
            raise ValueError(_say(words))
        return _say("only packages signed by one of {count} trusted keys are taken", count=count)

    return _judge("publishers", look)


def _check_store(config: MasterConfig) -> Finding:
    from ops_system.master.artefacts.stores import open_minio

    def look() -> str:
        with open_minio(config) as store:
            asyncio.run(store.stat("0" * 64))  # asks and changes nothing
        minio = config.storage.minio
        return _say("bucket {bucket} on {endpoint} answers", bucket=minio.bucket, endpoint=minio.endpoint)

    return _judge("packages", look)


def _check_port(name: str, address: str, port: int, folder: DataFolder) -> Finding:
    def look() -> str:
        if port == 0:
            return _say("any free one")
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if _is_running(folder):
                    return _say("{port} is held; a master is running here", port=port)
                words = "{port} on {address} cannot be used: {error}"
                raise ValueError(_say(words, port=port, address=address, error=error.strerror)) from error
        return _say("{port} on {address} is free", port=port, address=address)

    return _judge(name, look)


def _is_running(folder: DataFolder) -> bool:
    from ops_system.model.errors import SafetyRefusal
    from ops_system.storage.lock import acquire

    if not folder.lock.exists():
        return False
    try:
        acquire(folder.lock).release()
    except SafetyRefusal:
        return True
    return False

import base64
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from ops_system.master.trust.own import OwnCertificate
from ops_system.master.trust.service import Trust
from ops_system.model.errors import SafetyRefusal, UsageError
from ops_system.runtime.clock import SystemClock
from ops_system.storage.folder import DataFolder
from ops_system.worker.tls import is_vouched
from tests.fakes.certificates import write_certificate

NOW = datetime.now(UTC)


@pytest.fixture
def own(tmp_path):
    write_certificate(tmp_path, NOW)
    return OwnCertificate.of(str(tmp_path / "own.pem"), str(tmp_path / "own.key"))


@pytest.fixture
def trust(tmp_path, own):
    folder = DataFolder(tmp_path / "data")
    folder.create()
    return Trust.open(folder, lambda: ("localhost",), SystemClock(), own)


def test_half_a_pair_is_a_usage_error():
    assert OwnCertificate.of("", "") is None
    with pytest.raises(UsageError, match=r"server\.tls_key is not"):
        OwnCertificate.of("a.pem", "")
    with pytest.raises(UsageError, match=r"server\.tls_cert is not"):
        OwnCertificate.of("", "a.key")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "own.pem").unlink(), r"tls_cert: .*own\.pem is no certificate"),
        (lambda folder: (folder / "own.pem").write_text("rubbish"), r"tls_cert: .*own\.pem is no certificate"),
        (lambda folder: (folder / "own.key").unlink(), r"tls_key: .*own\.key is no private key"),
        (lambda folder: write_certificate(folder, NOW, timedelta(days=-1)), r"tls_cert: .*own\.pem is good from"),
        (
            lambda folder: (folder / "own.key").write_bytes((other(folder) / "own.key").read_bytes()),
            r"tls_key: .*own\.key is not the key",
        ),
    ],
)
def test_what_will_not_do_is_named(tmp_path, own, damage, words):
    assert own.read(NOW)
    damage(tmp_path)
    with pytest.raises(UsageError, match=words):
        own.read(NOW)


def other(folder):
    (folder / "other").mkdir()
    write_certificate(folder / "other", NOW)
    return folder / "other"


async def test_new_files_are_taken_and_bad_ones_leave_the_old_certificate(tmp_path, trust):
    first = trust.ssl_context() and trust.certificate_sha256()
    await trust.check()
    assert trust.certificate_sha256() == first
    (tmp_path / "own.pem").write_text("half writ")
    await trust.check()
    assert trust.certificate_sha256() == first
    second = write_certificate(tmp_path, NOW)
    await trust.check()
    assert trust.certificate_sha256().hex() == second == trust.served().sha256
    assert trust.is_own_certificate(first)
    assert trust.served().is_own
    assert trust.served().names == ["ops.example"]


def test_files_that_went_bad_before_the_door_opens_are_refused(tmp_path, trust):
    (tmp_path / "own.key").unlink()
    with pytest.raises(SafetyRefusal, match=r"own\.key"):
        trust.ssl_context()


def test_a_voucher_is_for_one_certificate_until_it_expires(trust):
    trust.ssl_context()
    voucher = trust.voucher()
    assert voucher.certificate_sha256 == trust.certificate_sha256().hex()
    assert is_vouched(voucher, trust.ca_pem, NOW)
    assert not is_vouched(voucher, trust.ca_pem, voucher.expires_at + timedelta(seconds=1))
    for changes in (
        {"certificate_sha256": "ab" * 32},
        {"expires_at": voucher.expires_at + timedelta(days=1)},
        {"signature": "AAAA"},
        {"signature": base64.b64encode(trust.sign(b"x")).decode()},
    ):
        assert not is_vouched(msgspec.structs.replace(voucher, **changes), trust.ca_pem, NOW), changes


def test_the_masters_own_leaf_needs_no_voucher(tmp_path):
    folder = DataFolder(tmp_path / "data")
    folder.create()
    trust = Trust.open(folder, lambda: ("localhost",), SystemClock())
    assert trust.served() is None
    trust.ssl_context()
    assert trust.voucher() is None
    assert not trust.served().is_own

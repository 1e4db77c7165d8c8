import stat

import msgspec
import pytest

from ops_system.model.errors import Invalid, NotAllowed
from ops_system.model.manifest import Manifest
from ops_system.packtool.sign import is_good, make_key, read_signature, sign_package

MANIFEST = Manifest(name="web", version="1.0")
SHA256 = "ab" * 32


@pytest.fixture
def signature(tmp_path):
    make_key(tmp_path / "key")
    return sign_package(MANIFEST, SHA256, 100, tmp_path / "key")


def test_a_signature_holds_for_its_bytes_only(signature):
    assert is_good(signature, SHA256, 100)
    assert not is_good(signature, "cd" * 32, 100)
    assert not is_good(signature, SHA256, 101)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"version": "2"},
        {"signature": "AAAA"},
        {"signature": "no base64!"},
        {"public_key": "AAAA"},
        {"key_id": "00"},
    ],
)
def test_a_changed_signature_is_none(signature, changes):
    assert not is_good(msgspec.structs.replace(signature, **changes), SHA256, 100)


def test_another_key_cannot_pretend(signature, tmp_path):
    make_key(tmp_path / "other")
    other = sign_package(MANIFEST, SHA256, 100, tmp_path / "other")
    assert not is_good(msgspec.structs.replace(signature, signature=other.signature), SHA256, 100)


def test_the_private_key_is_for_its_owner_and_never_overwritten(tmp_path):
    key_id = make_key(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert len(key_id) == 64
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(NotAllowed):
        make_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(Invalid, match="keygen"):
        sign_package(MANIFEST, SHA256, 1, tmp_path / "key")


def test_a_public_key_cannot_sign(tmp_path):
    make_key(tmp_path / "key")
    with pytest.raises(Invalid):
        sign_package(MANIFEST, SHA256, 1, tmp_path / "key.pub")


def test_a_file_that_is_no_signature_is_explained(tmp_path):
    (tmp_path / "a.sig").write_text('{"name": 1}')
    with pytest.raises(Invalid, match="is no signature"):
        read_signature(tmp_path / "a.sig")

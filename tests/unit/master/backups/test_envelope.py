"""The envelope of an encrypted backup: opens with the passphrase alone, and shows any change."""

import io
import secrets

import pytest

from ops_system.master.backups.envelope import PIECE_BYTES, DecryptingFile, EncryptingFile, Shown, read_head
from ops_system.model.errors import Invalid

PASS = "correct horse battery"
SHOWN = Shown("abc123", "2026-03-01T12:00:00+00:00", "0.1.0", has_artefacts=True)


def seal(plain: bytes) -> bytes:
    target = io.BytesIO()
    writer = EncryptingFile(target, PASS, SHOWN)
    for start in range(0, len(plain), 300_000):
        writer.write(plain[start : start + 300_000])
    writer.finish()
    return target.getvalue()


def unseal(sealed: bytes, passphrase: str = PASS) -> bytes:
    return io.BufferedReader(DecryptingFile(io.BytesIO(sealed), passphrase)).read()


@pytest.mark.parametrize("size_bytes", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES])
def test_what_was_sealed_comes_out(size_bytes):
    plain = secrets.token_bytes(size_bytes)
    assert unseal(seal(plain)) == plain


def test_it_is_read_from_any_place():
    plain = secrets.token_bytes(2 * PIECE_BYTES + 77)
    file = io.BufferedReader(DecryptingFile(io.BytesIO(seal(plain)), PASS))
    for place in (2 * PIECE_BYTES + 70, 5, PIECE_BYTES - 3):
        file.seek(place)
        assert file.read(7) == plain[place : place + 7]
    assert file.seek(-7, io.SEEK_END) == len(plain) - 7
    assert file.read() == plain[-7:]


def test_the_head_is_read_without_the_passphrase():
    head, _ = read_head(seal(b"x"))
    assert (head.id, head.version, head.has_artefacts) == ("abc123", "0.1.0", True)


def test_a_wrong_passphrase_is_told_from_damage():
    with pytest.raises(Invalid) as refused:
        unseal(seal(b"secret"), "wrong horse battery")
    assert refused.value.details["reason"] == "wrong_passphrase"
    with pytest.raises(Invalid) as refused:
        unseal(seal(b"secret"), "")
    assert refused.value.details["reason"] == "needs_passphrase"


def test_no_plain_text_and_no_two_envelopes_alike():
    plain = b"master key " * 1000
    one, other = seal(plain), seal(plain)
    assert b"master key" not in one
    assert one != other


def changed(sealed: bytes, at: int) -> bytes:
    return sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]


def test_any_change_is_found():
    sealed = seal(secrets.token_bytes(2 * PIECE_BYTES + 5))
    _, begin = read_head(sealed)
    piece = PIECE_BYTES + 16
    swapped = sealed[:begin] + sealed[begin + piece : begin + 2 * piece] + sealed[begin : begin + piece] + sealed[-21:]
    cases = [
        changed(sealed, len(sealed) - 1),
        changed(sealed, begin + 10),
        sealed.replace(b'"0.1.0"', b'"0.2.0"', 1),  # the head is bound to what follows
        sealed[:-21],  # the last piece is gone
        sealed[:-1],
        sealed[: begin + 3],
        sealed[:begin] + sealed[begin + piece :],
        swapped,
    ]
    for number, case in enumerate(cases):
        with pytest.raises(Invalid) as refused:
            unseal(case)
        assert refused.value.details["reason"] == "damaged", number


def test_a_head_without_end_is_refused():
    for sealed in (b"OPSBACKUP1\n", b"OPSBACKUP1\n\xff\xff\xff\xff", b"OPSBACKUP1\n\x00\x00\x00\x02{}"):
        with pytest.raises(Invalid):
            unseal(sealed)

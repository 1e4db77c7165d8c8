"""The agent's plain-Python box against the one the master seals with, and against the RFCs."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_system.installer.boxes import BootKey, x25519
from ops_system.model.errors import Invalid
from ops_system.runtime.sealing import seal


def test_the_vector_of_rfc_7748():
    scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    point = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    assert x25519(scalar, point).hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"


@settings(max_examples=15, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=400), st.text(max_size=40))
def test_what_the_master_seals_opens_here(dice, plain, context):
    key = BootKey(dice)
    assert key.public == X25519PrivateKey.from_private_bytes(dice).public_key().public_bytes_raw()
    assert key.open(seal(plain, key.public_text(), context), context) == plain


def test_another_key_context_or_bit_does_not_open():
    key = BootKey(bytes(range(32)))
    box = seal(b"secret", key.public_text(), "t1")
    changed = box[:60] + ("A" if box[60] != "A" else "B") + box[61:]
    for opener, text, context in [
        (BootKey(bytes(32)), box, "t1"),
        (key, box, "t2"),
        (key, changed, "t1"),
        (key, box[:20], "t1"),
        (key, "no base64!", "t1"),
        (key, "", "t1"),
    ]:
        with pytest.raises(Invalid):
            opener.open(text, context)

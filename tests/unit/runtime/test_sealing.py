"""What is sealed to a boot key opens with that key, unchanged, in its context, and not else."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.errors import Invalid
from ops_system.runtime.sealing import check_public, make_boot_key, public_text, seal, unseal

KEY = make_boot_key()


@given(st.binary(max_size=500), st.text(max_size=20).filter(lambda text: text.isascii()))
def test_what_is_sealed_opens(plain, context):
    assert unseal(seal(plain, public_text(KEY), context), KEY, context) == plain


def test_no_two_boxes_are_alike_and_none_shows_its_content():
    first, second = (seal(b"join-token", public_text(KEY), "dc1/sn-1") for _ in range(2))
    assert first != second
    assert b"join-token" not in base64.b64decode(first)


def test_another_key_or_context_opens_nothing():
    box = seal(b"secret", public_text(KEY), "dc1/sn-1")
    with pytest.raises(Invalid):
        unseal(box, make_boot_key(), "dc1/sn-1")
    with pytest.raises(Invalid):
        unseal(box, KEY, "dc1/sn-2")


@given(st.data())
def test_any_change_is_found(data):
    raw = bytearray(base64.b64decode(seal(b"secret", public_text(KEY), "x")))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Invalid):
        unseal(base64.b64encode(raw).decode(), KEY, "x")


@pytest.mark.parametrize("text", ["", "not base64!", base64.b64encode(bytes(31)).decode(), "AAAA"])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(Invalid):
        seal(b"secret", text, "x")
    with pytest.raises(Invalid):
        check_public(text)


def test_a_key_of_small_order_is_refused():
    with pytest.raises(Invalid):
        seal(b"secret", base64.b64encode(bytes(32)).decode(), "x")


@pytest.mark.parametrize("box", ["", "AAAA", "%%%", base64.b64encode(bytes(60)).decode()])
def test_what_is_no_box_is_refused(box):
    with pytest.raises(Invalid):
        unseal(box, KEY, "x")

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.errors import Invalid
from ops_system.model.quantities import (
    format_duration,
    format_size,
    format_size_exact,
    parse_duration_s,
    parse_size_bytes,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("10s", 10.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("1d", 86400.0),
        ("1h30m", 5400.0),
        ("0s", 0.0),
        ("1.5s", 1.5),
    ],
)
def test_duration_is_read(text, seconds):
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "10 s", "10sec", "1e3s", "10s\n5", "5y", "٣s", "40000d"])
def test_duration_is_refused_with_its_text(text):
    with pytest.raises(Invalid) as caught:
        parse_duration_s(text)
    assert f'"{text}"' in caught.value.message


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("50MB", 50_000_000),
        ("50MiB", 52_428_800),
        ("512KB", 512_000),
        ("512kib", 524_288),
        ("4096", 4096),
        ("0", 0),
        ("7B", 7),
        ("1.5GB", 1_500_000_000),
        ("1TiB", 1024**4),
    ],
)
def test_size_is_read(text, size_bytes):
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "MB", "-1", "5 MB", "5M", "5PB", "0.5", "1.2345B", "999999999999999TB", "1_000"])
def test_size_is_refused_with_its_text(text):
    with pytest.raises(Invalid) as caught:
        parse_size_bytes(text)
    assert f'"{text}"' in caught.value.message


@given(st.integers(min_value=0, max_value=10**12))
def test_duration_round_trip(milliseconds):
    assert parse_duration_s(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@given(st.integers(min_value=0, max_value=2**60))
def test_size_round_trip(size_bytes):
    assert parse_size_bytes(format_size_exact(size_bytes)) == size_bytes


@given(st.text())
def test_any_text_is_read_or_refused_and_nothing_else(text):
    for read in (parse_duration_s, parse_size_bytes):
        try:
            assert read(text) >= 0
        except Invalid:
            continue


def test_negative_duration_has_no_spelling():
    with pytest.raises(Invalid):
        format_duration(-1)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1536, "1.54 KB"),
        (50_000_000, "50.0 MB"),
        (999_600, "1.00 MB"),
        (123_456_789, "123 MB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_size_for_people(size_bytes, text):
    assert format_size(size_bytes) == text

"""What is in an image: read to its end, in bounded steps, or refused."""

import gzip
import hashlib
import itertools
import lzma

import pytest
import zstandard

from ops_system.master.images.streams import read_content
from ops_system.model.errors import Invalid, TooLarge
from tests.fakes.catalogue import a_tar, packed

CONTENT = bytes(range(256)) * 4096


async def read(tmp_path, data, image_format, **limits):
    path = tmp_path / "image"
    path.write_bytes(data)
    return await read_content(path, image_format, **limits)


@pytest.mark.parametrize("image_format", ["raw", "raw.gz", "raw.zst", "tar.gz", "tar.zst", "kernel", "initrd"])
async def test_content_is_what_comes_out(tmp_path, image_format):
    content = a_tar() if image_format.startswith("tar") else CONTENT
    found = await read(tmp_path, packed(content, image_format), image_format)
    assert (found.sha256, found.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))


@pytest.mark.parametrize("image_format", ["raw.gz", "raw.zst"])
async def test_several_frames_are_one_content(tmp_path, image_format):
    data = packed(CONTENT[:70_000], image_format) + packed(CONTENT[70_000:], image_format) + bytes(512)
    found = await read(tmp_path, data, image_format)
    assert found.sha256 == hashlib.sha256(CONTENT).hexdigest()


async def test_frames_that_are_to_be_skipped_are(tmp_path):
    skipped = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"
    data = packed(CONTENT, "raw.zst") + skipped
    assert (await read(tmp_path, data, "raw.zst")).size_bytes == len(CONTENT)


@pytest.mark.parametrize("image_format", ["raw.gz", "raw.zst"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "more", "one byte"])
async def test_what_is_not_whole_is_refused(tmp_path, image_format, damage):
    data = bytearray(packed(CONTENT, image_format))
    if damage == "flipped":
        data[len(data) - 3] ^= 0xFF  # in the checksum at the end
    broken = {"cut": data[:-1], "flipped": data, "more": data + b"surplus", "one byte": data[:5]}[damage]
    with pytest.raises(Invalid, match=f"no whole {image_format}"):
        await read(tmp_path, bytes(broken), image_format)


@pytest.mark.parametrize(
    ("image_format", "data", "said"),
    [
        ("raw", b"PK\x03\x04" + bytes(600), "a zip"),
        ("raw", b"QFI\xfb" + bytes(600), "qcow2"),
        ("raw", gzip.compress(b"x"), "raw.gz or tar.gz"),
        ("raw", lzma.compress(b"x"), "xz"),
        ("raw.gz", b"\0" * 600, "does not begin like one"),
        ("raw.zst", gzip.compress(b"x"), "does not begin like one"),
        ("tar.gz", gzip.compress(bytes(1024)), "no tar archive"),
        ("raw.gz", gzip.compress(a_tar()), "its format is tar"),
        ("raw.zst", packed(b"QFI\xfb" + bytes(600), "zst"), "qcow2"),
        ("raw.gz", gzip.compress(b""), "nothing in the image"),
        ("raw", b"", "nothing in the image"),
        ("initrd", b"PK\x03\x04", "a zip"),
    ],
    ids=itertools.count(),  # the bytes of a gzip file hold the time it was made
)
async def test_bytes_of_another_kind_are_refused(tmp_path, image_format, data, said):
    with pytest.raises(Invalid, match=said):
        await read(tmp_path, data, image_format)


@pytest.mark.parametrize("image_format", ["raw.gz", "raw.zst"])
async def test_what_swells_without_end_is_cut_off(tmp_path, image_format):
    data = packed(bytes(50_000_000), image_format)
    assert len(data) < 300_000
    with pytest.raises(TooLarge, match="more than 1000000 bytes"):
        await read(tmp_path, data, image_format, limit_bytes=1_000_000)


async def test_a_zstd_window_beyond_what_the_agent_takes_is_refused(tmp_path):
    settings = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=False)
    compressor = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    with pytest.raises(Invalid, match=r"no whole raw\.zst"):
        await read(tmp_path, compressor.compress(bytes(1000)) + compressor.flush(), "raw.zst")

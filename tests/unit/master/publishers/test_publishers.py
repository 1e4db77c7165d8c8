import base64

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ops_system.master.publishers.rules import NewPublisherKey, read_public_key, read_signature
from ops_system.master.web.route import ListQuery
from ops_system.model.errors import Conflict, Forbidden, Invalid, NotFound
from ops_system.packtool.sign import make_key, sign_package
from ops_system.runtime.archives import inspect_zip, read_manifest
from tests.fakes.evil_archives import good_zip
from tests.fakes.orchestration import ANN, chunks, open_desk


@pytest.fixture
async def desk(tmp_path):
    async with open_desk(tmp_path) as desk:
        yield desk


def signature_of(tmp_path, data, key="key", **changes):
    """Return the header that `pack-tool push` would send."""
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    if not (tmp_path / key).exists():
        make_key(tmp_path / key)
    manifest = read_manifest(path, inspect_zip(path))
    made = sign_package(manifest, changes.pop("sha256", sha256_of(data)), len(data), tmp_path / key)
    return base64.b64encode(msgspec.json.encode(msgspec.structs.replace(made, **changes))).decode()


def sha256_of(data):
    import hashlib

    return hashlib.sha256(data).hexdigest()


async def trust(desk, tmp_path, name="build", key="key"):
    return await desk.publishers.add(NewPublisherKey(name, (tmp_path / f"{key}.pub").read_text()), ANN)


async def test_a_signature_is_kept_with_its_package_and_reaches_workers(desk, tmp_path):
    data = good_zip(name="web", version="1")
    package, _ = await desk.packages.upload(chunks(data), len(data), ANN, signature_of(tmp_path, data))
    again = await desk.packages.get("web", "1")
    ref = await desk.packages.get_ref("web", "1")
    assert package.publisher == again.publisher == ref.publisher
    assert package.publisher.key_id in (tmp_path / "key.pub").name or len(package.publisher.key_id) == 64


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": "ab" * 32},
        {"version": "2"},
        {"key_id": "00" * 32},
        {"signature": base64.b64encode(bytes(64)).decode()},
    ],
)
async def test_a_signature_over_anything_else_is_refused_also_where_none_is_wanted(desk, tmp_path, changes):
    data = good_zip(name="web", version="1")
    header = signature_of(tmp_path, data, **changes)
    if changes == {"version": "2"}:
        header = signature_of(tmp_path, good_zip(name="web", version="2"))
    with pytest.raises(Invalid, match="does not belong to this package"):
        await desk.packages.upload(chunks(data), len(data), ANN, header)
    with pytest.raises(NotFound):
        await desk.packages.get("web", "1")


async def test_where_a_publisher_is_required_only_a_trusted_one_will_do(desk, tmp_path):
    desk.publishers.is_required = True
    data = good_zip(name="web", version="1")
    with pytest.raises(Forbidden, match="only packages signed"):
        await desk.packages.upload(chunks(data), len(data), ANN)
    header = signature_of(tmp_path, data)
    with pytest.raises(Forbidden, match="does not trust"):
        await desk.packages.upload(chunks(data), len(data), ANN, header)
    key = await trust(desk, tmp_path)
    package, is_new = await desk.packages.upload(chunks(data), len(data), ANN, header)
    assert (is_new, package.publisher.key_id) == (True, key.id)
    await desk.publishers.remove(key.id, ANN)
    newer = good_zip(name="web", version="2")
    with pytest.raises(Forbidden, match="does not trust"):
        await desk.packages.upload(chunks(newer), len(newer), ANN, signature_of(tmp_path, newer))


async def test_an_upload_in_parts_is_judged_the_same(desk, tmp_path):
    desk.publishers.is_required = True
    data = good_zip(name="web", version="1")
    header = signature_of(tmp_path, data)
    await trust(desk, tmp_path)
    upload, _ = await desk.packages.uploads.begin(len(data), None, ANN)
    await desk.packages.uploads.add_part(upload.id, 0, chunks(data))
    with pytest.raises(Forbidden, match="only packages signed"):
        await desk.packages.complete_upload(upload.id, ANN)
    package, is_new = await desk.packages.complete_upload(upload.id, ANN, header)
    assert is_new
    assert package.publisher is not None


async def test_keys_are_listed_once_each_and_forgotten(desk, tmp_path):
    key_id = make_key(tmp_path / "key")
    key = await trust(desk, tmp_path)
    assert key.id == key_id
    make_key(tmp_path / "second")
    for name, file in (("other", "key"), ("build", "second")):
        with pytest.raises(Conflict, match="trusted already"):
            await trust(desk, tmp_path, name, file)
    assert [one.id for one in (await desk.publishers.list_page(ListQuery(q="bui"))).items] == [key_id]
    await desk.publishers.remove(key_id, ANN)
    assert (await desk.publishers.list_page(ListQuery())).total == 0
    with pytest.raises(NotFound):
        await desk.publishers.remove(key_id, ANN)


def test_a_key_is_read_from_pem_and_from_base64():
    key = Ed25519PrivateKey.generate().public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    raw = key.public_bytes_raw()
    assert read_public_key(pem) == read_public_key(base64.b64encode(raw).decode()) == raw


@pytest.mark.parametrize(
    "text", ["", "AAAA", "no base64", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"]
)
def test_what_is_no_key_says_how_to_get_one(text):
    with pytest.raises(Invalid, match="pack-tool keygen"):
        read_public_key(text)


@pytest.mark.parametrize("text", ["no base64", "AAAA", base64.b64encode(b"{}").decode(), "A" * 10_000])
def test_what_is_no_signature_says_how_to_get_one(text):
    with pytest.raises(Invalid, match="pack-tool sign"):
        read_signature(text)

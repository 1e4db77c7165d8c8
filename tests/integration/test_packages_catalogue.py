import base64
import errno
import hashlib
import random

import pytest

from ops_system.master.packages import parts, writeback
from ops_system.master.packages.rules import PackageQuery
from ops_system.master.web.route import Principal
from ops_system.model.errors import Conflict, Invalid, NotFound, StorageFull, TooLarge, Unavailable
from ops_system.model.packages import signed_text
from tests.fakes.evil_archives import BAD_PACKAGES, EVIL, EVIL_CONTENT, Member, good_zip
from tests.fakes.orchestration import ANN, FakeSigner, chunks, open_desk

BOB = Principal(kind="user", id="usr_2", name="bob")
BAD = EVIL | EVIL_CONTENT | BAD_PACKAGES


@pytest.fixture
async def desk(tmp_path):
    async with open_desk(tmp_path) as desk:
        yield desk


def files_in(desk):
    return [path for path in desk.folder.uploads.rglob("*") if path.is_file()]


async def test_a_zip_becomes_a_signed_package(desk):
    data = good_zip(name="web", version="1.4.0")
    package, is_new = await desk.packages.upload(chunks(data), len(data), ANN)
    assert is_new
    assert (package.name, package.version, package.size_bytes) == ("web", "1.4.0", len(data))
    assert package.sha256 == hashlib.sha256(data).hexdigest()
    ref = await desk.packages.get_ref("web", "1.4.0")
    text = signed_text("web", "1.4.0", package.sha256, len(data))
    assert base64.b64decode(ref.signature) == FakeSigner().sign(text)
    assert (await desk.packages.zip_of("web", "1.4.0")).path.read_bytes() == data
    assert (await desk.packages.zip_by_sha256(package.sha256)).path.read_bytes() == data
    assert [one.key for one in desk.published] == ["web/1.4.0"]


async def test_a_version_never_changes(desk):
    data, other = good_zip(version="1"), good_zip([Member("more")], version="1")
    first, _ = await desk.packages.upload(chunks(data), None, ANN)
    again, is_new = await desk.packages.upload(chunks(data), None, ANN)
    assert (again.sha256, is_new) == (first.sha256, False)
    with pytest.raises(Conflict, match="raise the version"):
        await desk.packages.upload(chunks(other), None, ANN)
    assert [path.name for path in files_in(desk)] == [first.sha256]


@pytest.mark.parametrize("name", BAD)
async def test_what_is_no_sound_package_is_refused_and_leaves_nothing(desk, name):
    data = BAD[name]()
    with pytest.raises(Invalid) as caught:
        await desk.packages.upload(chunks(data), len(data), ANN)
    assert caught.value.details["problems"]
    assert files_in(desk) == []
    assert (await desk.packages.list_page(PackageQuery())).total == 0


async def test_a_broken_off_upload_leaves_nothing(desk):
    async def broken():
        yield good_zip()[:100]
        raise ConnectionResetError

    with pytest.raises(Invalid, match="broke off"):
        await desk.packages.upload(broken(), None, ANN)
    assert files_in(desk) == []


async def test_sizes_are_refused_before_a_byte_is_read(desk):
    with pytest.raises(TooLarge):
        await desk.packages.upload(chunks(b""), 3 * 1024**3, ANN)
    desk.blobs._incoming._reserve_bytes = 10**15
    with pytest.raises(StorageFull):
        await desk.packages.upload(chunks(b""), 2 * 1024**3, ANN)


async def test_versions_are_listed_newest_first(desk):
    for version in ("1.9", "1.10", "1.10-rc1"):
        await desk.upload("web", version)
    await desk.upload("api", "3")
    page = await desk.packages.list_page(PackageQuery())
    assert [(one.name, one.version) for one in page.items] == [
        ("api", "3"),
        ("web", "1.10"),
        ("web", "1.10-rc1"),
        ("web", "1.9"),
    ]
    assert (await desk.packages.list_page(PackageQuery(q="we", limit=1))).total == 3
    assert (await desk.packages.list_page(PackageQuery(name="api"))).total == 1
    with pytest.raises(Invalid, match="sort"):
        await desk.packages.list_page(PackageQuery(sort="color"))


async def test_a_deleted_package_takes_its_bytes_along(desk):
    await desk.upload("web", "1")
    sha256 = (await desk.packages.get("web", "1")).sha256
    await desk.packages.delete("web", "1", ANN)
    assert files_in(desk) == []
    with pytest.raises(NotFound):
        await desk.packages.zip_by_sha256(sha256)
    with pytest.raises(NotFound):
        await desk.packages.delete("web", "1", ANN)


async def test_an_upload_in_parts_goes_on_after_a_break(desk):
    data = good_zip(name="web", version="2")
    upload, _ = await desk.packages.uploads.begin(len(data), hashlib.sha256(data).hexdigest(), ANN)

    async def broken():
        yield data[:70]
        raise ConnectionResetError

    with pytest.raises(Invalid):
        await desk.packages.uploads.add_part(upload.id, 0, broken())
    assert (await desk.packages.uploads.get(upload.id)).received_bytes == 70
    with pytest.raises(Conflict, match="70"):
        await desk.packages.uploads.add_part(upload.id, 0, chunks(data))
    with pytest.raises(Conflict, match="missing"):
        await desk.packages.complete_upload(upload.id, ANN)
    with pytest.raises(TooLarge):
        await desk.packages.uploads.add_part(upload.id, 70, chunks(data))
    view = await desk.packages.uploads.add_part(upload.id, 70, chunks(data[70:]))
    assert view.received_bytes == len(data)
    package, is_new = await desk.packages.complete_upload(upload.id, ANN)
    assert (package.version, is_new) == ("2", True)
    assert [path.name for path in files_in(desk)] == [package.sha256]
    with pytest.raises(NotFound):
        await desk.packages.uploads.get(upload.id)


async def test_a_damaged_upload_in_parts_is_gone_after_the_check(desk):
    data = good_zip()
    upload, _ = await desk.packages.uploads.begin(len(data), "0" * 64, ANN)
    await desk.packages.uploads.add_part(upload.id, 0, chunks(data))
    with pytest.raises(Invalid, match="announced"):
        await desk.packages.complete_upload(upload.id, ANN)
    assert files_in(desk) == []


async def test_abandoned_uploads_are_swept_after_a_day(desk):
    old, _ = await desk.packages.uploads.begin(10, None, ANN)
    await desk.packages.uploads.add_part(old.id, 0, chunks(b"12345"))
    (desk.folder.uploads / "parts" / "stray").write_bytes(b"x")
    desk.clock.advance(23 * 3600)
    young, _ = await desk.packages.uploads.begin(10, None, ANN)
    await desk.packages.sweep()
    assert [path.name for path in files_in(desk)] == [old.id]
    desk.clock.advance(2 * 3600)
    await desk.packages.sweep()
    assert files_in(desk) == []
    with pytest.raises(NotFound):
        await desk.packages.uploads.get(old.id)
    assert (await desk.packages.uploads.get(young.id)).received_bytes == 0
    await desk.packages.uploads.abort(young.id, ANN)


async def test_the_same_bytes_announced_again_are_the_same_upload(desk):
    data = good_zip(name="web", version="3")
    sha256 = hashlib.sha256(data).hexdigest()
    upload, is_new = await desk.packages.uploads.begin(len(data), sha256, ANN)
    assert is_new
    await desk.packages.uploads.add_part(upload.id, 0, chunks(data[:50]))
    again, is_new = await desk.packages.uploads.begin(len(data), sha256, ANN)
    assert (again.id, again.received_bytes, is_new) == (upload.id, 50, False)
    other, is_new = await desk.packages.uploads.begin(len(data), sha256, BOB)
    assert (other.id != upload.id, is_new) == (True, True)
    desk.packages.uploads._parts._digests.clear()  # as after a restart of the master: the beginning is hashed again
    await desk.packages.uploads.add_part(upload.id, 50, chunks(data[50:]))
    package, _ = await desk.packages.complete_upload(upload.id, ANN)
    assert package.sha256 == sha256


async def test_a_sender_finds_its_upload_again_without_knowing_the_sha256(desk):
    data, key = good_zip(name="web", version="7"), "a" * 64
    upload, _ = await desk.packages.uploads.begin(len(data), None, ANN, key)
    await desk.packages.uploads.add_part(upload.id, 0, chunks(data[:50]))
    again, is_new = await desk.packages.uploads.begin(len(data), None, ANN, key)
    assert (again.id, again.received_bytes, is_new) == (upload.id, 50, False)
    for other in [(len(data), None, ANN, None), (len(data), None, ANN, "b" * 64), (len(data), None, BOB, key)]:
        assert (await desk.packages.uploads.begin(*other))[1]
    with pytest.raises(Invalid, match="sender_key"):
        await desk.packages.uploads.begin(len(data), None, ANN, "mine")
    await desk.packages.uploads.add_part(upload.id, 50, chunks(data[50:]))
    package, _ = await desk.packages.complete_upload(upload.id, ANN, "", hashlib.sha256(data).hexdigest())
    assert package.version == "7"


async def test_bytes_other_than_the_sender_read_are_refused(desk):
    data = good_zip(name="web", version="8")
    upload, _ = await desk.packages.uploads.begin(len(data), None, ANN, "a" * 64)
    await desk.packages.uploads.add_part(upload.id, 0, chunks(data))
    with pytest.raises(Invalid, match="64 hexadecimal"):
        await desk.packages.complete_upload(upload.id, ANN, "", "short")
    with pytest.raises(Invalid, match="send it again"):
        await desk.packages.complete_upload(upload.id, ANN, "", "0" * 64)
    assert files_in(desk) == []
    assert (await desk.packages.uploads.begin(len(data), None, ANN, "a" * 64))[1]


async def test_an_upload_outlives_a_store_that_is_away(desk, monkeypatch):
    data = good_zip(name="web", version="4")
    upload, _ = await desk.packages.uploads.begin(len(data), None, ANN)
    await desk.packages.uploads.add_part(upload.id, 0, chunks(data))

    async def refuse(*_args, **_options):
        raise Unavailable("the store is away")

    with monkeypatch.context() as away:
        away.setattr(desk.packages._blobs, "put", refuse)
        with pytest.raises(Unavailable):
            await desk.packages.complete_upload(upload.id, ANN)
    assert (await desk.packages.complete_upload(upload.id, ANN))[1]
    assert [path.name for path in files_in(desk)] == [hashlib.sha256(data).hexdigest()]


async def test_an_upload_whose_bytes_the_disk_lost_begins_anew(desk, monkeypatch):
    data = good_zip(name="web", version="5")
    upload, _ = await desk.packages.uploads.begin(len(data), None, ANN)
    await desk.packages.uploads.add_part(upload.id, 0, chunks(data))
    with monkeypatch.context() as full:
        full.setattr(writeback, "sync_file", lambda _path: OSError(errno.ENOSPC, "no room"))
        with pytest.raises(StorageFull, match="make room"):
            await desk.packages.complete_upload(upload.id, ANN)
    assert (await desk.packages.uploads.get(upload.id)).received_bytes == 0
    await desk.packages.uploads.add_part(upload.id, 0, chunks(data))
    assert (await desk.packages.complete_upload(upload.id, ANN))[1]


async def test_the_disk_follows_while_a_large_upload_comes_in(desk, monkeypatch):
    monkeypatch.setattr(parts, "EVERY_BYTES", 2_000_000)
    monkeypatch.setattr(parts, "PIECE_BYTES", 500_000)
    synced = []
    real = writeback.sync_file
    monkeypatch.setattr(writeback, "sync_file", lambda path: synced.append(path.stat().st_size) or real(path))
    data = good_zip([Member("noise", random.Random(1).randbytes(5_000_000))], name="web", version="6")
    upload, _ = await desk.packages.uploads.begin(len(data), None, ANN)
    await desk.packages.uploads.add_part(upload.id, 0, chunks(data))
    assert len(synced) >= 1
    await desk.packages.complete_upload(upload.id, ANN)
    assert synced[-1] == len(data)

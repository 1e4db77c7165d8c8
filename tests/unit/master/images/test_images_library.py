"""Images: what comes in is checked to its end, never changes, and stays while somebody needs it."""

import base64
import hashlib
from datetime import timedelta

import msgspec
import pytest

from ops_system.kv.base import PutRequest
from ops_system.master.images.profile_rules import NewProfile
from ops_system.master.images.rules import ImageFacts, ImageQuery
from ops_system.master.publishers.rules import NewPublisherKey, Presented
from ops_system.model.catalogue import image_text
from ops_system.model.errors import Conflict, Forbidden, Invalid, NotAllowed, NotFound, TooLarge
from ops_system.model.tasks import InstallSpec, Task, TaskId, TaskStatus
from ops_system.provision.keys import MachineKeys
from tests.fakes.catalogue import a_tar, open_catalogue, packed
from tests.fakes.orchestration import ANN, chunks

FACTS = ImageFacts("debian", "12.5", "raw.zst", "Debian 12")


@pytest.fixture
async def desk(tmp_path):
    async with open_catalogue(tmp_path) as desk:
        yield desk


async def read_all(stored):
    return b"".join([piece async for piece in stored.read(0)])


def a_task(desk, image, status=TaskStatus.PENDING, sn="SN1"):
    now = desk.clock.now()
    install = InstallSpec("image", "Debian", "12", image=image.ref())
    return Task(TaskId("t1"), "dc1", sn, "52:54:00:00:00:01", "Debian", "12", status, now, now, "ann", install)


async def put_task(desk, task):
    await desk.store.put(PutRequest(MachineKeys(task.idc, task.sn).task, msgspec.json.encode(task)))


async def test_an_image_is_read_to_its_end_and_kept(desk):
    content = bytes(range(256)) * 1000
    data = packed(content, "raw.zst")
    image, is_new = await desk.images.upload(chunks(data), len(data), FACTS, ANN)
    assert is_new
    assert (image.os_type, image.os_version, image.created_by) == ("Debian", "12", "ann")
    assert (image.sha256, image.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (image.content_sha256, image.content_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert await desk.images.get("debian", "12.5") == image
    assert await read_all(await desk.images.content("debian", "12.5")) == data
    assert await desk.actions() == ["image.upload"]
    assert [(one.topic, one.key) for one in desk.published] == [("images", "debian/12.5")]


async def test_a_version_never_changes(desk):
    first = await desk.upload(b"\1" * 512)
    assert await desk.upload(b"\1" * 512) == first
    with pytest.raises(Conflict, match="exists with other bytes"):
        await desk.upload(b"\2" * 512)
    assert [path.name for path in desk.files()] == [first.sha256]


async def test_lost_bytes_come_back_with_the_same_upload(desk):
    image = await desk.upload()
    await desk.blobs.delete(image.sha256)
    with pytest.raises(NotFound, match="not in this store"):
        await desk.images.content("debian", "1")
    assert await desk.upload() == image
    assert await read_all(await desk.images.content("debian", "1")) == b"\0" * 512


async def test_an_image_comes_in_parts_too(desk):
    data = packed(a_tar(), "tar.gz")
    upload, _ = await desk.packages.uploads.begin(len(data), None, ANN)
    await desk.packages.uploads.add_part(upload.id, 0, chunks(data[:10]))
    facts = msgspec.structs.replace(FACTS, format="tar.gz")
    with pytest.raises(Conflict, match="missing"):
        await desk.images.take_upload(upload.id, facts, ANN)
    await desk.packages.uploads.add_part(upload.id, 10, chunks(data[10:]))
    image, is_new = await desk.images.take_upload(upload.id, facts, ANN)
    assert (is_new, image.sha256) == (True, hashlib.sha256(data).hexdigest())
    assert [path.name for path in desk.files()] == [image.sha256]
    with pytest.raises(NotFound):
        await desk.images.take_upload(upload.id, facts, ANN)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "raw.gz"}, "does not begin like one"),
        ({"sha256": "ab" * 32}, "damaged on its way"),
        ({"content_sha256": "ab" * 32}, "damaged on its way"),
        ({"sha256": "short"}, "64 hexadecimal digits"),
        ({"os_type": "Ubntu 22.04"}, "did you mean"),
        ({"os_type": ""}, "which system is in it"),
        ({"name": "../etc"}, "letters, digits"),
        ({"version": "a/b"}, "letters, digits"),
        ({"note": "x" * 5000}, "at most 4000"),
    ],
)
async def test_what_does_not_fit_is_refused_and_leaves_nothing(desk, changes, said):
    data = packed(bytes(1000), "raw.zst")
    with pytest.raises(Invalid, match=said):
        await desk.images.upload(chunks(data), len(data), msgspec.structs.replace(FACTS, **changes), ANN)
    assert desk.files() == []
    assert (await desk.images.list_page(ImageQuery())).total == 0
    assert await desk.actions() == []


async def test_a_broken_off_or_endless_upload_leaves_nothing(desk):
    async def broken():
        yield packed(bytes(1000), "raw.zst")[:20]
        raise ConnectionResetError

    with pytest.raises(Invalid, match="broke off"):
        await desk.images.upload(broken(), None, FACTS, ANN)
    with pytest.raises(TooLarge):
        await desk.images.upload(chunks(b""), 3 * 1024**3, FACTS, ANN)
    assert desk.files() == []


async def test_a_list_finds_sorts_and_pages(desk):
    await desk.upload(b"\1" * 512, name="debian", version="12.9")
    await desk.upload(b"\2" * 1024, name="debian", version="12.10")
    await desk.upload(b"\3" * 512, name="ubuntu", version="1", os_type="Ubuntu", os_version="22.04")
    await desk.upload(b"\4" * 512, name="linux", version="6", format="kernel", os_type="", os_version="")

    async def found(**query):
        page = await desk.images.list_page(ImageQuery(**query))
        return [f"{one.name}/{one.version}" for one in page.items], page.total

    assert await found() == (["debian/12.10", "debian/12.9", "linux/6", "ubuntu/1"], 4)
    assert await found(limit=1, offset=1) == (["debian/12.9"], 4)
    assert await found(os_type="Ubuntu 22.04", os_version="22.04") == (["ubuntu/1"], 1)
    assert await found(os_type="Debian") == (["debian/12.10", "debian/12.9"], 2)
    assert await found(format="kernel") == (["linux/6"], 1)
    assert await found(q="UBU") == (["ubuntu/1"], 1)
    assert (await found(sort="-size_bytes"))[0][0] == "debian/12.10"
    with pytest.raises(Invalid, match="no field 'bytes'"):
        await found(sort="bytes")


@pytest.mark.parametrize("status", [TaskStatus.PENDING, TaskStatus.INSTALLING, TaskStatus.NEEDS_OPERATOR])
async def test_an_image_stays_while_a_task_needs_it(desk, status):
    image = await desk.upload()
    await put_task(desk, a_task(desk, image, status))
    with pytest.raises(NotAllowed, match="used by task dc1/SN1"):
        await desk.images.delete("debian", "1", ANN)
    assert await desk.images.get("debian", "1") == image
    await put_task(desk, a_task(desk, image, TaskStatus.COMPLETED))
    await desk.images.delete("debian", "1", ANN)
    with pytest.raises(NotFound):
        await desk.images.get("debian", "1")
    assert await desk.actions() == ["image.upload", "image.delete"]


async def test_an_image_stays_while_a_profile_names_it(desk):
    await desk.upload()
    profile = NewProfile("web", os_type="Debian 12", image="debian/1")
    await desk.profiles.create(profile, ANN)
    with pytest.raises(NotAllowed, match="used by profile web"):
        await desk.images.delete("debian", "1", ANN)


async def test_many_tasks_are_looked_through(desk):
    image, other = await desk.upload(), await desk.upload(b"\7" * 512, version="2")
    for number in range(120):
        await put_task(desk, a_task(desk, image if number == 117 else other, sn=f"SN{number}"))
    assert [user.id for user in await desk.images.users_of(image)] == ["dc1/SN117"]
    assert len(await desk.images.users_of(other)) == 119


async def test_bytes_go_when_nothing_has_named_them_for_a_while(desk):
    image = await desk.upload()
    await desk.upload(version="2")
    await desk.images.delete("debian", "1", ANN)
    desk.clock.advance(timedelta(hours=1).total_seconds())
    await desk.images.sweep()
    assert [path.name for path in desk.files()] == [image.sha256]  # version 2 has the same bytes
    await desk.images.delete("debian", "2", ANN)
    await desk.images.sweep()
    assert desk.files() != []
    desk.clock.advance(timedelta(minutes=11).total_seconds())
    await desk.images.sweep()
    assert desk.files() == []


async def test_bytes_that_come_back_in_time_stay(desk):
    image = await desk.upload()
    await desk.images.delete("debian", "1", ANN)
    assert await desk.upload() == msgspec.structs.replace(image, created_at=desk.clock.now())
    desk.clock.advance(timedelta(hours=1).total_seconds())
    await desk.images.sweep()
    assert [path.name for path in desk.files()] == [image.sha256]


# --- publishers ------------------------------------------------------------------------------------------------------
def signed(data, key, facts=FACTS, version=None):
    raw = key.public_key().public_bytes_raw()
    digest = hashlib.sha256(data).hexdigest()
    text = image_text(facts.name, version or facts.version, facts.format, digest, len(data))
    made = Presented(
        name=facts.name,
        version=facts.version,
        sha256=digest,
        size_bytes=len(data),
        key_id=hashlib.sha256(raw).hexdigest(),
        public_key=base64.b64encode(raw).decode(),
        signature=base64.b64encode(key.sign(text)).decode(),
    )
    return base64.b64encode(msgspec.json.encode(made)).decode(), made.public_key


def a_key():
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


async def test_where_a_publisher_is_required_only_a_trusted_one_will_do(tmp_path):
    data, key, stranger = packed(bytes(1000), "raw.zst"), a_key(), a_key()
    async with open_catalogue(tmp_path, is_required=True) as desk:
        with pytest.raises(Forbidden, match="only packages signed"):
            await desk.images.upload(chunks(data), len(data), FACTS, ANN)
        signature, public_key = signed(data, key)
        trusted = await desk.publishers.add(NewPublisherKey("build", public_key), ANN)
        with pytest.raises(Forbidden, match="does not trust"):
            await desk.images.upload(chunks(data), len(data), FACTS, ANN, signed(data, stranger)[0])
        assert desk.files() == []
        image, _ = await desk.images.upload(chunks(data), len(data), FACTS, ANN, signature)
        assert image.key_id == trusted.id
        assert (await desk.catalogue.resolve("Debian", "12")).image == image.ref()
        await desk.publishers.remove(trusted.id, ANN)
        with pytest.raises(Forbidden, match="does not trust"):
            await desk.catalogue.resolve("Debian", "12")


async def test_a_signature_of_something_else_is_refused_also_where_none_is_wanted(desk):
    data = packed(bytes(1000), "raw.zst")
    for signature, _ in (signed(data, a_key(), version="other"), signed(data + b"x", a_key())):
        with pytest.raises(Invalid, match="does not belong to this image"):
            await desk.images.upload(chunks(data), len(data), FACTS, ANN, signature)
    assert desk.files() == []

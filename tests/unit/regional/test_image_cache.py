"""The images of a data centre: fetched once, checked, bounded."""

import asyncio
import base64
import contextlib
import hashlib

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ops_system.model.catalogue import image_text
from ops_system.model.errors import Invalid, NotFound, StorageFull, Unavailable
from ops_system.model.tasks import ImageRef
from ops_system.regional import cache as module
from ops_system.regional.cache import ImageCache, Source
from ops_system.runtime.tasks import running

DATA = bytes(range(256)) * 4096
LIMIT_BYTES = 4 * len(DATA)


def image_of(data=DATA, name="debian", **changes):
    sha256 = hashlib.sha256(data).hexdigest()
    return ImageRef(**{"name": name, "version": "12", "sha256": sha256, "size_bytes": len(data), "content_sha256": "",
                       "content_bytes": 0, "format": "raw"} | changes)  # fmt: skip


class Master:
    """Hands out one image; may break off, refuse, or lie."""

    def __init__(self):
        self.data = DATA
        self.asked: list[str] = []
        self.breaks_at: list[int] = []
        self.status = 0
        self.url = ""
        self.cache = None

    async def arrived(self, end):
        """Return when the cache has written so much: what lies in buffers is lost with the connection."""
        async with asyncio.timeout(30):
            while all(job.done_bytes < end for job in self.cache._jobs.values()):  # noqa: ASYNC110 - it tells bytes only
                await asyncio.sleep(0.001)

    async def answer(self, request):
        self.asked.append(request.headers.get("Range", ""))
        assert request.headers["Authorization"] == "Bearer ops_x"
        if self.status:
            return web.Response(status=self.status)
        start = request.http_range.start or 0
        response = web.StreamResponse(status=206, headers={"Content-Length": str(len(self.data) - start)})
        await response.prepare(request)
        end = self.breaks_at.pop(0) if self.breaks_at else len(self.data)
        await response.write(self.data[start:end])
        if end < len(self.data):
            await self.arrived(end)
            request.transport.close()
        return response


@pytest.fixture
async def master():
    master = Master()
    app = web.Application()
    app.router.add_get("/api/v1/images/{name}/{version}/content", master.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    master.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield master
    await runner.cleanup()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(module, "TRY_AGAIN_S", 0.01)
    monkeypatch.setattr(module, "TRIES", 4)


@contextlib.asynccontextmanager
async def caching(folder, master, limit_bytes=LIMIT_BYTES, keys=()):
    cache = ImageCache(folder, limit_bytes, Source(master.url, "ops_x"), None, keys)
    cache.open()
    master.cache = cache
    async with running(cache.run(), "cache"):
        yield cache


async def test_many_ask_and_the_master_sends_once(tmp_path, master):
    async with caching(tmp_path, master) as cache:
        paths = []

        async def ask():
            paths.append(await cache.get(image_of(), 10))

        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(ask())
        assert {path.read_bytes() for path in paths} == {DATA}
        assert master.asked == ["bytes=0-"]


async def test_what_broke_off_is_resumed_also_by_the_next_run(tmp_path, master):
    master.breaks_at = [1000, 5000]
    async with caching(tmp_path, master) as cache:
        assert (await cache.get(image_of(), 10)).read_bytes() == DATA
    assert master.asked == ["bytes=0-", "bytes=1000-", "bytes=5000-"]
    other = image_of(DATA[::-1])
    (tmp_path / f"{other.sha256}.part").write_bytes(DATA[::-1][:777])
    master.data, master.asked = DATA[::-1], []
    async with caching(tmp_path, master) as cache:
        await cache.get(other, 10)
    assert master.asked == ["bytes=777-"]


@pytest.mark.parametrize("data", [DATA[:-1] + b"x", DATA + b"x"], ids=["other bytes", "longer"])
async def test_other_bytes_are_never_used(tmp_path, master, data):
    master.data = data
    async with caching(tmp_path, master) as cache:
        with pytest.raises(Invalid, match="is not used"):
            await cache.get(image_of(), 10)
        assert list(tmp_path.iterdir()) == []
        master.data = DATA
        assert (await cache.get(image_of(), 10)).read_bytes() == DATA


async def test_only_what_a_trusted_publisher_signed_is_used(tmp_path, master):
    key = Ed25519PrivateKey.generate()
    raw = key.public_key().public_bytes_raw()
    plain = image_of()
    text = image_text(plain.name, plain.version, plain.format, plain.sha256, plain.size_bytes)
    signed = image_of(signature=base64.b64encode(key.sign(text)).decode(), key_id=hashlib.sha256(raw).hexdigest())
    forged = image_of(signature=base64.b64encode(key.sign(text + b"x")).decode(), key_id=signed.key_id)
    async with caching(tmp_path, master, keys=[base64.b64encode(raw).decode()]) as cache:
        for each in (plain, forged):
            with pytest.raises(Invalid, match="is not used"):
                await cache.get(each, 10)
        assert (await cache.get(signed, 10)).is_file()


async def test_room_is_made_by_the_longest_unused_and_never_by_what_is_needed(tmp_path, master):
    async with caching(tmp_path, master, limit_bytes=2 * len(DATA)) as cache:
        images = []
        for number in range(3):
            master.data = bytes([number]) * len(DATA)
            images.append(image_of(master.data, f"image{number}"))
            if number == 2:
                cache.in_use = lambda: {images[0].sha256}
            await cache.get(images[number], 10)
        kept = {path.name for path in tmp_path.iterdir()}
        assert kept == {images[0].sha256, images[2].sha256}
        cache.in_use = lambda: kept
        master.data = DATA
        with pytest.raises(StorageFull, match="do not fit into the cache"):
            await cache.get(image_of(), 10)
        assert "do not fit" in cache.status().last_error


async def test_a_full_disk_is_said(tmp_path, master, monkeypatch):
    monkeypatch.setattr(module, "SPARE_BYTES", 2**62)
    async with caching(tmp_path, master) as cache:
        with pytest.raises(StorageFull, match="make room"):
            await cache.get(image_of(), 10)


async def test_a_refusal_and_a_master_that_is_away_are_told_apart(tmp_path, master):
    async with caching(tmp_path, master) as cache:
        master.status = 404
        with pytest.raises(NotFound):
            await cache.get(image_of(), 10)
        assert len(master.asked) == 1
        master.status = 503
        with pytest.raises(Unavailable):
            await cache.get(image_of(), 10)
        assert len(master.asked) == 5
        master.status = 0
        assert (await cache.get(image_of(), 10)).is_file()


async def test_who_need_not_wait_is_told_how_far_it_is(tmp_path, master):
    async with caching(tmp_path, master) as cache:
        with pytest.raises(Unavailable) as caught:
            await cache.get(image_of(), 0)
        assert caught.value.details["reason"] == "fetching"
        await cache.get(image_of(), 10)

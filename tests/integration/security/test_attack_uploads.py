"""Every evil archive through the doors of a whole master: refused in words, nothing left, nothing counted."""

import asyncio
import io

import pytest
import pytest_asyncio

from tests.fakes.evil_archives import BAD_PACKAGES, EVIL, EVIL_CONTENT, good_zip
from tests.fakes.master import ApiError, run_master

ALL = EVIL | EVIL_CONTENT | BAD_PACKAGES
TOO_LONG_S = 60.0
ZIP = {"Content-Type": "application/zip"}
PART = {"Content-Type": "application/octet-stream"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def master(tmp_path_factory):
    async with run_master(tmp_path_factory.mktemp("master")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(master):
    async with master.admin_client() as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def shelf(master, api):
    """What must be the same afterwards: packages in the catalogue, files below DATA/uploads."""
    packages, files = await look(master, api)
    yield packages, files
    async with asyncio.timeout(TOO_LONG_S):
        while True:  # a broken connection is noticed a moment later; what an earlier test left may go meanwhile
            packages_now, files_now = await look(master, api)
            if packages_now == packages and files_now <= files:
                return
            await asyncio.sleep(0.05)


async def look(master, api):
    uploads = master.master.ground.folder.uploads
    files = {path.relative_to(uploads) for path in uploads.rglob("*") if path.is_file()}
    return (await api.get("/packages"))["total"], files


@pytest.mark.parametrize("name", ALL)
async def test_an_evil_archive_is_refused_and_leaves_nothing(api, shelf, name):
    with pytest.raises(ApiError) as refused:
        await api.ask("POST", "/packages", data=io.BytesIO(ALL[name]()), headers=ZIP)
    assert (refused.value.status, refused.value.body["code"]) == (422, "invalid")
    assert refused.value.body["details"]["problems"]
    assert shelf


@pytest.mark.parametrize("name", [name for name in ALL if name != "empty"])
async def test_the_same_in_parts(api, shelf, name):
    data = ALL[name]()
    upload = await api.post("/uploads", {"size_bytes": len(data)})
    middle = len(data) // 2
    await api.ask("PUT", f"/uploads/{upload['id']}?offset=0", data=io.BytesIO(data[:middle]), headers=PART)
    await api.ask("PUT", f"/uploads/{upload['id']}?offset={middle}", data=io.BytesIO(data[middle:]), headers=PART)
    with pytest.raises(ApiError) as refused:
        await api.post(f"/uploads/{upload['id']}/complete")
    assert (refused.value.status, refused.value.body["code"]) == (422, "invalid")
    with pytest.raises(ApiError, match="404"):
        await api.get(f"/uploads/{upload['id']}")
    assert shelf


async def test_a_part_in_the_wrong_place_or_too_long_is_refused(api, shelf):
    data = good_zip()
    upload = await api.post("/uploads", {"size_bytes": len(data)})
    path = f"/uploads/{upload['id']}"
    for offset in (1, len(data), 10**12):
        with pytest.raises(ApiError) as refused:
            await api.ask("PUT", f"{path}?offset={offset}", data=data, headers=PART)
        assert refused.value.status in {409, 413, 422}
    with pytest.raises(ApiError, match="413"):
        await api.ask("PUT", f"{path}?offset=0", data=data + b"x", headers=PART)
    with pytest.raises(ApiError, match="409"):
        await api.post(f"{path}/complete")
    await api.delete(path)
    assert shelf


async def test_parts_that_are_not_what_was_announced_make_no_package(api, shelf):
    data = good_zip(name="other")
    upload = await api.post("/uploads", {"size_bytes": len(data), "sha256": "0" * 64})
    await api.ask("PUT", f"/uploads/{upload['id']}?offset=0", data=data, headers=PART)
    with pytest.raises(ApiError, match="422"):
        await api.post(f"/uploads/{upload['id']}/complete")
    assert shelf


@pytest.mark.parametrize("size_bytes", [-1, 2**31 + 1, 2**63, 10**30, "1", None, 0.5])
async def test_an_impossible_size_is_refused(api, shelf, size_bytes):
    with pytest.raises(ApiError) as refused:
        await api.post("/uploads", {"size_bytes": size_bytes})
    assert refused.value.status in {413, 422}
    assert shelf


@pytest.mark.parametrize("upload_id", ["../../master.key", "..%2F..%2Fmaster.key", "%2e%2e", "up_x/../../x", "up_\0"])
async def test_an_upload_id_names_no_file(api, shelf, upload_id):
    for method, options in (("GET", {}), ("PUT", {"data": b"evil", "headers": PART}), ("DELETE", {})):
        with pytest.raises(ApiError) as refused:
            await api.ask(method, f"/uploads/{upload_id}", **options)
        assert refused.value.status in {404, 405, 400}
    assert shelf


async def send_cut(master, token, announced: int, data: bytes, path: str = "/packages") -> bytes:
    """Announce a length, send other bytes, close the sending side; return the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", master.master.doors.port)
    head = (
        f"POST /api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/zip\r\nContent-Length: {announced}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + data)
    writer.write_eof()
    async with asyncio.timeout(TOO_LONG_S):
        told = await reader.read()
    writer.close()
    return told


async def test_an_upload_cut_in_half_leaves_nothing(master, shelf):
    token = await master.create_token("half")
    data = good_zip(name="half")
    told = await send_cut(master, token, len(data), data[: len(data) // 2])
    assert told == b"" or told.split(b" ", 2)[1] in {b"400", b"422"}
    assert shelf


async def test_a_length_that_lies_is_no_package(master, shelf):
    token = await master.create_token("liar")
    data = good_zip(name="liar")
    told = await send_cut(master, token, len(data) - 10, data)  # the rest would be another request
    assert told == b"" or told.split(b" ", 2)[1] in {b"422", b"400"}
    told = await send_cut(master, token, 3 * 2**30, data)
    assert told == b"" or told.startswith(b"HTTP/1.1 413 ")
    assert shelf


async def test_the_same_version_with_other_bytes_is_409(api):
    await api.ask("POST", "/packages", data=good_zip(name="twice"), headers=ZIP)
    before = await api.get("/packages/twice/1.0")
    with pytest.raises(ApiError, match="409"):
        await api.ask("POST", "/packages", data=good_zip(name="twice", description="changed"), headers=ZIP)
    assert await api.get("/packages/twice/1.0") == before

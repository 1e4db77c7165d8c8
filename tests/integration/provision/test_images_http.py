"""Images and profiles over HTTP, as people, regions and `ops` use them."""

import hashlib

import aiohttp
import pytest

from ops_system.client.pushing import WHOLE_BYTES
from ops_system.model.errors import UsageError
from ops_system.packtool.cli import run
from ops_system.packtool.words import Words
from tests.fakes.catalogue import a_tar, packed
from tests.fakes.master import ApiError, run_master
from tests.fakes.opscli import Ops

OCTETS = {"Content-Type": "application/octet-stream"}
QUERY = {"name": "debian", "version": "12.5", "format": "raw.zst", "os_type": "Debian 12"}
CONTENT = bytes(range(256)) * 64


@pytest.fixture
async def master(tmp_path):
    async with run_master(tmp_path / "m") as master:
        yield master


async def upload(api, data, **changes):
    return await api.ask("POST", "/images", data=data, headers=OCTETS, params=QUERY | changes)


async def refused(asking):
    with pytest.raises(ApiError) as error:
        await asking
    return error.value.status, error.value.body["code"]


async def test_an_image_travels_from_a_person_to_a_region(master):
    data = packed(CONTENT, "raw.zst")
    async with master.admin_client() as api:
        region = await api.post("/tokens", {"name": "dc1", "role": "regional", "idc": "dc1"})
        image = await upload(api, data)
        assert (image["os_type"], image["os_version"], image["content_bytes"]) == ("Debian", "12", len(CONTENT))
        assert (await upload(api, data))["sha256"] == image["sha256"]
        assert await refused(upload(api, packed(b"x" * 512, "raw.zst"))) == (409, "conflict")
        assert await refused(upload(api, data, format="raw.gz", version="2")) == (422, "invalid")
        assert await refused(upload(api, data, os_type="Ubntu", version="2")) == (422, "invalid")
        assert (await api.get("/images", params={"os_type": "Debian"}))["total"] == 1
    path = f"{master.url}/api/v1/images/debian/12.5"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {region['token']}"}) as session:
        async with session.get(f"{path}/content") as answer:
            assert hashlib.sha256(await answer.read()).hexdigest() == image["sha256"]
        async with session.get(f"{path}/content", headers={"Range": "bytes=10-19"}) as answer:
            assert (answer.status, await answer.read()) == (206, data[10:20])
        async with session.get(f"{path}/download") as answer:
            assert answer.status == 403
    async with master.admin_client() as api:
        await api.delete("/images/debian/12.5")
        assert await refused(api.get("/images/debian/12.5")) == (404, "not_found")
        actions = [row["action"] for row in (await api.get("/audit", params={"q": "image"}))["items"]]
        assert {"image.upload", "image.delete"} <= set(actions)


async def test_an_image_comes_in_parts(master):
    data = packed(CONTENT, "raw.gz")
    async with master.admin_client() as api:
        begun = await api.post("/uploads", {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
        for start in range(0, len(data), 100):
            url = f"/uploads/{begun['id']}"
            await api.ask("PUT", url, data=data[start : start + 100], headers=OCTETS, params={"offset": start})
        body = QUERY | {"format": "raw.gz", "upload_id": begun["id"]}
        image = await api.post("/images/from-upload", body)
        assert image["content_sha256"] == hashlib.sha256(CONTENT).hexdigest()
        assert await refused(api.post("/images/from-upload", body)) == (404, "not_found")


async def test_a_task_keeps_its_image(master):
    task = {"idc": "dc1", "sn": "sn-001", "mac": "00:1a:2b:3c:4d:5e", "os_type": "Debian 12", "os_version": "12"}
    async with master.admin_client() as api:
        image = await upload(api, packed(CONTENT, "raw.zst"))
        made = await api.post("/tasks", task)
        install = made["install"]
        assert (install["method"], install["image"]["sha256"]) == ("image", image["sha256"])
        assert (await api.get("/images/debian/12.5/usage"))["users"] == [{"kind": "task", "id": "dc1/sn-001"}]
        assert await refused(api.delete("/images/debian/12.5")) == (409, "not_allowed")


async def test_a_profile_is_written_looked_at_and_rolled_back(master):
    profile = {"name": "deb", "method": "preseed", "os_type": "Debian", "os_version": "12", "packages": ["vim"]}
    async with master.admin_client() as api:
        assert (await api.post("/profiles", profile))["version"] == 1
        assert (await api.ask("PUT", "/profiles/deb", profile | {"packages": []}))["version"] == 2
        assert (await api.post("/profiles/deb/rollback", {"version": 1}))["packages"] == ["vim"]
        assert (await api.get("/profiles/deb/versions"))["total"] == 3
        shown = await api.post("/profiles/preview", {"name": "deb"})
        assert (shown["problems"], "pkgsel/include string openssh-server wget vim" in shown["text"]) == ([], True)
        broken = await api.post("/profiles/preview", {"profile": profile | {"template": "a\n{{ x"}})
        assert [problem["line"] for problem in broken["problems"]] == [2]
        assert await refused(api.post("/profiles", profile | {"name": "x", "template": "{{ x"})) == (422, "invalid")
        assert await refused(api.post("/profiles", profile)) == (409, "conflict")
        kinds = [one["kind"] for one in (await api.get("/install-templates"))["items"]]
        assert kinds == ["kickstart", "preseed", "autoinstall"]
        assert (await api.get("/os-catalogue"))["total"] > 15
        await api.delete("/profiles/deb")
        assert (await api.get("/profiles"))["total"] == 0


async def test_ops_pushes_an_image_whole_and_in_parts(master, tmp_path):
    ops = Ops(tmp_path / "home", OPS_URL=master.url, OPS_TOKEN=await master.create_token("pusher"))
    small, large = tmp_path / "alpine.tar.gz", tmp_path / "debian.raw"
    small.write_bytes(packed(a_tar(), "tar.gz"))
    large.write_bytes(bytes(WHOLE_BYTES) + CONTENT)
    for path in (small, large):
        done = await ops("images", "push", path, "--image-version", "7", "--os", "Debian 12", "-o", "json")
        assert done.code == 0, done
    listed = (await ops("images", "list", "-o", "json")).json()
    found = {one["name"]: (one["version"], one["format"], one["size_bytes"]) for one in listed["items"]}
    assert found == {
        "alpine": ("7", "tar.gz", small.stat().st_size),
        "debian": ("7", "raw", large.stat().st_size),
    }


def pack_tool(*argv):
    return run([str(word) for word in argv], Words({}))


async def test_an_image_is_signed_by_the_pack_tool(tmp_path, capsys):
    path, key = tmp_path / "debian.raw.zst", tmp_path / "build.key"
    path.write_bytes(packed(CONTENT, "raw.zst"))
    assert pack_tool("keygen", key) == 0
    told = ["--name", "debian", "--image-version", "12.5", "--format", "raw.zst"]
    with pytest.raises(UsageError, match="needs --name, --image-version, --format"):
        pack_tool("sign-image", path, "--key", key)
    assert pack_tool("sign-image", path, "--key", key, *told) == 0
    capsys.readouterr()
    async with run_master(tmp_path / "m", storage__require_publisher="true") as master:
        ops = Ops(tmp_path / "home", OPS_URL=master.url, OPS_TOKEN=await master.create_token("pusher"))
        push = ("images", "push", path, *told, "--os", "Debian 12")
        untrusted = await ops(*push)
        assert (untrusted.code, "does not trust" in untrusted.err) == (1, True)
        async with master.admin_client() as api:
            body = {"name": "build", "public_key": (tmp_path / "build.key.pub").read_text()}
            trusted = await api.post("/publisher-keys", body)
            assert (await ops(*push)).code == 0
            assert (await api.get("/images/debian/12.5"))["key_id"] == trusted["id"]

"""A publisher's signature from `pack-tool keygen` to the worker that wants it."""

import asyncio

import pytest

from tests.fakes.evil_archives import good_zip
from tests.fakes.master import ApiError, run_master
from tests.fakes.packages import SLEEPER, make_zip, service_json
from tests.fakes.worker import running_worker, worker_config
from tests.integration.test_packtool_master import pack_tool

WITHIN_S = 30.0


async def push(master, package, token):
    return await pack_tool("push", package, "--token", "-", "--master", master.url, stdin=token.encode())


async def test_a_master_that_wants_publishers_takes_what_they_signed_and_nothing_else(tmp_path):
    package, key = tmp_path / "a.zip", tmp_path / "key"
    package.write_bytes(good_zip(name="web", version="1"))
    async with run_master(tmp_path, storage__require_publisher="1") as master, master.admin_client() as api:
        token = await master.create_token(role="operator")
        code, _, err = await push(master, package, token)
        assert (code, "only packages signed by a trusted publisher" in err) == (1, True)
        assert (await pack_tool("keygen", key))[0] == 0
        assert (await pack_tool("sign", package, "--key", key))[0] == 0
        code, _, err = await push(master, package, token)
        assert (code, "does not trust" in err) == (1, True)

        trusted = await api.post(
            "/publisher-keys", {"name": "build", "public_key": key.with_name("key.pub").read_text()}
        )
        code, _, err = await push(master, package, token)
        assert (code, err) == (0, "")
        assert (await api.get("/packages/web/1"))["publisher"]["key_id"] == trusted["id"]

        package.write_bytes(good_zip(name="web", version="2"))
        code, _, err = await push(master, package, token)
        assert (code, "a.zip.sig does not belong to these bytes" in err) == (1, True)
        assert (await api.get("/packages"))["total"] == 1
        actions = [row["action"] for row in (await api.get("/audit?limit=500"))["items"]]
        assert "publisher.trust" in actions
        async with master.admin_client("operator") as operator:
            with pytest.raises(ApiError) as refused:
                await operator.get("/publisher-keys")
            assert refused.value.status == 403


async def test_a_worker_that_names_publishers_runs_only_what_they_signed(tmp_path):
    key, signed, plain = tmp_path / "key", tmp_path / "signed.zip", tmp_path / "plain.zip"
    signed.write_bytes(make_zip({"run.sh": SLEEPER}, service_json(name="signed")))
    plain.write_bytes(make_zip({"run.sh": SLEEPER}, service_json(name="plain")))
    _, out, _ = await pack_tool("keygen", key)
    assert (await pack_tool("sign", signed, "--key", key))[0] == 0
    key_id = next(word for word in out.replace(",", " ").split() if len(word.strip(".")) == 64).strip(".")
    async with run_master(tmp_path) as master, master.admin_client() as api:
        token = await master.create_token(role="operator")
        for package in (signed, plain):
            code, _, err = await push(master, package, token)
            assert code == 0, err
        join = await master.create_join_token()
        async with running_worker(worker_config(tmp_path / "w", master.url, join, policy__publisher_keys=key_id)):
            async with asyncio.timeout(WITHIN_S):
                while not (nodes := (await api.get("/nodes"))["items"]):  # noqa: ASYNC110 - asked over HTTP
                    await asyncio.sleep(0.05)
            refused = await deploy(api, "plain", nodes[0]["id"])
            taken = await deploy(api, "signed", nodes[0]["id"])
            try:
                assert refused["reason"]["code"] == "policy_refused"
                assert "policy.publisher_keys" in refused["reason"]["message"]
                assert taken["state"] == "running"
                rows = (await api.get("/audit?action=policy.refuse"))["items"]
                assert [(row["target"], row["outcome"]) for row in rows] == [(f"instance:{refused['id']}", "denied")]
                assert (rows[0]["actor_kind"], rows[0]["actor_id"]) == ("node", nodes[0]["id"])
                assert rows[0]["details"]["policy"] == "publisher_keys"
            finally:
                await api.delete(f"/instances/{taken['id']}?stop=1")
                await until_gone(api, taken["id"])
        assert not list((tmp_path / "w/versions").glob("plain"))


async def until_gone(api, instance_id):
    async with asyncio.timeout(WITHIN_S):
        while any(one["id"] == instance_id for one in (await api.get("/instances"))["items"]):  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.05)


async def deploy(api, name, node_id):
    """Deploy a package; return the instance once it runs or was given up."""
    system = await api.post("/systems", {"name": f"s-{name}"})
    wanted = {"name": name, "package": name, "version": "1.0.0"}
    module = await api.post(f"/systems/{system['id']}/modules", wanted)
    made = await api.post("/instances", {"module_id": module["id"], "node_id": node_id})
    async with asyncio.timeout(WITHIN_S):
        while True:
            instance = await api.get(f"/instances/{made['instance']['id']}")
            if instance["state"] in {"running", "failed"}:
                return instance
            await asyncio.sleep(0.05)

"""What a scope sees and changes of systems and modules: placement decides. Packages are everybody's."""

import pytest

from tests.fakes.master import Api, ApiError, run_master
from tests.fakes.packages import make_zip, service_json


def module(name, labels):
    return {"name": name, "package": "web", "version": "1.0.0", "placement": {"labels": labels}}


@pytest.fixture
async def desk(tmp_path):
    """Give an administrator's client, a client limited to `env=test`, and the systems by name."""
    async with run_master(tmp_path) as master, master.admin_client() as admin:
        package = make_zip({"run.sh": "#!/bin/sh\n"}, service_json(os="any", arch="any"))
        await admin.ask("POST", "/packages", data=package, headers={"Content-Type": "application/zip"})
        systems = {}
        for name, modules in (
            ("mine", [module("a", {"env": "test"}), module("b", {"env": "test", "rack": "r1"})]),
            ("theirs", [module("a", {"env": "live"})]),
            ("mixed", [module("a", {"env": "test"}), module("b", {"env": "live"})]),
            ("open", [module("a", {}), module("b", {"rack": "r1"})]),
            ("empty", []),
        ):
            systems[name] = (await admin.post("/systems", {"name": name}))["id"]
            for body in modules:
                await admin.post(f"/systems/{systems[name]}/modules", body)
        token = await admin.post("/tokens", {"name": "tess", "role": "operator", "scope": {"env": "test"}})
        async with Api(master.url, token["token"]) as scoped:
            yield admin, scoped, systems


async def status_of(asked):
    try:
        await asked
    except ApiError as refused:
        return refused.status
    return 200


async def modules_of(api, system_id):
    page = await api.get(f"/systems/{system_id}/modules")
    assert page["total"] == len(page["items"])
    return {one["name"]: one["id"] for one in page["items"]}


async def test_a_scope_sees_what_may_reach_into_it(desk):
    admin, scoped, systems = desk
    listed = await scoped.get("/systems", params={"sort": "name"})
    assert ([one["name"] for one in listed["items"]], listed["total"]) == (["empty", "mine", "mixed", "open"], 4)
    assert (await admin.get("/systems"))["total"] == 5
    assert {name: await status_of(scoped.get(f"/systems/{key}")) for name, key in systems.items()} == {
        "mine": 200,
        "theirs": 404,
        "mixed": 200,
        "open": 200,
        "empty": 200,
    }
    assert list(await modules_of(scoped, systems["mixed"])) == ["a"]
    assert list(await modules_of(scoped, systems["open"])) == ["a", "b"]
    hidden = (await modules_of(admin, systems["mixed"]))["b"]
    assert await status_of(scoped.get(f"/modules/{hidden}")) == 404
    assert (await scoped.get("/packages"))["total"] == 1


async def test_a_scope_changes_what_lies_within_it_alone(desk):
    admin, scoped, systems = desk
    for name, expected in (("mine", 200), ("theirs", 404), ("mixed", 403), ("open", 403), ("empty", 200)):
        asked = scoped.patch(f"/systems/{systems[name]}", {"description": "changed"})
        assert (name, await status_of(asked)) == (name, expected)
        inside = (await modules_of(admin, systems[name])).get("a")
        if inside:
            wanted = {"mine": 200, "theirs": 404, "mixed": 200, "open": 403}[name]
            assert await status_of(scoped.patch(f"/modules/{inside}", {"env": {"A": "1"}})) == wanted
    own = (await modules_of(scoped, systems["mine"]))["a"]
    assert await status_of(scoped.patch(f"/modules/{own}", {"placement": {"labels": {}}})) == 403
    assert await status_of(scoped.post(f"/systems/{systems['mine']}/modules", module("c", {}))) == 403
    assert await status_of(scoped.post(f"/systems/{systems['empty']}/modules", module("c", {"env": "test"}))) == 200
    for name, expected in (("open", 403), ("mixed", 403), ("theirs", 404), ("mine", 200)):
        assert (name, await status_of(scoped.delete(f"/systems/{systems[name]}"))) == (name, expected)


async def test_pushed_definitions_are_those_the_scope_sees(desk):
    admin, scoped, systems = desk
    hidden = (await modules_of(admin, systems["theirs"]))["a"]
    shown = (await modules_of(admin, systems["mine"]))["a"]
    told = ""
    async with scoped.socket("/live") as socket:
        await socket.send_json({"subscribe": ["systems", "modules"]})
        first = [(await socket.receive_json(timeout=30))["data"] for _ in range(2)]
        assert sum(len(data["items"]) for data in first) == 4 + 5
        for key in (hidden, shown):
            await admin.patch(f"/modules/{key}", {"env": {"A": "1"}})
        await admin.delete(f"/systems/{systems['theirs']}")
        await admin.delete(f"/systems/{systems['mine']}")
        while not (shown in told and f'"removed":["{systems["mine"]}"]' in told):
            told += await socket.receive_str(timeout=30)
    assert hidden not in told
    assert systems["theirs"] not in told

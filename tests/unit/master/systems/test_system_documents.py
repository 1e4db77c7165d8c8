from pathlib import Path

import msgspec
import pytest
import yaml
from jsonschema import Draft202012Validator

from ops_system.master.configs.foresight import Foresight
from ops_system.master.systems.applying import Applier, Effect, SystemApply
from ops_system.master.systems.document import read_document
from ops_system.master.systems.rules import ModulePatch, NewModule, SystemPatch
from ops_system.master.systems.schema import json_schema, schema_text
from ops_system.master.web.route import ListQuery, Permission, Principal
from ops_system.model.errors import Forbidden, Invalid, NotAllowed, NotFound
from ops_system.model.manifest import HealthOverride
from ops_system.model.systems import Placement
from tests.fakes.orchestration import ANN, open_desk

ADA = Principal("user", "usr_2", "ada", frozenset(Permission))
SHOP = """
name: shop
env: {REGION: eu}
modules:
  db: {package: web, version: "1.0"}
  web:
    package: web
    version: "1.0"
    start_order: 5
    depends_on: [db]
    ports: {http: 8080}
"""


@pytest.fixture
async def desk(tmp_path):
    async with open_desk(tmp_path) as desk:
        await desk.upload("web", env={"MODE": "release"})
        yield desk


@pytest.fixture
def applier(desk):
    made = Applier(systems=desk.systems, database=desk.database, audit=desk.audit, clock=desk.clock)
    made.foresee = Foresight(desk.nodes, desk.systems, desk.instances).of_system
    return made


async def apply(applier, text, actor=ADA, **more):
    return await applier.apply(SystemApply(text, **more), actor)


def paths(diff):
    return [f"{change.kind} {change.path}" for change in diff.changes]


async def test_a_system_comes_and_goes_as_text(desk, applier):
    made = await apply(applier, SHOP)
    assert (made.is_new, made.is_applied) == (True, True)
    name, text = await applier.export(made.system_id, ADA)
    assert name == "shop"
    assert text == made.document
    assert text.startswith("# System shop")
    again = await apply(applier, text)
    assert (again.changes, again.is_new, again.system_id) == ([], False, made.system_id)
    assert (await applier.export(made.system_id, ADA))[1] == text
    assert list(yaml.safe_load(text)["modules"]) == ["db", "web"]
    modules = {one.name: one for one in await desk.systems.list_modules(made.system_id)}
    assert modules["web"].depends_on == (modules["db"].id,)
    assert (await desk.systems.get_system(made.system_id)).env == {"REGION": "eu"}


async def test_everything_a_module_can_say_survives_the_way(desk, applier):
    system = await desk.system()
    body = NewModule(
        "web",
        "web",
        "1.0",
        replicas=2,
        placement=Placement({"zone": "a"}, spread_by="rack"),
        args=("-c", "1.10"),
        env={"TEXT": "one\ntwo: three\n", "NO": "no"},
        env_secrets={"KEY": "hush-81"},
        ports={"http": 80},
        health=HealthOverride(interval="5s"),
    )
    module = await desk.systems.create_module(system, body, ADA)
    _, text = await applier.export(system, ADA)
    assert "hush" not in text
    assert "KEY" in text
    assert (await apply(applier, text)).changes == []
    assert await desk.systems.get_module(module.id) == module


async def test_a_dry_run_tells_the_same_and_changes_nothing(desk, applier):
    tried = await apply(applier, SHOP, dry_run=True)
    assert (tried.is_applied, tried.system_id) == (False, None)
    assert (await desk.systems.list_systems(ListQuery())).total == 0
    assert paths(tried) == ["add $.modules.db", "add $.modules.web", "add $.name", "add $.env"]
    assert "placement" not in tried.document
    assert (await desk.audit.verify()).ok
    made = await apply(applier, SHOP)
    assert made.changes == tried.changes
    changed = SHOP.replace("8080", "8081").replace("  db:", "  store:").replace("[db]", "[store]")
    tried = await apply(applier, changed, dry_run=True)
    assert paths(tried) == [
        "add $.modules.store",
        "change $.modules.web.depends_on",
        "change $.modules.web.ports.http",
        "remove $.modules.db",
    ]
    assert (await apply(applier, SHOP)).changes == []


async def test_what_instances_have_to_go_through(desk, applier):
    made = await apply(applier, SHOP)
    await desk.upload("web", "2.0")
    web = next(one for one in await desk.systems.list_modules(made.system_id) if one.name == "web")
    node = desk.nodes.add("n1")
    await desk.link_up(node)
    instance, _ = await desk.instances.create(web.id, node, ANN)

    async def effect(text):
        (found,) = (await apply(applier, text, dry_run=True)).instances
        assert (found.instance_id, found.module, found.node_name) == (instance.id, "web", "n1")
        return found

    assert (await effect(SHOP)).effect is Effect.NONE
    port = await effect(SHOP.replace("8080", "8081"))
    assert (port.effect, port.fields) == (Effect.RESTART, ["service.ports"])
    assert (await effect(SHOP.replace("eu", "us"))).fields == ["service.env"]
    upgrade = SHOP.replace('version: "1.0"\n    start', 'version: "2.0"\n    start')
    assert (await effect(upgrade)).effect is Effect.ROLLOUT
    unknown = await effect(SHOP.replace("[db]", "[db]\n    args: ['${port.none}']"))
    assert [one.code for one in unknown.problems] == ["invalid"]
    with pytest.raises(NotAllowed, match="not in the document"):
        await apply(applier, "name: shop\nmodules: {db: {package: web, version: '1.0'}}")
    assert (await apply(applier, SHOP)).changes == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: [", "$: line 2, column 1: no valid YAML"),
        ("name: a\nname: b", '$: line 2, column 1: no valid YAML: the key "name" stands twice'),
        ("a: &x [1]\nb: *x", "aliases"),
        (f"a: {'[' * 40}{']' * 40}", "nested too deeply"),
        ("name: a\nmoduels: {}", '$.moduels: unknown key; did you mean "modules"?'),
        ("name: a\nmodules: {w: {package: p, version: 1.0}}", "$.modules.w.version: must be a text"),
        ("name: a\nmodules: {w: {pakage: p}}", '$.modules.w.pakage: unknown key; did you mean "package"?'),
        ("name: a\nmodules: {w: {package: p, version: x, depends_on: [v]}}", "$.modules.w.depends_on"),
        ("name: a\nschema: 2", "$.schema"),
        ("name: a\nenv: {1: x}", "a key must be a text"),
        ("[]", "$: must be an object"),
        ("", "$: must be an object"),
    ],
)
def test_what_is_no_document_is_refused_with_its_place(text, problem):
    with pytest.raises(Invalid) as caught:
        read_document(text)
    assert problem in caught.value.message


async def test_every_fault_of_every_module_is_told_and_nothing_written(desk, applier):
    bad = """
name: shop
env: {"9": x}
modules:
  a: {package: web, version: "9.0", depends_on: [b]}
  b: {package: web, version: "1.0", depends_on: [a], ports: {http: 99999}}
"""
    with pytest.raises(Invalid) as caught:
        await apply(applier, bad)
    found = caught.value.details["problems"]
    assert any(one.startswith("$.env.9:") for one in found)
    assert any(one.startswith("$.modules.a.depends_on: a circle") for one in found)
    assert any(one.startswith("$.modules.b.depends_on: a circle") for one in found)
    assert (await desk.systems.list_systems(ListQuery())).total == 0


async def test_secrets_are_named_and_their_values_come_beside(desk, applier):
    text = 'name: shop\nenv_secrets: [TOKEN]\nmodules: {web: {package: web, version: "1.0", env_secrets: [KEY]}}'
    assert (await apply(applier, text, dry_run=True)).missing_secrets == ["TOKEN", "web.KEY"]
    with pytest.raises(NotAllowed) as caught:
        await apply(applier, text)
    assert caught.value.details["missing"] == ["TOKEN", "web.KEY"]
    values = {"": {"TOKEN": "t-81"}, "web": {"KEY": "k-81"}}
    with pytest.raises(Forbidden):
        await apply(applier, text, ANN, secrets=values)
    with pytest.raises(Invalid, match="no such secret"):
        await apply(applier, text, secrets=values | {"db": {"KEY": "x"}})
    made = await apply(applier, text, secrets=values)
    (module,) = await desk.systems.list_modules(made.system_id)
    assert desk.systems.secrets.values(module.id, ["KEY"]) == {"KEY": "k-81"}
    assert (await apply(applier, text, ANN)).changes == []
    without = text.replace("env_secrets: [TOKEN]\n", "").replace(", env_secrets: [KEY]", "")
    with pytest.raises(Forbidden):
        await apply(applier, without, ANN)
    await apply(applier, without)
    assert desk.systems.secrets.values(module.id, ["KEY"]) == {}
    assert (await desk.systems.get_system(made.system_id)).env_secrets == ()


async def test_what_was_taken_over_is_no_part_of_the_document(desk, applier):
    made = await apply(applier, SHOP)
    async with desk.database.transaction() as tx:
        await desk.systems.find_or_add_external(tx, made.system_id, "nginx", ANN)
    assert "nginx" not in (await applier.export(made.system_id, ADA))[1]
    assert (await apply(applier, SHOP)).changes == []
    assert len(await desk.systems.list_modules(made.system_id)) == 3


async def test_a_scope_applies_what_lies_within_it_alone(desk, applier):
    scoped = msgspec.structs.replace(ADA, scope={"env": "test"})
    with pytest.raises(Forbidden):
        await apply(applier, SHOP, scoped)
    inside = 'name: lab\nmodules: {web: {package: web, version: "1.0", placement: {labels: {env: test}}}}'
    made = await apply(applier, inside, scoped)
    await apply(applier, SHOP)
    with pytest.raises(Forbidden):
        await apply(applier, SHOP.replace("eu", "us"), scoped)
    with pytest.raises(NotFound):
        await applier.export(made.system_id, msgspec.structs.replace(ADA, scope={"env": "live"}))


async def test_an_environment_goes_down_and_the_nearest_wins(desk):
    system = await desk.system()
    patch = SystemPatch(env={"MODE": "shop", "REGION": "eu"}, env_secrets={"TOKEN": "t-82", "KEY": "s-82"})
    await desk.systems.patch_system(system, patch, ADA)
    module = await desk.systems.create_module(
        system, NewModule("web", "web", "1.0", env={"REGION": "us"}, env_secrets={"KEY": "m-82"}), ADA
    )
    values = {one.name: one for one in await desk.systems.layers.environment(module)}
    assert {name: (one.value, one.origin) for name, one in values.items()} == {
        "KEY": (None, "module"),
        "MODE": ("shop", "system"),
        "REGION": ("us", "module"),
        "TOKEN": (None, "system"),
    }
    assert (values["MODE"].hides, values["KEY"].hides) == (["package"], ["system"])
    node = desk.nodes.add("n1")
    await desk.link_up(node)
    instance, _ = await desk.instances.create(module.id, node, ANN)
    env = desk.links.wishes(instance.id)[-1].service.env
    assert env == {"KEY": "m-82", "MODE": "shop", "REGION": "us", "TOKEN": "t-82"}
    fresh = desk.restart()
    await fresh.systems.load()
    await fresh.link_up(node)
    assert fresh.links.wishes(instance.id)[-1].service.env == env
    await desk.systems.patch_module(module.id, ModulePatch(env_secrets={"KEY": None}), ADA)
    assert {
        one.name: one.origin for one in await desk.systems.layers.environment(await desk.systems.get_module(module.id))
    }["KEY"] == "system"


async def test_the_published_schema_is_the_code_s_and_takes_what_is_exported(desk, applier):
    stands = (Path(__file__).parents[4] / "docs" / "system.schema.json").read_text(encoding="utf-8")
    assert stands == schema_text(), "stale: run python -m ops_system.master.systems.schema docs/system.schema.json"
    checker = Draft202012Validator(json_schema())
    made = await apply(applier, SHOP)
    assert list(checker.iter_errors(yaml.safe_load(made.document))) == []
    assert list(checker.iter_errors({"name": "x", "modules": {"w": {"package": "p"}}}))

import asyncio
import contextlib

import pytest

from ops_system.master.configs.driver import Driver
from ops_system.master.configs.foresight import Foresight
from ops_system.master.configs.rules import ConfigApply, ConfigLook, How, PreviewBody
from ops_system.master.configs.service import MASK, Configs
from ops_system.master.configs.values import EnvironmentPatch, Values, VariablesPatch
from ops_system.master.instances.rules import Action
from ops_system.master.systems.rules import ModulePatch, NewModule
from ops_system.master.templates.rules import NewTemplate, NewVersion, Rollback, TemplatePatch
from ops_system.master.web.route import ListQuery, Permission, Principal
from ops_system.model.errors import Conflict, Forbidden, Invalid, NotAllowed, NotFound
from ops_system.model.formats import Format
from ops_system.model.operations import OperationState
from ops_system.model.systems import ConfigMount
from ops_system.protocol.requests import Reloaded
from ops_system.runtime.tasks import running
from tests.fakes.orchestration import ANN, driven, open_desk

ADA = Principal("user", "usr_2", "ada", frozenset(Permission))
TEXT = "port: ${port.http}\nregion: ${var.REGION}\nkey: ${secret.KEY}\nprice: $$5\n"


class FakeWorkers:
    """Answers `instances.reconfigure`; `say` is what comes next."""

    def __init__(self):
        self.asked = []
        self.say = [Reloaded(0, "", 0.1)]

    async def request(self, node_id, kind, body, _reply_type, _timeout_s=10.0):
        self.asked.append((node_id, kind, body))
        answer = self.say.pop(0) if len(self.say) > 1 else self.say[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Centre:
    """A desk with the config centre on it."""

    def __init__(self, desk):
        self.desk, self.workers = desk, FakeWorkers()
        common = {"database": desk.database, "systems": desk.systems, "instances": desk.instances}
        foresight = Foresight(desk.nodes, desk.systems, desk.instances)
        more = {"operations": desk.operations, "foresight": foresight}
        self.driver = Driver(links=self.workers, bus=desk.bus, **common, **more)
        self.values = Values(audit=desk.audit, **common)
        self.configs = Configs(
            nodes=desk.nodes, templates=desk.templates, driver=self.driver, audit=desk.audit, **common, **more
        )

    async def template(self, content=TEXT, kind=Format.YAML, name="web.yaml", *, approve=True):
        return await self.desk.templates.create(NewTemplate(name, kind, content, approve=approve), ADA)

    async def set(self, owner="global", values=None, secrets=None):
        return await self.values.patch_variables(VariablesPatch(owner, values or {}, secrets or {}), ADA)

    async def deploy(self, *nodes, **fields):
        """Deploy module `web`, which mounts the template, to fresh nodes; return the instances' ids by node name."""
        self.system = await self.desk.system()
        mounts = fields.pop("config_mounts", (ConfigMount("conf/web.yaml", template="web.yaml"),))
        body = NewModule("web", "web", "1.0", config_mounts=mounts, **fields)
        self.module = await self.desk.systems.create_module(self.system, body, ADA)
        found = {}
        for name in nodes:
            node = self.desk.nodes.add(name, ip="10.0.0.9")
            await self.desk.link_up(node)
            instance, _ = await self.desk.instances.create(self.module.id, node, ANN)
            await self.desk.obey(node, instance.id)
            found[name] = instance.id
        return found

    def sent(self, instance):
        return self.desk.links.wishes(instance)[-1]

    @contextlib.asynccontextmanager
    async def at_work(self):
        async with driven(self.desk), running(self.driver.run(), "configuration"):
            yield


@pytest.fixture
async def centre(tmp_path):
    async with open_desk(tmp_path) as desk:
        made = Centre(desk)
        await desk.upload("web", ports={"http": 8080}, hooks={"reload": ["true"]})
        await made.set(values={"REGION": "eu"}, secrets={"KEY": "k$81"})
        yield made


# --- templates -------------------------------------------------------------------------------------------------------
async def test_versions_are_drafts_until_approved_and_old_ones_come_back_as_new(centre):
    templates = centre.desk.templates
    made = await centre.template("a: 1\n", approve=False)
    assert (made.version, made.approved_version) == (1, None)
    made = await templates.approve(made.id, 1, ADA)
    made = await templates.add_version(made.id, NewVersion("a: 2\n", base=1, note="two"), ADA)
    assert (made.version, made.approved_version) == (2, 1)
    with pytest.raises(Conflict, match="version 2 was saved by ada"):
        await templates.add_version(made.id, NewVersion("a: 3\n", base=1), ADA)
    assert "+a: 2" in (await templates.diff(made.id, 1, 2)).diff.split("\n")
    await templates.approve(made.id, 2, ADA)
    with pytest.raises(NotAllowed, match="roll back"):
        await templates.approve(made.id, 1, ADA)
    made = await templates.roll_back(made.id, Rollback(1), ADA)
    assert (made.version, made.approved_version) == (3, 3)
    page = await templates.list_versions(made.id, ListQuery())
    assert [(one.version, one.content, one.note) for one in page.items] == [
        (3, "a: 1\n", "back to version 1"),
        (2, "a: 2\n", "two"),
        (1, "a: 1\n", ""),
    ]
    assert (await templates.patch(made.id, TemplatePatch("for web"), ADA)).description == "for web"
    assert (await templates.list_page(ListQuery(q="for we"))).total == 1
    await templates.delete(made.id, ADA)
    with pytest.raises(NotFound):
        await templates.get(made.id)


@pytest.mark.parametrize(
    ("kind", "content", "problem"),
    [
        (Format.YAML, "a: 1\nb: [\n", "$.content: line 3, column 1: no valid YAML"),
        (Format.JSON, '{"port": ${port.http},}', "$.content: line 1, column 23: no valid JSON"),
        (Format.YAML, "a: ${nod.ip}", "unknown placeholder ${nod.ip}"),
        (Format.TEXT, "a: ${open", "unclosed placeholder"),
        (Format.TEXT, "\0", "contains NUL"),
    ],
)
async def test_what_cannot_be_saved_is_refused_with_its_place(centre, kind, content, problem):
    with pytest.raises(Invalid) as caught:
        await centre.template(content, kind)
    assert any(problem in one for one in caught.value.details["problems"])
    assert (await centre.desk.templates.list_page(ListQuery())).total == 0


async def test_a_template_in_use_stays_and_one_that_is_not_there_is_not_mounted(centre):
    made = await centre.template()
    await centre.deploy()
    with pytest.raises(NotAllowed, match="shop/web"):
        await centre.desk.templates.delete(made.id, ADA)
    assert (await centre.desk.templates.get(made.id)).used_by == ["shop/web"]
    for mount in (ConfigMount("x", template="none"), ConfigMount("x", template="web.yaml", template_version=9)):
        with pytest.raises(Invalid, match=r"\$.config_mounts\[0\].template"):
            await centre.desk.systems.patch_module(centre.module.id, ModulePatch(config_mounts=(mount,)), ADA)
    await centre.template("a: 1", name="draft", approve=False)
    with pytest.raises(Invalid, match="no approved version"):
        await centre.desk.systems.patch_module(
            centre.module.id, ModulePatch(config_mounts=(ConfigMount("x", template="draft"),)), ADA
        )


async def test_a_scope_may_look_and_not_write(centre):
    made = await centre.template()
    scoped = Principal("user", "usr_3", "eve", frozenset(Permission), scope={"zone": "a"})
    for act in (
        centre.desk.templates.add_version(made.id, NewVersion("a: 1"), scoped),
        centre.desk.templates.delete(made.id, scoped),
        centre.values.patch_variables(VariablesPatch("global", {"A": "1"}), scoped),
    ):
        with pytest.raises(Forbidden):
            await act
    assert len(await centre.values.list_variables("global", scoped)) == 2


# --- what instances get ----------------------------------------------------------------------------------------------
async def test_variables_go_down_and_secrets_only_to_the_worker(centre):
    await centre.template()
    ids = await centre.deploy("n1")
    (file,) = centre.sent(ids["n1"]).config_files
    assert file.content == "port: ${port.http}\nregion: eu\nkey: k$$81\nprice: $$5\n"
    assert file.format is Format.YAML
    stored = await centre.desk.instances.find_record(centre.desk.database, ids["n1"])
    assert "${secret.KEY}" in stored.spec.config_files[0].content
    await centre.set(centre.module.id, {"REGION": "us"}, {"KEY": "m-81"})
    await centre.set(ids["n1"], {"REGION": "moon"})
    given = await centre.values.of_instance(ids["n1"], ADA)
    assert {one.name: (one.value, one.origin, one.hides) for one in given.variables} == {
        "KEY": (None, "module", ["global"]),
        "REGION": ("moon", "instance", ["global", "module"]),
    }
    await centre.set(ids["n1"], {"REGION": None})
    given = await centre.values.of_instance(ids["n1"], ADA)
    assert next(one for one in given.variables if one.name == "REGION").value == "us"


async def test_an_instance_has_an_environment_of_its_own(centre):
    await centre.template()
    ids = await centre.deploy("n1", env={"MODE": "all"})
    patch = EnvironmentPatch({"MODE": "one"}, {"TOKEN": "t-83"})
    given = await centre.values.patch_instance(ids["n1"], patch, ADA)
    assert {one.name: (one.value, one.origin) for one in given.env} == {
        "MODE": ("one", "instance"),
        "TOKEN": (None, "instance"),
    }
    await centre.desk.instances.act(ids["n1"], Action.RESTART, ANN)
    assert centre.sent(ids["n1"]).service.env == {"MODE": "one", "TOKEN": "t-83"}
    with pytest.raises(Forbidden):
        await centre.values.patch_instance(ids["n1"], EnvironmentPatch({}, {"TOKEN": None}), ANN)
    for bad in (
        EnvironmentPatch({"9": "x"}),
        EnvironmentPatch({"A": "${x}"}),
        EnvironmentPatch({"A": "1"}, {"A": "2"}),
    ):
        with pytest.raises(Invalid):
            await centre.values.patch_instance(ids["n1"], bad, ADA)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: ${var.REGON}", "did you mean REGION"),
        ("a: ${var.KEY}", r"write \${secret.KEY}"),
        ("a: ${secret.REGION}", r"write \${var.REGION}"),
        ("a: ${env.NONE}", r"unknown placeholder \${env.NONE}"),
    ],
)
async def test_a_value_that_is_not_there_refuses_the_deploy(centre, text, why):
    await centre.template(text)
    with pytest.raises(Invalid, match=why):
        await centre.deploy("n1")


async def test_what_renders_to_no_yaml_is_refused_with_its_place_and_nothing_changes(centre):
    made = await centre.template()
    ids = await centre.deploy("n1")
    await centre.set(values={"REGION": 'eu: [ "'})
    plan = await centre.configs.plan(ConfigLook(template_id=made.id), ADA)
    (problem,) = plan.items[0].problems
    assert "conf/web.yaml: as rendered for n1, line 2, column 11: no valid YAML" in problem.message
    with pytest.raises(NotAllowed, match="line 2, column 11"):
        await centre.configs.apply(ConfigApply(template_id=made.id), ADA)
    assert len(centre.desk.links.wishes(ids["n1"])) == 1
    await centre.set(secrets={"KEY": "hush: [ "})
    await centre.set(values={"REGION": "eu"})
    with pytest.raises(NotAllowed, match="line 3") as caught:
        await centre.configs.apply(ConfigApply(template_id=made.id), ADA)
    assert "hush" not in caught.value.message


async def test_a_preview_is_what_the_worker_writes_with_secrets_masked(centre):
    made = await centre.template()
    ids = await centre.deploy("n1", env_secrets={"TOKEN": "t-84"})
    body = PreviewBody(ids["n1"], content="ip: ${node.ip} ${env.TOKEN}\n" + TEXT)
    found = await centre.configs.preview(made.id, body, ADA)
    assert found.content == f"ip: 10.0.0.9 {MASK}\nport: 8080\nregion: eu\nkey: {MASK}\nprice: $5\n"
    assert (found.fault, sorted(found.masked)) == (None, ["env.TOKEN", "secret.KEY"])
    bad = await centre.configs.preview(made.id, PreviewBody(ids["n1"], content="a: [\n"), ADA)
    assert (bad.fault.line, bad.fault.column) == (2, 1)


# --- bringing changes ------------------------------------------------------------------------------------------------
async def test_a_plan_tells_what_a_text_would_reach_and_writes_nothing(centre):
    made = await centre.template()
    ids = await centre.deploy("n1", "n2")
    await centre.desk.instances.act(ids["n2"], Action.STOP, ANN)
    plan = await centre.configs.plan(ConfigLook(template_id=made.id, content=TEXT + "more: 1\n"), ADA)
    assert [(one.node_name, one.how) for one in plan.items] == [("n1", How.RELOAD), ("n2", How.AT_START)]
    assert "+more: 1" in plan.items[0].files[0].diff
    assert (plan.reloads, plan.restarts, plan.unchanged) == (1, 0, 0)
    assert (await centre.desk.templates.get(made.id)).version == 1
    assert (await centre.configs.plan(ConfigLook(system_id=centre.system), ADA)).unchanged == 2
    with pytest.raises(NotAllowed, match="what runs is so already"):
        await centre.configs.apply(ConfigApply(module_id=centre.module.id), ADA)
    with pytest.raises(Invalid, match="exactly one"):
        await centre.configs.plan(ConfigLook(), ADA)


async def test_files_alone_come_by_the_reload_command_one_after_the_other(centre):
    made = await centre.template()
    ids = await centre.deploy("n1", "n2")
    await centre.desk.templates.add_version(made.id, NewVersion(TEXT + "more: 1\n"), ADA)
    centre.workers.say = [Conflict("not yet"), Reloaded(0, "", 0.1)]
    async with centre.at_work():
        operation = await centre.configs.apply(ConfigApply(template_id=made.id, version=2), ADA)
        ended = await centre.desk.ended(operation.id)
    assert ended.state is OperationState.SUCCEEDED
    assert [(node, kind) for node, kind, _ in centre.workers.asked] == [
        ("node_n1", "instances.reconfigure"),
        ("node_n1", "instances.reconfigure"),
        ("node_n2", "instances.reconfigure"),
    ]
    for name in ids:
        wish = centre.sent(ids[name])
        assert (wish.generation, wish.restart_seq) == (2, 0)
        assert wish.config_files[0].content.endswith("more: 1\n")
        assert "k$$81" in wish.config_files[0].content


async def test_a_failed_reload_ends_it_and_a_retry_does_the_rest(centre):
    made = await centre.template()
    await centre.deploy("n1", "n2")
    centre.workers.say = [Reloaded(1, "bad option\n", 0.1)]
    await centre.desk.templates.add_version(made.id, NewVersion("a: 1\n", approve=True), ADA)
    async with centre.at_work():
        operation = await centre.configs.apply(ConfigApply(template_id=made.id), ADA)
        ended = await centre.desk.ended(operation.id)
        assert [(one.state, one.reason.code) for one in ended.targets] == [
            (OperationState.FAILED, "reload_failed"),
            (OperationState.CANCELLED, "earlier_failed"),
        ]
        assert "bad option" in ended.targets[0].reason.message
        centre.workers.say = [Reloaded(0, "", 0.1)]
        again = await centre.desk.operations.retry(operation.id, ADA)
        ended = await centre.desk.ended(again.id)
    assert ended.state is OperationState.SUCCEEDED


async def test_without_a_reload_command_it_is_a_restart_that_is_proven(centre):
    await centre.desk.upload("plain", ports={"http": 81})
    made = await centre.template()
    system = await centre.desk.system()
    mounts = (ConfigMount("web.yaml", template="web.yaml"),)
    body = NewModule("plain", "plain", "1.0", config_mounts=mounts)
    module = await centre.desk.systems.create_module(system, body, ADA)
    node = centre.desk.nodes.add("n1")
    await centre.desk.link_up(node)
    instance, _ = await centre.desk.instances.create(module.id, node, ANN)
    await centre.desk.obey(node, instance.id)
    await centre.set(values={"REGION": "us"})
    async with centre.at_work():
        plan = await centre.configs.plan(ConfigLook(instance_id=instance.id), ADA)
        assert [one.how for one in plan.items] == [How.RESTART]
        operation = await centre.configs.apply(ConfigApply(instance_id=instance.id), ADA)
        await centre.desk.until(lambda: _restarted(centre, instance.id))
        await centre.desk.obey(node, instance.id)
        ended = await centre.desk.ended(operation.id)
    assert ended.state is OperationState.SUCCEEDED
    assert "region: us" in centre.sent(instance.id).config_files[0].content
    assert (await centre.desk.templates.get(made.id)).approved_version == 1


async def _restarted(centre, instance):
    return centre.sent(instance).restart_seq == 1


async def test_a_master_that_was_killed_asks_again(centre):
    made = await centre.template()
    await centre.deploy("n1")
    await centre.desk.templates.add_version(made.id, NewVersion("a: 1\n", approve=True), ADA)
    held = asyncio.Event()

    async def hold(*_args):
        held.set()
        await asyncio.Event().wait()

    centre.workers.request = hold
    async with centre.at_work():
        operation = await centre.configs.apply(ConfigApply(template_id=made.id), ADA)
        async with asyncio.timeout(30):
            await held.wait()
    fresh = Centre(centre.desk.restart())
    await fresh.desk.systems.load()
    async with fresh.at_work():
        ended = await fresh.desk.ended(operation.id)
    assert ended.state is OperationState.SUCCEEDED
    assert len(fresh.workers.asked) == 1


async def test_what_waits_can_be_cancelled_and_another_version_waits_for_its_rollout(centre):
    made = await centre.template()
    ids = await centre.deploy("n1", "n2")
    await centre.desk.templates.add_version(made.id, NewVersion("a: 1\n", approve=True), ADA)
    operation = await centre.configs.apply(ConfigApply(template_id=made.id), ADA)
    cancelled = await centre.desk.operations.cancel(operation.id, ADA)
    assert cancelled.state is OperationState.CANCELLED
    assert centre.workers.asked == []
    await centre.desk.upload("web", "2.0", ports={"http": 8080})
    await centre.desk.systems.patch_module(centre.module.id, ModulePatch(version="2.0"), ADA)
    with pytest.raises(NotAllowed, match="2 instances wait for a rollout"):
        await centre.configs.apply(ConfigApply(template_id=made.id), ADA)
    assert len(centre.desk.links.wishes(ids["n1"])) == 1

import contextlib
import sqlite3

import msgspec
import pytest

from ops_system.master.audit.rules import AuditQuery
from ops_system.master.instances.rules import Action
from ops_system.master.systems import store
from ops_system.master.systems.rules import MAX_SECRET_BYTES, MAX_SECRETS, ModulePatch, NewModule
from ops_system.master.web.route import Permission, Principal
from ops_system.model.errors import Forbidden, Invalid, Unavailable
from ops_system.model.placeholders import expand
from tests.fakes.orchestration import ANN, open_desk

ADA = Principal("user", "usr_2", "ada", frozenset(Permission))
VALUE = "pa$$w${rd}-81\nsecond line"


@pytest.fixture
async def desk(tmp_path):
    async with open_desk(tmp_path) as desk:
        yield desk


async def add(desk, **fields):
    """Define a module with a secret; return it."""
    await desk.upload("web")
    body = NewModule(
        **({"name": "web", "package": "web", "version": "1.0", "env_secrets": {"DB_PASSWORD": VALUE}} | fields)
    )
    return await desk.systems.create_module(await desk.system(), body, ADA)


async def deploy(desk, module, name="n1"):
    node = desk.nodes.add(name)
    await desk.link_up(node)
    instance, _ = await desk.instances.create(module.id, node, ANN)
    return node, instance.id


async def patch(desk, module, **fields):
    return await desk.systems.patch_module(module.id, ModulePatch(**fields), ADA)


def stored(desk):
    with contextlib.closing(sqlite3.connect(desk.folder.database)) as connection:
        return "\n".join(connection.iterdump())


async def test_a_secret_is_known_by_its_name_only(desk):
    module = await add(desk)
    assert module.env_secrets == ("DB_PASSWORD",)
    assert (await desk.systems.get_module(module.id)).env_secrets == ("DB_PASSWORD",)
    assert "81" not in msgspec.json.encode(module).decode()
    await deploy(desk, module)
    audit = repr((await desk.audit.list_page(AuditQuery())).items)
    assert "rd}-81" not in stored(desk) + audit
    sealed = await store.find_sealed(desk.database, module.id)
    assert [b"rd}-81" in value for value in sealed.values()] == [False]
    assert "DB_PASSWORD" in audit


async def test_a_patch_sets_replaces_and_removes_single_secrets(desk):
    module = await add(desk)
    module = await patch(desk, module, env_secrets={"API_KEY": "k-82"})
    assert module.env_secrets == ("API_KEY", "DB_PASSWORD")
    module = await patch(desk, module, env_secrets={"API_KEY": "k-83", "DB_PASSWORD": None, "NONE": None})
    assert module.env_secrets == ("API_KEY",)
    module = await patch(desk, module, env={"MODE": "x"})
    assert desk.systems.secrets.values(module.id, ["API_KEY", "DB_PASSWORD"]) == {"API_KEY": "k-83"}


async def test_the_worker_is_sent_what_nobody_else_sees(desk):
    node, instance = await deploy(desk, await add(desk))
    wish = desk.links.wishes(instance)[-1]
    assert expand(wish.service.env["DB_PASSWORD"], {}) == VALUE  # as the worker does: no placeholder of it is expanded
    assert wish.secret_env == ("DB_PASSWORD",)
    assert "rd}-81" not in repr(wish)
    kept = await desk.instances.find_record(desk.database, instance)
    assert kept.spec.service.env["DB_PASSWORD"] == ""
    await desk.obey(node, instance)
    await desk.instances.destroy(instance, ANN, may_stop=True, is_forced=False)
    assert desk.links.wishes(instance)[-1].service.env["DB_PASSWORD"] == ""


async def test_a_new_value_comes_with_the_next_start_and_after_a_restart_of_the_master(desk):
    module = await add(desk)
    node, instance = await deploy(desk, module)
    await desk.obey(node, instance)
    await patch(desk, module, env_secrets={"DB_PASSWORD": "k-82", "MORE": "k-83"})
    await desk.instances.act(instance, Action.RESTART, ANN)
    env = desk.links.wishes(instance)[-1].service.env
    assert (env["DB_PASSWORD"], env["MORE"]) == ("k-82", "k-83")
    fresh = desk.restart()
    await fresh.systems.load()
    await fresh.link_up(node)
    assert fresh.links.wishes(instance)[-1].service.env["DB_PASSWORD"] == "k-82"


async def test_arguments_and_files_may_refer_to_a_secret(desk):
    module = await add(desk, args=("--password", "${env.DB_PASSWORD}"))
    await deploy(desk, module)
    with pytest.raises(Invalid, match="OTHER"):
        await deploy(desk, await patch(desk, module, args=("${env.OTHER}",)), "n2")


async def test_a_wish_whose_secret_cannot_be_read_is_not_sent(desk, caplog):
    module = await add(desk)

    def broken(_sealed):
        raise Unavailable("a stored secret cannot be read")

    desk.systems.secrets._sealer.unseal = broken
    _, instance = await deploy(desk, module)
    assert desk.links.wishes(instance) == []
    assert "is not sent" in caplog.text


async def test_secrets_want_their_grant(desk):
    module = await add(desk)
    body = NewModule("two", "web", "1.0", env_secrets={"A": "b"})
    for act in (
        desk.systems.create_module(module.system_id, body, ANN),
        desk.systems.patch_module(module.id, ModulePatch(env_secrets={"DB_PASSWORD": None}), ANN),
    ):
        with pytest.raises(Forbidden) as caught:
            await act
        assert caught.value.details["permission"] == "secrets"
    await desk.systems.patch_module(module.id, ModulePatch(env={"MODE": "x"}), ANN)


async def test_secrets_go_with_their_module(desk):
    module = await add(desk)
    await desk.systems.delete_module(module.id, ADA)
    assert desk.systems.secrets.values(module.id, ["DB_PASSWORD"]) == {}


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"env_secrets": {"9": "x"}}, "$.env_secrets.9"),
        ({"env_secrets": {"OPS_INSTANCE": "x"}}, "$.env_secrets.OPS_INSTANCE"),
        ({"env_secrets": {"A": "x"}, "env": {"A": "y"}}, "$.env_secrets.A"),
        ({"env_secrets": {"A": "hush-81\0"}}, "$.env_secrets.A"),
        ({"env_secrets": {"A": "é" * MAX_SECRET_BYTES}}, "$.env_secrets.A"),
        ({"env_secrets": {f"A{number}": "x" for number in range(MAX_SECRETS + 1)}}, "$.env_secrets"),
    ],
)
async def test_every_fault_is_named_and_no_value_repeated(desk, fields, where):
    with pytest.raises(Invalid) as caught:
        await add(desk, **fields)
    assert [problem.partition(": ")[0] for problem in caught.value.details["problems"]] == [where]
    assert "hush-81" not in str(caught.value)

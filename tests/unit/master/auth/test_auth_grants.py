"""Grants and scopes of users: who has them, who may give them, and what a change ends."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from ops_system.master.auth.rules import GRANTS, check_reach, permissions_of, user_permissions
from ops_system.master.auth.views import TokenCreate, UserChange, UserCreate
from ops_system.master.web.route import Permission, Principal, Role
from ops_system.model.errors import Forbidden, Invalid
from tests.fakes.accounts import PASSWORD, ROOT, World, open_world

SCOPE = {"env": "test"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as made:
        yield made


def test_an_administrator_has_every_grant_an_operator_those_given_a_viewer_none() -> None:
    assert user_permissions(Role.ADMIN) >= GRANTS
    assert user_permissions(Role.OPERATOR) & GRANTS == set()
    assert user_permissions(Role.OPERATOR, [Permission.EXEC]) & GRANTS == {Permission.EXEC}
    assert permissions_of(Role.VIEWER, GRANTS) & GRANTS == set()


async def test_an_operator_gets_grants_and_scope_and_loses_them_with_the_role(world: World) -> None:
    accounts = world.auth.accounts
    made = await accounts.create(UserCreate("bob", PASSWORD, Role.OPERATOR, (Permission.EXEC,), SCOPE), ROOT)
    assert (made.grants, made.scope) == ([Permission.EXEC], SCOPE)
    who = await world.who(session=(await world.log_in("bob")).secret)
    assert (Permission.EXEC in who.permissions, Permission.TERMINAL in who.permissions) == (True, False)
    assert who.scope == SCOPE
    changed = await accounts.change(made.id, UserChange(role=Role.VIEWER), ROOT)
    assert (changed.grants, changed.scope) == ([], SCOPE)
    again = await accounts.change(made.id, UserChange(role=Role.OPERATOR), ROOT)
    assert again.grants == []


@pytest.mark.parametrize("change", [UserChange(grants=(Permission.EXEC,)), UserChange(scope=SCOPE)])
async def test_new_grants_or_a_new_scope_end_the_sessions(world: World, change: UserChange) -> None:
    made = await world.auth.accounts.create(UserCreate("bob", PASSWORD, Role.OPERATOR), ROOT)
    opened = await world.log_in("bob")
    await world.auth.accounts.change(made.id, change, ROOT)
    assert (await world.who(session=opened.secret)).kind == "anonymous"


async def test_a_change_that_changes_nothing_ends_no_session(world: World) -> None:
    made = await world.auth.accounts.create(UserCreate("bob", PASSWORD, Role.OPERATOR), ROOT)
    opened = await world.log_in("bob")
    await world.auth.accounts.change(made.id, UserChange(role=Role.OPERATOR, grants=(), scope={}), ROOT)
    assert (await world.who(session=opened.secret)).kind == "user"


@pytest.mark.parametrize(
    "body",
    [
        UserCreate("bob", PASSWORD, Role.VIEWER, (Permission.EXEC,)),
        UserCreate("bob", PASSWORD, Role.OPERATOR, (Permission.ADMIN,)),
        UserCreate("bob", PASSWORD, Role.OPERATOR, scope={"a b": "c"}),
        UserCreate("bob", PASSWORD, Role.REGIONAL),
    ],
)
async def test_grants_that_make_no_sense_are_refused(world: World, body: UserCreate) -> None:
    with pytest.raises(Invalid):
        await world.auth.accounts.create(body, ROOT)
    made = await world.auth.accounts.create(UserCreate("eve", PASSWORD), ROOT)
    change = UserChange(role=body.role, grants=body.grants, scope=body.scope)
    with pytest.raises(Invalid):
        await world.auth.accounts.change(made.id, change, ROOT)


def test_nobody_hands_out_what_they_lack() -> None:
    actor = Principal("token", "t", "ci", permissions_of(Role.ADMIN, [Permission.EXEC]), Role.ADMIN, scope=SCOPE)
    check_reach(actor, permissions_of(Role.OPERATOR, [Permission.EXEC]), SCOPE | {"rack": "r1"})
    with pytest.raises(Forbidden, match="terminal"):
        check_reach(actor, permissions_of(Role.OPERATOR, [Permission.TERMINAL]), SCOPE)
    for scope in ({}, {"env": "live"}):
        with pytest.raises(Forbidden, match="scope"):
            check_reach(actor, permissions_of(Role.VIEWER), scope)


async def test_a_token_makes_nobody_stronger_than_itself(world: World) -> None:
    admin_id = await world.user("ada")
    boss = msgspec.structs.replace(ROOT, kind="user")
    made = await world.auth.tokens.create(TokenCreate("ci", Role.ADMIN), boss)
    actor = await world.who(bearer=made.token)
    with pytest.raises(Forbidden):
        await world.auth.tokens.create(TokenCreate("more", Role.OPERATOR, grants=(Permission.EXEC,)), actor)
    with pytest.raises(Forbidden):
        await world.auth.accounts.create(UserCreate("eve", PASSWORD, Role.ADMIN), actor)
    with pytest.raises(Forbidden):
        await world.auth.accounts.change(admin_id, UserChange(password="a password it knows"), actor)
    await world.auth.accounts.create(UserCreate("bob", PASSWORD, Role.OPERATOR), actor)

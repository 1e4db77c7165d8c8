"""Credentials are asked for once a second, and at once after every change made here."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops_system.master.auth import store
from ops_system.master.auth.recent import KEEP_S, Recent
from ops_system.master.auth.views import ProofBody, TokenCreate, UserChange, UserCreate
from ops_system.master.web.route import Role
from tests.fakes.accounts import HERE, PASSWORD, ROOT, World, open_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as made:
        yield made


def test_a_row_is_kept_for_a_second() -> None:
    now = [100.0]
    recent = Recent[str](lambda: now[0])
    recent.put(b"k", "row", recent.generation)
    assert recent.get(b"k") == "row"
    now[0] += KEEP_S
    assert recent.get(b"k") is None


def test_a_row_read_before_a_change_is_not_kept() -> None:
    recent = Recent[str](lambda: 0.0)
    generation = recent.generation
    recent.forget()
    recent.put(b"k", "old", generation)
    assert recent.get(b"k") is None


async def test_many_requests_ask_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.user()
    opened = await world.log_in()
    asked, real = [], store.find_session_by_secret

    async def find(db: object, key: bytes) -> store.Session | None:
        asked.append(key)
        return await real(db, key)

    monkeypatch.setattr(store, "find_session_by_secret", find)
    for _ in range(20):
        assert (await world.who(session=opened.secret)).name == "ada"
    assert len(asked) == 1


async def test_every_change_is_seen_by_the_next_request(world: World) -> None:
    await world.user()
    user = await world.auth.accounts.create(UserCreate("bob", PASSWORD, Role.OPERATOR), ROOT)
    opened = await world.log_in("bob")
    principal = await world.who(session=opened.secret)
    await world.auth.accounts.change(user.id, UserChange(username="robert"), ROOT)
    assert (await world.who(session=opened.secret)).name == "robert"
    world.clock.jump(601)
    assert not world.auth.has_step_up(principal)
    await world.auth.accounts.step_up(await world.who(session=opened.secret), ProofBody(PASSWORD), HERE.client_ip)
    assert world.auth.has_step_up(await world.who(session=opened.secret))
    await world.auth.accounts.change(user.id, UserChange(role=Role.VIEWER), ROOT)
    assert (await world.who(session=opened.secret)).kind == "anonymous"
    made = await world.auth.tokens.create(TokenCreate("ci"), ROOT)
    assert (await world.who(bearer=made.token)).kind == "token"
    await world.auth.tokens.delete(made.id, ROOT)
    assert (await world.who(bearer=made.token)).kind == "anonymous"


async def test_a_request_beside_a_revocation_leaves_nothing_behind(world: World) -> None:
    made = await world.auth.tokens.create(TokenCreate("ci"), ROOT)
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(world.who(bearer=made.token))
        group.create_task(world.auth.tokens.delete(made.id, ROOT))
        for _ in range(20):
            group.create_task(world.who(bearer=made.token))
    assert (await world.who(bearer=made.token)).kind == "anonymous"


async def test_limits_of_time_are_those_of_now(world: World) -> None:
    made = await world.auth.tokens.create(TokenCreate("ci", ttl="1h"), ROOT)
    assert (await world.who(bearer=made.token)).kind == "token"
    world.clock.jump(3600)  # the wall clock alone: the row is still kept
    assert (await world.who(bearer=made.token)).kind == "anonymous"

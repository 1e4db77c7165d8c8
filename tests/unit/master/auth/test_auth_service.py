import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops_system.master.auth.events import SessionsRevoked, SetupDone
from ops_system.master.auth.offline import create_join_token, create_token, create_user
from ops_system.master.auth.passwords import Passwords
from ops_system.master.auth.views import (
    JoinTokenCreate,
    NewToken,
    PasswordChange,
    ProofBody,
    SessionQuery,
    SetupBody,
    TokenCreate,
    UserChange,
    UserQuery,
)
from ops_system.master.web.route import ListQuery, Permission, Principal, Role
from ops_system.model.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotAllowed,
    NotFound,
    RateLimited,
    Unauthenticated,
)
from ops_system.runtime.tasks import running
from ops_system.storage.folder import DataFolder
from tests.fakes.accounts import HERE, PASSWORD, ROOT, World, open_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as made:
        yield made


# --- setup -----------------------------------------------------------------------------------------------------------
async def test_setup_makes_one_administrator_and_never_opens_again(world: World) -> None:
    assert world.auth.setup_required()
    code = world.folder.setup_code.read_text().strip()
    assert world.codes == [code]
    with pytest.raises(Unauthenticated):
        await world.auth.set_up(SetupBody("wrong", "ada", PASSWORD), HERE)
    with pytest.raises(Invalid):
        await world.auth.set_up(SetupBody(code, "ada", "short"), HERE)
    opened = await world.auth.set_up(SetupBody(code, "ada", PASSWORD), HERE)
    assert (await world.who(session=opened.secret)).role is Role.ADMIN
    assert not world.auth.setup_required()
    assert not world.folder.setup_code.exists()
    assert world.events == [SetupDone()]
    with pytest.raises(NotAllowed):
        await world.auth.set_up(SetupBody(code, "eve", PASSWORD), HERE)
    assert await world.actions() == [("setup.complete", "done", "ada")]


async def test_two_setups_at_once_make_one_administrator(world: World) -> None:
    async def try_it(name: str) -> bool:
        try:
            await world.auth.set_up(SetupBody(world.codes[0], name, PASSWORD), HERE)
        except (NotAllowed, Unauthenticated):
            return False
        return True

    async with asyncio.TaskGroup() as group:
        tries = [group.create_task(try_it(name)) for name in ("ada", "bob", "eve")]
    assert [task.result() for task in tries].count(True) == 1
    assert (await world.auth.accounts.list_page(UserQuery())).total == 1


async def test_an_administrator_made_on_the_data_folder_ends_setup(world: World) -> None:
    done = asyncio.Event()
    world.bus.subscribe(SetupDone, lambda _: done.set())
    async with asyncio.timeout(20), running(world.auth.run(), "auth"):
        await asyncio.to_thread(create_user, world.folder, "ada", "admin", PASSWORD)
        await done.wait()
    assert not world.auth.setup_required()
    assert not world.folder.setup_code.exists()


# --- login -----------------------------------------------------------------------------------------------------------
async def test_a_login_opens_a_session_and_stores_no_secret(world: World) -> None:
    await world.user()
    opened = await world.log_in("ADA")
    principal = await world.who(session=opened.secret)
    assert (principal.kind, principal.name, principal.session_id) == ("user", "ada", opened.session.id)
    assert world.auth.verify_csrf(principal, opened.csrf_token)
    assert not world.auth.verify_csrf(principal, "")
    assert not world.auth.verify_csrf(principal, "ü")
    await world.db.backup(world.folder.root / "copy.db")
    content = (world.folder.root / "copy.db").read_bytes()
    assert opened.secret.encode() not in content
    assert opened.csrf_token.encode() not in content
    assert PASSWORD.encode() not in content


@pytest.mark.parametrize(
    ("name", "password"),
    [("ada", "wrong password"), ("ada", ""), ("nobody", PASSWORD), ("ada", "x" * 5000), ("", ""), ("ada", "a\0b")],
)
async def test_a_wrong_login_is_one_and_the_same_refusal(world: World, name: str, password: str) -> None:
    await world.user()
    with pytest.raises(Unauthenticated) as refused:
        await world.log_in(name, password)
    assert refused.value.message == "user name or password is wrong"
    assert await world.actions(outcome="denied") == [("session.open", "denied", name)]


async def test_an_unknown_user_costs_a_hash_too(world: World, monkeypatch) -> None:
    await world.user()
    verified: list[str] = []
    hasher = world.auth._passwords._hasher
    monkeypatch.setattr(
        Passwords, "_verify", lambda self, password, stored: verified.append(stored or self._hasher.hash("x")) or False
    )
    for name in ("ada", "nobody"):
        with pytest.raises(Unauthenticated):
            await world.log_in(name)
    assert len(verified) == 2
    assert [hasher.check_needs_rehash(stored) for stored in verified] == [False, False]


async def test_only_failures_count_and_the_limit_is_said(world: World) -> None:
    await world.user()
    for _ in range(30):
        await world.log_in()
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await world.log_in(password="wrong password")
    with pytest.raises(RateLimited):
        await world.log_in()
    world.clock.advance(2.0)
    await world.log_in()


async def test_a_flood_of_parallel_tries_gets_few_guesses(world: World) -> None:
    await world.user()

    async def guess() -> type[Exception] | None:
        try:
            await world.log_in(password="wrong password")
        except (Unauthenticated, RateLimited) as error:
            return type(error)
        return None

    async with asyncio.TaskGroup() as group:
        guesses = [group.create_task(guess()) for _ in range(100)]
    answers = [task.result() for task in guesses]
    assert answers.count(Unauthenticated) <= 6
    assert answers.count(None) == 0


async def test_a_disabled_user_cannot_come_in(world: World) -> None:
    await world.user("root")
    user_id = await world.user()
    opened = await world.log_in()
    await world.auth.accounts.change(user_id, UserChange(is_disabled=True), ROOT)
    assert (await world.who(session=opened.secret)).kind == "anonymous"
    with pytest.raises(Unauthenticated):
        await world.log_in()


# --- sessions --------------------------------------------------------------------------------------------------------
async def test_a_session_ends_when_idle_and_does_not_come_back(world: World) -> None:
    await world.user()
    opened = await world.log_in()
    for _ in range(3):
        world.clock.advance(11 * 3600)
        assert (await world.who(session=opened.secret)).kind == "user"
    world.clock.advance(12 * 3600)
    assert (await world.who(session=opened.secret)).kind == "anonymous"
    world.clock.jump(-3 * 86400)
    assert (await world.who(session=opened.secret)).kind == "anonymous"
    assert world.events[-1] == SessionsRevoked(frozenset({opened.session.id}))


async def test_a_session_ends_after_a_week_however_busy(world: World) -> None:
    await world.user()
    opened = await world.log_in()
    for _ in range(7 * 24 - 1):
        world.clock.advance(3600)
        assert (await world.who(session=opened.secret)).kind == "user"
    world.clock.advance(3600)
    assert (await world.who(session=opened.secret)).kind == "anonymous"


async def test_logout_ends_the_session_at_once(world: World) -> None:
    await world.user()
    opened = await world.log_in()
    principal = await world.who(session=opened.secret)
    await world.auth.accounts.log_out(principal)
    assert (await world.who(session=opened.secret)).kind == "anonymous"
    assert not world.auth.verify_csrf(principal, opened.csrf_token)
    assert SessionsRevoked(frozenset({opened.session.id})) in world.events


@pytest.mark.parametrize(
    "change", [UserChange(password="another long one"), UserChange(role=Role.VIEWER), UserChange(is_disabled=True)]
)
async def test_a_change_of_password_role_or_state_ends_the_sessions(world: World, change: UserChange) -> None:
    await world.user("root")
    user_id = await world.user()
    opened = [await world.log_in(), await world.log_in()]
    await world.auth.accounts.change(user_id, change, ROOT)
    assert [(await world.who(session=one.secret)).kind for one in opened] == ["anonymous"] * 2
    assert SessionsRevoked(frozenset(one.session.id for one in opened)) in world.events


async def test_renaming_keeps_the_sessions(world: World) -> None:
    user_id = await world.user()
    opened = await world.log_in()
    await world.auth.accounts.change(user_id, UserChange(username="lovelace"), ROOT)
    assert (await world.who(session=opened.secret)).name == "lovelace"


async def test_ones_own_password_ends_all_sessions_and_opens_one(world: World) -> None:
    await world.user()
    opened = await world.log_in()
    principal = await world.who(session=opened.secret)
    with pytest.raises(Unauthenticated):
        await world.auth.accounts.change_own_password(PasswordChange("wrong", "another long one"), principal, HERE)
    again = await world.auth.accounts.change_own_password(PasswordChange(PASSWORD, "another long one"), principal, HERE)
    assert (await world.who(session=opened.secret)).kind == "anonymous"
    assert (await world.who(session=again.secret)).kind == "user"
    await world.log_in(password="another long one")


async def test_step_up_lasts_ten_minutes(world: World) -> None:
    await world.user()
    principal = await world.who(session=(opened := await world.log_in()).secret)
    assert world.auth.has_step_up(principal)
    world.clock.advance(601)
    principal = await world.who(session=opened.secret)
    assert not world.auth.has_step_up(principal)
    with pytest.raises(Unauthenticated):
        await world.auth.accounts.step_up(principal, ProofBody("wrong password"), HERE.client_ip)
    await world.auth.accounts.step_up(principal, ProofBody(PASSWORD), HERE.client_ip)
    principal = await world.who(session=opened.secret)
    assert world.auth.has_step_up(principal)
    world.clock.jump(-86400)
    assert not world.auth.has_step_up(principal)


async def test_sessions_of_others_are_neither_seen_nor_ended(world: World) -> None:
    await world.user()
    await world.user("bob", Role.VIEWER)
    ada, bob = await world.log_in(), await world.log_in("bob")
    bobs = await world.who(session=bob.secret)
    seen = await world.auth.accounts.list_sessions(SessionQuery(), bobs)
    assert [(one.username, one.is_current) for one in seen.items] == [("bob", True)]
    with pytest.raises(NotFound):
        await world.auth.accounts.revoke_session(ada.session.id, bobs)
    adas = await world.who(session=ada.secret)
    assert (await world.auth.accounts.list_sessions(SessionQuery(), adas)).total == 2
    await world.auth.accounts.revoke_session(bob.session.id, adas)
    assert (await world.who(session=bob.secret)).kind == "anonymous"


# --- users -----------------------------------------------------------------------------------------------------------
async def test_the_last_administrator_stays(world: World) -> None:
    user_id = await world.user()
    await world.user("bob", Role.OPERATOR)
    for change in (UserChange(role=Role.OPERATOR), UserChange(is_disabled=True)):
        with pytest.raises(NotAllowed, match="last administrator"):
            await world.auth.accounts.change(user_id, change, ROOT)
    with pytest.raises(NotAllowed, match="last administrator"):
        await world.auth.accounts.delete(user_id, ROOT)
    second = await world.user("eve")
    await world.auth.accounts.delete(user_id, ROOT)
    with pytest.raises(NotAllowed):
        await world.auth.accounts.delete(second, ROOT)


async def test_a_name_is_taken_in_whatever_case(world: World) -> None:
    await world.user()
    with pytest.raises(Conflict, match="ADA"):
        await world.user("ADA")


# --- API tokens ------------------------------------------------------------------------------------------------------
async def test_a_token_opens_what_it_was_given(world: World) -> None:
    body = TokenCreate("ci", Role.OPERATOR, grants=(Permission.EXEC,), scope={"env": "test"}, ttl="1d")
    made = await world.auth.tokens.create(body, await admin(world))
    assert made.token.startswith("ops_")
    principal = await world.who(bearer=made.token)
    assert (principal.kind, principal.name, principal.scope) == ("token", "ci", {"env": "test"})
    assert Permission.EXEC in principal.permissions
    assert Permission.TERMINAL not in principal.permissions
    assert world.auth.has_step_up(principal)
    (listed,) = (await world.auth.tokens.list_page(ListQuery())).items
    assert not hasattr(listed, "token")
    world.clock.advance(86400)
    assert (await world.who(bearer=made.token)).kind == "anonymous"
    world.clock.jump(-3 * 86400)
    assert (await world.who(bearer=made.token)).kind == "anonymous"


async def admin(world: World) -> Principal:
    await world.user("boss")
    return await world.who(session=(await world.log_in("boss")).secret)


async def test_an_admin_token_from_the_data_folder_has_every_grant_and_one_from_the_api_what_was_named(world) -> None:
    local = await asyncio.to_thread(create_token, world.folder, "all", "admin")
    remote = await world.auth.tokens.create(TokenCreate("some", Role.ADMIN), await admin(world))
    assert Permission.TERMINAL in (await world.who(bearer=local)).permissions
    found = (await world.who(bearer=remote.token)).permissions
    assert Permission.ADMIN in found
    assert Permission.TERMINAL not in found


async def test_a_revoked_token_is_void_and_its_sockets_are_told(world: World) -> None:
    made = await world.auth.tokens.create(TokenCreate("ci"), ROOT)
    await world.auth.tokens.delete(made.id, ROOT)
    assert (await world.who(bearer=made.token)).kind == "anonymous"
    assert world.events == [SessionsRevoked(frozenset({made.id}))]


@pytest.mark.parametrize("bearer", ["", "ops_", "ops_wrong", "opsj1.a.b.c", "ü"])
async def test_a_wrong_bearer_is_nobody_even_beside_a_good_cookie(world: World, bearer: str) -> None:
    await world.user()
    opened = await world.log_in()
    assert (await world.who(bearer=bearer, session=opened.secret)).kind == "anonymous"


@pytest.mark.parametrize(
    "body",
    [
        TokenCreate(""),
        TokenCreate("x", ttl="soon"),
        TokenCreate("x", ttl="0s"),
        TokenCreate("x", grants=(Permission.ADMIN,)),
        TokenCreate("x", idc="dc1"),
        TokenCreate("x", Role.REGIONAL, idc="DC 1"),
        TokenCreate("x", scope={"a b": "c"}),
    ],
)
async def test_a_token_that_makes_no_sense_is_refused(world: World, body: TokenCreate) -> None:
    with pytest.raises(Invalid):
        await world.auth.tokens.create(body, ROOT)


async def of_user(world: World, *, role: Role = Role.ADMIN, **wanted) -> tuple[str, NewToken]:
    """A user `ada` who made the token `ci`."""
    await world.user("root")
    user_id = await world.user(role=role)
    ada = await world.who(session=(await world.log_in()).secret)
    return user_id, await world.auth.tokens.create(TokenCreate("ci", role, **wanted), ada)


async def test_a_token_does_what_is_left_to_its_owner(world: World) -> None:
    user_id, made = await of_user(world, grants=(Permission.EXEC,), scope={"env": "test"})
    change = UserChange(role=Role.OPERATOR, grants=(Permission.TERMINAL,), scope={"rack": "r1"})
    await world.auth.accounts.change(user_id, change, ROOT)
    assert SessionsRevoked(frozenset({made.id})) in [_tokens_of(event) for event in world.events]
    left = await world.who(bearer=made.token)
    assert left.permissions == {Permission.SELF, Permission.VIEW, Permission.OPERATE}
    assert left.scope == {"env": "test", "rack": "r1"}
    view = await world.auth.tokens.get(made.id)
    assert (view.owner, view.is_void, view.scope) == ("ada", False, left.scope)
    assert frozenset(view.permissions) == left.permissions


def _tokens_of(event: object) -> object:
    ids = event.ids if isinstance(event, SessionsRevoked) else ()
    return SessionsRevoked(frozenset(one for one in ids if one.startswith("tok")))


@pytest.mark.parametrize("change", [UserChange(is_disabled=True), UserChange(scope={"env": "live"})])
async def test_a_token_is_void_while_its_owner_is_disabled_or_elsewhere(world: World, change: UserChange) -> None:
    user_id, made = await of_user(world, scope={"env": "test"})
    await world.auth.accounts.change(user_id, change, ROOT)
    assert (await world.who(bearer=made.token)).kind == "anonymous"
    assert (await world.auth.tokens.get(made.id)).is_void
    await world.auth.accounts.change(user_id, UserChange(is_disabled=False, scope={}), ROOT)
    assert (await world.who(bearer=made.token)).scope == {"env": "test"}


async def test_tokens_go_with_their_user_and_so_do_those_they_made(world: World) -> None:
    user_id, made = await of_user(world)
    child = await world.auth.tokens.create(TokenCreate("child"), await world.who(bearer=made.token))
    assert child.owner == "ada"
    free = await asyncio.to_thread(create_token, world.folder, "free", "viewer")
    await world.auth.accounts.delete(user_id, ROOT)
    assert [(await world.who(bearer=text)).kind for text in (made.token, child.token, free)] == [
        "anonymous",
        "anonymous",
        "token",
    ]
    assert any(isinstance(event, SessionsRevoked) and {made.id, child.id} <= event.ids for event in world.events)
    (left,) = (await world.auth.tokens.list_page(ListQuery())).items
    assert (left.name, left.owner) == ("free", None)


async def test_a_new_password_or_name_leaves_tokens_alone(world: World) -> None:
    user_id, made = await of_user(world)
    await world.auth.accounts.change(user_id, UserChange(username="eva", password="another long one"), ROOT)
    assert (await world.who(bearer=made.token)).kind == "token"
    assert (await world.auth.tokens.get(made.id)).owner == "eva"
    assert not any(isinstance(event, SessionsRevoked) and made.id in event.ids for event in world.events)


# --- join tokens -----------------------------------------------------------------------------------------------------
async def redeem(world: World, text: str) -> dict[str, str]:
    _, ca, token_id, secret = text.split(".")
    assert len(ca) == 64
    async with world.db.transaction() as tx:
        return await world.auth.join_tokens.redeem(tx, token_id, secret)


async def test_a_join_token_is_good_once(world: World) -> None:
    made = await world.auth.join_tokens.create(JoinTokenCreate(labels={"rack": "r1"}), ROOT)
    assert made.commands.linux == f"ops-worker -master https://ops.example:8443 -token {made.token}"
    assert await redeem(world, made.token) == {"rack": "r1"}
    with pytest.raises(Forbidden, match="used up"):
        await redeem(world, made.token)


async def test_a_bound_token_is_good_for_its_machine_alone(world: World) -> None:
    body = JoinTokenCreate(labels={"sn": "sn-1"})
    token_id, text = await world.auth.join_tokens.create_bound(body, ("00:1a:2b:3c:4d:5e",), ROOT)
    with pytest.raises(Forbidden, match="another machine"):
        await redeem(world, text)
    async with world.db.transaction() as tx:
        with pytest.raises(Forbidden, match="another machine"):
            await world.auth.join_tokens.redeem(tx, token_id, text.split(".")[3], ["00:00:00:00:00:01"])
        cards = ["00:00:00:00:00:01", "00:1A:2B:3C:4D:5E"]
        assert await world.auth.join_tokens.redeem(tx, token_id, text.split(".")[3], cards) == {"sn": "sn-1"}
    with pytest.raises(Forbidden, match="used up"):
        await redeem(world, text)


async def test_a_use_is_given_back_when_the_enrolment_fails(world: World) -> None:
    made = await world.auth.join_tokens.create(JoinTokenCreate(), ROOT)
    _, _, token_id, secret = made.token.split(".")
    with pytest.raises(LookupError):  # noqa: PT012 - the use is counted before the enrolment fails
        async with world.db.transaction() as tx:
            await world.auth.join_tokens.redeem(tx, token_id, secret)
            raise LookupError
    await redeem(world, made.token)


async def test_ten_workers_at_once_share_three_uses(world: World) -> None:
    made = await world.auth.join_tokens.create(JoinTokenCreate(uses=3), ROOT)

    async def join() -> bool:
        try:
            await redeem(world, made.token)
        except Forbidden:
            return False
        return True

    async with asyncio.TaskGroup() as group:
        joins = [group.create_task(join()) for _ in range(10)]
    assert [task.result() for task in joins].count(True) == 3


async def test_expired_wrong_and_withdrawn_join_tokens(world: World) -> None:
    made = await world.auth.join_tokens.create(JoinTokenCreate(ttl="10m"), ROOT)
    with pytest.raises(Unauthenticated):
        await redeem(world, made.token + "x")
    world.clock.advance(600)
    with pytest.raises(Forbidden, match="expired"):
        await redeem(world, made.token)
    await world.auth.sweep()
    world.clock.jump(-86400)
    with pytest.raises(Unauthenticated):
        await redeem(world, made.token)
    other = await world.auth.join_tokens.create(JoinTokenCreate(), ROOT)
    await world.auth.join_tokens.delete(other.id, ROOT)
    with pytest.raises(Unauthenticated):
        await redeem(world, other.token)


@pytest.mark.parametrize("body", [JoinTokenCreate(uses=0), JoinTokenCreate(ttl="1"), JoinTokenCreate(labels={"": "x"})])
async def test_a_join_token_that_makes_no_sense_is_refused(world: World, body: JoinTokenCreate) -> None:
    with pytest.raises(Invalid):
        await world.auth.join_tokens.create(body, ROOT)


# --- commands on the data folder -------------------------------------------------------------------------------------
async def test_commands_on_data_are_seen_at_once_and_audited(world: World) -> None:
    await asyncio.to_thread(create_user, world.folder, "ada", "admin", PASSWORD)
    token = await asyncio.to_thread(create_token, world.folder, "ci", "viewer", ttl_s=60.0)
    join = await asyncio.to_thread(create_join_token, world.folder, uses=2, labels={"a": "b"})
    await world.log_in()
    assert (await world.who(bearer=token)).name == "ci"
    assert await redeem(world, join) == {"a": "b"}
    actions = [row[0] for row in await world.actions(q="local:")]
    assert actions == ["user.create", "token.create", "join_token.create"]
    assert (await world.audit.verify()).ok


async def test_commands_on_an_empty_folder_make_what_a_first_start_makes(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "fresh")
    await asyncio.to_thread(create_user, folder, "ada", "admin", PASSWORD)
    assert folder.is_initialized
    assert folder.master_key.exists()
    assert (folder.ca / "ca.pem").exists()

"""The second factor: codes of RFC 6238, no code twice, recovery codes once, one limiter for all of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pyotp
import pytest

from ops_system.master.auth.accounts import Opened
from ops_system.master.auth.totp import find_step, hash_recovery_code, spell_recovery_code, spell_secret, spell_uri
from ops_system.master.auth.views import ProofBody, TokenCreate
from ops_system.master.web.route import Principal, Role
from ops_system.model.errors import Invalid, NotAllowed, RateLimited, Unauthenticated, Unavailable
from tests.fakes.accounts import HERE, PASSWORD, ROOT, World, open_world

RFC_SECRET = spell_secret(b"12345678901234567890")  # RFC 6238, appendix B


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as made:
        yield made


class Phone:
    """An authenticator that holds ada's secret."""

    def __init__(self, world: World, secret: str) -> None:
        self.world, self.secret = world, secret

    def code(self) -> str:
        return pyotp.TOTP(self.secret).at(self.world.clock.now())


async def enable(world: World, opened: Opened) -> tuple[Phone, list[str]]:
    """Switch TOTP on for the user of a session; half a minute later a new code is due."""
    actor = await world.who(session=opened.secret)
    phone = Phone(world, (await world.auth.factors.enrol(actor)).secret)
    codes = await world.auth.factors.confirm(actor, phone.code())
    world.clock.advance(30)
    return phone, codes.recovery_codes


@pytest.fixture
async def phone(world: World) -> Phone:
    await world.user()
    return (await enable(world, await world.log_in()))[0]


# --- pure ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("now_s", "code"), [(59, "287082"), (1111111109, "081804"), (20000000000, "353130")])
def test_codes_are_those_of_the_rfc(now_s: int, code: str) -> None:
    assert find_step(RFC_SECRET, code, now_s, 0) == now_s // 30
    assert find_step(RFC_SECRET, f" {code[:3]} {code[3:]}", now_s, 0) == now_s // 30


@pytest.mark.parametrize(("off_s", "is_good"), [(-61, False), (-30, True), (29, True), (30, True), (61, False)])
def test_a_phone_may_be_half_a_minute_off(off_s: int, is_good: bool) -> None:
    code = pyotp.TOTP(RFC_SECRET).at(3000 + off_s)
    assert (find_step(RFC_SECRET, code, 3000, 0) is not None) is is_good


def test_a_step_is_good_once_and_so_are_older_ones() -> None:
    code = pyotp.TOTP(RFC_SECRET).at(3000)
    assert find_step(RFC_SECRET, code, 3000, 99) == 100
    assert find_step(RFC_SECRET, code, 3000, 100) is None
    assert find_step(RFC_SECRET, pyotp.TOTP(RFC_SECRET).at(2970), 3000, 100) is None


@pytest.mark.parametrize("code", ["", "0", "ü", "0000000", "28708", "\0", "x" * 5000])
def test_what_is_no_code_is_refused(code: str) -> None:
    assert find_step(RFC_SECRET, code, 59, 0) is None


def test_a_recovery_code_is_known_however_it_is_typed() -> None:
    code = spell_recovery_code(bytes(range(10)))
    assert len(code) == 19
    assert hash_recovery_code(code.upper().replace("-", " ")) == hash_recovery_code(code)


def test_the_uri_names_product_and_user() -> None:
    assert spell_uri(RFC_SECRET, "ada") == f"otpauth://totp/ops-system:ada?secret={RFC_SECRET}&issuer=ops-system"


# --- enrol -----------------------------------------------------------------------------------------------------------
async def test_totp_counts_once_a_code_of_it_was_seen(world: World) -> None:
    await world.user()
    actor = await world.who(session=(await world.log_in()).secret)
    made = await world.auth.factors.enrol(actor)
    await world.log_in()
    with pytest.raises(Invalid):
        await world.auth.factors.confirm(actor, "000000")
    assert not (await world.auth.factors.status(actor)).is_enabled
    codes = await world.auth.factors.confirm(actor, pyotp.TOTP(made.secret).at(world.clock.now()))
    assert len(set(codes.recovery_codes)) == 10
    status = await world.auth.factors.status(actor)
    assert (status.is_enabled, status.recovery_codes_left) == (True, 10)
    with pytest.raises(NotAllowed):
        await world.auth.factors.enrol(actor)
    with pytest.raises(NotAllowed):
        await world.auth.factors.confirm(actor, "000000")
    assert (await world.auth.accounts.get(actor.id)).has_totp
    assert await world.actions(action="totp.") == [("totp.enrol", "done", "ada"), ("totp.enable", "done", "ada")]


async def test_neither_secret_nor_recovery_codes_stand_in_the_database(world: World) -> None:
    await world.user()
    phone, codes = await enable(world, await world.log_in())
    await world.db.backup(world.folder.root / "copy.db")
    content = (world.folder.root / "copy.db").read_bytes()
    for text in (phone.secret, *codes):
        assert text.encode() not in content


async def test_a_token_has_no_second_factor(world: World) -> None:
    made = await world.auth.tokens.create(TokenCreate("ci"), ROOT)
    actor = await world.who(bearer=made.token)
    for act in (world.auth.factors.status, world.auth.factors.enrol, world.auth.factors.disable):
        with pytest.raises(NotAllowed):
            await act(actor)


# --- log in ----------------------------------------------------------------------------------------------------------
async def test_a_login_needs_the_code_and_says_so_only_to_the_right_password(world: World, phone: Phone) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await world.log_in(password="wrong password")
    assert "totp_required" not in refused.value.details
    for code in (None, "", "000000"):
        with pytest.raises(Unauthenticated) as refused:
            await world.log_in(totp=code)
        assert refused.value.details == {"totp_required": True}
    assert (await world.log_in(totp=phone.code())).user.username == "ada"


async def test_a_code_is_good_for_one_login(world: World, phone: Phone) -> None:
    code = phone.code()
    await world.log_in(totp=code)
    with pytest.raises(Unauthenticated):
        await world.log_in(totp=code)
    world.clock.advance(30)
    with pytest.raises(Unauthenticated):
        await world.log_in(totp=code)
    await world.log_in(totp=phone.code())


async def test_wrong_codes_count_and_a_right_password_does_not_forgive_them(world: World, phone: Phone) -> None:
    for attempt in range(5):
        with pytest.raises(Unauthenticated):
            await world.log_in(totp="000000")
        world.clock.advance(30)  # longer than the delay, so that only the count is left
        if attempt < 4:
            with pytest.raises(Unauthenticated):
                await world.log_in()
    with pytest.raises(Unauthenticated):
        await world.log_in(totp="000000")
    with pytest.raises(RateLimited):
        await world.log_in(totp=phone.code())
    assert ("session.open", "denied", "ada") in await world.actions(outcome="denied")


async def test_a_recovery_code_opens_once(world: World) -> None:
    await world.user()
    _, codes = await enable(world, await world.log_in())
    opened = await world.log_in(totp=codes[3].upper())
    with pytest.raises(Unauthenticated):
        await world.log_in(totp=codes[3])
    actor = await world.who(session=opened.secret)
    assert (await world.auth.factors.status(actor)).recovery_codes_left == 9
    fresh = await world.auth.factors.renew_codes(actor)
    with pytest.raises(Unauthenticated):
        await world.log_in(totp=codes[4])
    await world.log_in(totp=fresh.recovery_codes[0])
    assert ("totp.use_recovery", "done", "ada") in await world.actions(action="totp.")


async def test_a_secret_under_another_master_key_is_said_and_lets_nobody_in(world: World, phone: Phone) -> None:
    def unseal(_sealed: bytes) -> bytes:
        raise Unavailable("a stored secret cannot be read")

    world.auth.factors._sealer.unseal = unseal
    with pytest.raises(Unavailable):
        await world.log_in(totp=phone.code())


# --- step up, switch off ---------------------------------------------------------------------------------------------
async def test_a_code_is_a_proof_for_the_session(world: World, phone: Phone) -> None:
    opened = await world.log_in(totp=phone.code())
    world.clock.advance(601)
    actor = await world.who(session=opened.secret)
    assert not world.auth.has_step_up(actor)
    with pytest.raises(Unauthenticated):
        await world.auth.accounts.step_up(actor, ProofBody(totp="000000"), HERE.client_ip)
    await world.auth.accounts.step_up(actor, ProofBody(totp=phone.code()), HERE.client_ip)
    assert world.auth.has_step_up(await world.who(session=opened.secret))
    with pytest.raises(Unauthenticated):
        await world.auth.accounts.step_up(actor, ProofBody(totp=phone.code()), HERE.client_ip)


async def test_codes_for_a_proof_are_limited_like_logins(world: World, phone: Phone) -> None:
    actor = await world.who(session=(await world.log_in(totp=phone.code())).secret)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await world.auth.accounts.step_up(actor, ProofBody(totp="000000"), HERE.client_ip)
    with pytest.raises(RateLimited):
        await world.auth.accounts.step_up(actor, ProofBody(totp=phone.code()), HERE.client_ip)


async def test_switched_off_no_code_is_asked_for(world: World, phone: Phone) -> None:
    actor = await world.who(session=(await world.log_in(totp=phone.code())).secret)
    await world.auth.factors.disable(actor)
    await world.log_in()
    with pytest.raises(NotAllowed):
        await world.auth.factors.disable(actor)
    with pytest.raises(NotAllowed):
        await world.auth.factors.renew_codes(actor)


async def test_an_administrator_helps_one_who_lost_everything_and_the_sessions_end(world: World, phone: Phone) -> None:
    opened = await world.log_in(totp=phone.code())
    await world.auth.accounts.reset_totp(opened.user.id, ROOT)
    assert (await world.who(session=opened.secret)).kind == "anonymous"
    await world.log_in(password=PASSWORD)
    weak = Principal("token", "t", "ci", permissions=frozenset(), role=Role.ADMIN)
    with pytest.raises(Exception, match="cannot give"):
        await world.auth.accounts.reset_totp(opened.user.id, weak)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.master.auth import rules
from ops_system.master.auth.setup import SetupCode
from ops_system.master.auth.tokens import join_commands
from ops_system.master.web.route import Permission, Role
from ops_system.model.errors import Invalid, RateLimited, Unauthenticated
from ops_system.storage.folder import DataFolder

IP = "192.0.2.7"


def test_delays_grow_and_stay_finite() -> None:
    delays = [rules.delay_after(failures) for failures in range(3, 40)]
    assert delays[:5] == [0.0, 0.0, 2.0, 4.0, 8.0]
    assert delays == sorted(delays)
    assert delays[-1] == 900.0


def test_an_account_rests_after_five_failures_and_is_never_locked_for_good() -> None:
    limiter = rules.LoginLimiter()
    for _ in range(5):
        limiter.check("ada", IP, 0.0)
        limiter.fail("Ada", IP, 0.0)
    with pytest.raises(RateLimited) as refused:
        limiter.check("ADA", "192.0.2.8", 1.0)
    assert refused.value.details["retry_after_s"] == 1.0
    limiter.check("bob", IP, 1.0)
    limiter.check("ada", IP, 2.0)
    limiter.succeed("ada")
    limiter.fail("ada", IP, 2.0)
    limiter.check("ada", IP, 2.0)


def test_an_address_may_fail_twenty_times_a_minute() -> None:
    limiter = rules.LoginLimiter()
    for number in range(20):
        limiter.check(f"user{number}", IP, float(number))
        limiter.fail(f"user{number}", IP, float(number))
    with pytest.raises(RateLimited):
        limiter.check("somebody", IP, 59.9)
    limiter.check("somebody", "192.0.2.8", 59.9)
    limiter.check("somebody", IP, 60.1)


def test_one_host_has_one_ipv6_network() -> None:
    assert rules.address_key("2001:db8::1") == rules.address_key("2001:db8::ffff:1%eth0") == "2001:db8::/64"
    assert rules.address_key("::ffff:192.0.2.7") == rules.address_key("192.0.2.7") == "192.0.2.7"
    assert rules.address_key("") == ""


def test_the_limiter_forgets_the_oldest_and_stays_small() -> None:
    limiter = rules.LoginLimiter()
    for number in range(rules.REMEMBERED + 50):
        limiter.fail(f"user{number}", f"ip{number}", 0.0)
    assert len(limiter._accounts) == len(limiter._addresses) == rules.REMEMBERED


@pytest.mark.parametrize("bad", ["short", "123456789", "x" * 11, "administrator", "y" * 1025])
def test_bad_passwords_are_refused(bad: str) -> None:
    with pytest.raises(Invalid):
        rules.check_password(bad, "Administrator")


@pytest.mark.parametrize("bad", ["", " ada", "a b", "a\n", "-a", "x" * 65, "ädä"])
def test_bad_names_are_refused(bad: str) -> None:
    with pytest.raises(Invalid):
        rules.check_username(bad)


def test_roles_hold_what_they_should() -> None:
    assert Permission.OPERATE not in rules.user_permissions(Role.VIEWER)
    assert not rules.GRANTS & rules.user_permissions(Role.OPERATOR)
    assert rules.user_permissions(Role.ADMIN) > rules.GRANTS
    assert rules.permissions_of(Role.REGIONAL) == {Permission.SELF, Permission.REGIONAL}
    assert rules.permissions_of(Role.VIEWER, [Permission.ADMIN]) == rules.user_permissions(Role.VIEWER)


@given(st.binary(min_size=16, max_size=16))
def test_a_code_keeps_all_its_bits_and_survives_sloppy_typing(entropy: bytes) -> None:
    code = rules.spell_code(entropy)
    digits = rules.plain_code(f" {code.upper()} ".replace("-", " "))
    number = 0
    for digit in digits:
        number = number * 32 + rules._CODE_ALPHABET.index(digit)
    assert number.to_bytes(17, "big")[-16:] == entropy


@given(st.integers(-(2**40), 2**40), st.integers(0, 2**40))
def test_a_proof_from_the_future_is_none(now_ms: int, proven_ms: int) -> None:
    if proven_ms > now_ms + 60_000:
        assert not rules.is_fresh_proof(now_ms, proven_ms)


class Ticks:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def setup_code(tmp_path):
    ticks, announced = Ticks(), []
    return SetupCode(DataFolder(tmp_path), ticks, announced.append), ticks, announced


def test_the_code_is_private_announced_and_in_the_file(setup_code, tmp_path) -> None:
    code, _, announced = setup_code
    code.renew()
    code.renew()
    path = tmp_path / "setup-code"
    assert announced == [code.current] == [path.read_text().strip()]
    assert path.stat().st_mode & 0o777 == 0o600
    code.check(code.current.upper())
    code.clear()
    assert not path.exists()


def test_after_five_wrong_tries_there_is_a_new_code(setup_code) -> None:
    code, _, announced = setup_code
    code.renew()
    first = code.current
    for left in (4, 3, 2, 1, 0):
        with pytest.raises(Unauthenticated) as refused:
            code.check("wrong")
        assert refused.value.details["tries_left"] == left
    assert code.current != first
    with pytest.raises(Unauthenticated):
        code.check(first)
    assert len(announced) == 2


def test_a_code_lives_for_half_an_hour(setup_code) -> None:
    code, ticks, _ = setup_code
    code.renew()
    first = code.current
    ticks.now_s = 1799.0
    code.check(first)
    ticks.now_s = 1800.0
    with pytest.raises(Unauthenticated):
        code.check(first)


def test_join_commands_are_ready_to_run() -> None:
    commands = join_commands("https://ops.example:8443", "opsj1.a.b.c")
    assert commands.linux == "ops-worker -master https://ops.example:8443 -token opsj1.a.b.c"
    assert commands.windows.startswith("ops-worker.exe ")

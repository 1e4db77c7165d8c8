"""What passwords, names, roles, tokens and limits must look like. Pure: dice and clocks are arguments."""

import base64
import hashlib
import hmac
import ipaddress
import re
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Mapping

import msgspec

from ops_system.master.web.route import Permission, Principal, Role
from ops_system.model.errors import Forbidden, Invalid, RateLimited
from ops_system.model.quantities import parse_duration_s

MIN_PASSWORD = 10
MAX_PASSWORD = 1024
SESSION_IDLE_S = 12 * 3600.0
SESSION_LIFE_S = 7 * 86400.0
STEP_UP_S = 600.0
TOUCH_S = 60.0  # how stale `last_used` may be
SESSIONS_PER_USER = 50

FREE_FAILURES = 5
FIRST_DELAY_S = 2.0
LONGEST_DELAY_S = 900.0
FAILURES_PER_IP = 20
IP_WINDOW_S = 60.0
REMEMBERED = 10_000

GRANTS = frozenset(
    {Permission.EXEC, Permission.TERMINAL, Permission.TAKEOVER, Permission.WIPE_APPROVE, Permission.SECRETS}
)
_GENERAL = {
    Role.VIEWER: frozenset({Permission.SELF, Permission.VIEW}),
    Role.OPERATOR: frozenset({Permission.SELF, Permission.VIEW, Permission.OPERATE}),
    Role.ADMIN: frozenset(
        {Permission.SELF, Permission.VIEW, Permission.OPERATE, Permission.ADMIN, Permission.REGIONAL}
    ),
    Role.REGIONAL: frozenset({Permission.SELF, Permission.REGIONAL}),
}
_CARRY_GRANTS = frozenset({Role.OPERATOR, Role.ADMIN})
_USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}\Z")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9._-]{0,63}\Z")
_IDC = re.compile(r"[a-z0-9][a-z0-9-]{0,31}\Z")
_CODE_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
_CODE_LENGTH = 26  # 130 bits for 128


class ParsedJoinToken(msgspec.Struct, frozen=True):
    """The parts of `opsj1.<sha256 of the CA key>.<id>.<secret>`."""

    ca_key_sha256: str
    id: str
    secret: str


def permissions_of(role: Role, grants: Iterable[Permission] = ()) -> frozenset[Permission]:
    """Return what a role may do in general, plus separate grants where the role can carry them."""
    return _GENERAL[role] | (frozenset(grants) & GRANTS if role in _CARRY_GRANTS else frozenset())


def user_permissions(role: Role, grants: Iterable[Permission] = ()) -> frozenset[Permission]:
    """Return what a person may do: an administrator has every grant, an operator those that were given."""
    return permissions_of(role, GRANTS if role is Role.ADMIN else grants)


def join_scopes(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str] | None:
    """Return the scope that reaches what both reach; None when no node can be in both."""
    if any(other.get(key, value) != value for key, value in one.items()):
        return None
    return {**one, **other}


def check_username(name: str) -> None:
    """Raise Invalid unless `name` is 1 to 64 letters, digits and `._@-`."""
    if not _USERNAME.match(name):
        raise Invalid(
            "username: 1 to 64 letters, digits and . _ @ -, beginning with a letter or digit",
            problems=["username: malformed"],
        )


def check_password(password: str, username: str) -> None:
    """Raise Invalid for a password nobody should set: shorter than 10 characters, or the user's own name."""
    if len(password) < MIN_PASSWORD:
        raise Invalid(f"password: at least {MIN_PASSWORD} characters", problems=["password: too short"])
    if len(password) > MAX_PASSWORD:
        raise Invalid(f"password: at most {MAX_PASSWORD} characters", problems=["password: too long"])
    if password.casefold() == username.casefold() or len(set(password)) == 1:
        raise Invalid("password: not the user name, and not one character repeated", problems=["password: too weak"])


def check_user_role(role: Role) -> None:
    """Raise Invalid for a role only tokens carry."""
    if role is Role.REGIONAL:
        raise Invalid(
            "role: regional is for API tokens; use admin, operator or viewer", problems=["role: not a user's"]
        )


def check_token_name(name: str) -> None:
    """Raise Invalid unless a token's name is 1 to 64 printable characters."""
    if not 1 <= len(name) <= 64 or not name.isprintable():  # noqa: PLR2004 - the words below say it
        raise Invalid("name: 1 to 64 printable characters", problems=["name: malformed"])


def check_labels(labels: dict[str, str], field: str = "labels") -> None:
    """Raise Invalid naming every label that is none."""
    bad = [key for key, value in labels.items() if not (_LABEL.match(key) and _LABEL_VALUE.match(value))]
    if bad:
        raise Invalid(
            f"{field}: {', '.join(bad)}: letters, digits and . _ - (and / in keys), at most 63 characters",
            problems=[f"{field}.{key}: malformed" for key in bad],
        )


def check_idc(idc: str | None, role: Role) -> None:
    """Raise Invalid for a malformed region, or one on a token that is not regional."""
    if idc is None:
        return
    if role is not Role.REGIONAL:
        raise Invalid("idc: only a token with role regional carries one", problems=["idc: role is not regional"])
    if not _IDC.match(idc):
        raise Invalid(f'idc: "{idc}": lower-case letters, digits and -, at most 32', problems=["idc: malformed"])


def check_grants(grants: Collection[Permission], role: Role) -> None:
    """Raise Invalid for a permission that cannot be granted by itself, or a role that carries no grants."""
    if grants and role not in _CARRY_GRANTS:
        raise Invalid(f"grants: role {role.value} carries none; use operator", problems=["grants: not for this role"])
    bad = sorted(grant.value for grant in grants if grant not in GRANTS)
    if bad:
        known = ", ".join(sorted(grant.value for grant in GRANTS))
        raise Invalid(f"grants: {', '.join(bad)}: use {known}", problems=[f"grants: {name}" for name in bad])


def check_reach(actor: Principal, permissions: Iterable[Permission], scope: Mapping[str, str]) -> None:
    """Raise Forbidden where more would be handed out than the actor has: more permissions, or a wider scope."""
    beyond = sorted(one.value for one in permissions if one not in actor.permissions)
    if beyond:
        raise Forbidden(f"{actor.name} cannot give what it lacks: {', '.join(beyond)}", permission=beyond[0])
    wider = sorted(key for key, value in actor.scope.items() if scope.get(key) != value)
    if wider:
        words = f"scope: {actor.name} is limited by {', '.join(wider)} and cannot give a wider scope"
        raise Forbidden(words, reason="scope")


def parse_ttl_s(ttl: str, least_s: float = 1.0) -> float:
    """Return a lifetime in seconds. Raises Invalid for none or an endless one."""
    seconds = parse_duration_s(ttl)
    if seconds < least_s:
        raise Invalid(f'ttl: "{ttl}" is too short', problems=["ttl: too short"])
    return seconds


def hash_secret(secret: str) -> bytes:
    """Return what is stored of a random secret. It has 256 bits, so a plain SHA-256 is enough."""
    return hashlib.sha256(secret.encode()).digest()


def derive_csrf_token(session_secret: str) -> str:
    """Return the CSRF token of a session. It is made from the cookie's secret, so that the database holds neither."""
    digest = hmac.digest(session_secret.encode(), b"ops csrf token v1", "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def is_same_secret(secret: str, stored_hash: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(hash_secret(secret), stored_hash)


def spell_join_token(ca_key_sha256: str, token_id: str, secret: str) -> str:
    """Return the text a worker is given."""
    return f"opsj1.{ca_key_sha256}.{token_id}.{secret}"


def spell_code(entropy: bytes) -> str:
    """Return 16 random bytes as a setup code in groups: base 32 without letters that look alike."""
    number = int.from_bytes(entropy, "big")
    digits = "".join(_CODE_ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(_CODE_LENGTH)))
    return "-".join(digits[start : start + 5] for start in range(0, _CODE_LENGTH, 5))


def plain_code(text: str) -> str:
    """Return what counts of a code somebody typed: lower case, without dashes and spaces."""
    return re.sub(r"[-\s]", "", text).lower()


def is_session_alive(now_ms: int, created_ms: int, last_used_ms: int) -> bool:
    """Whether a session is within its idle and its absolute limit. A clock set back ends none."""
    return now_ms - last_used_ms < SESSION_IDLE_S * 1000 and now_ms - created_ms < SESSION_LIFE_S * 1000


def is_fresh_proof(now_ms: int, proven_ms: int) -> bool:
    """Whether the password was shown at most 10 minutes ago. A proof from the future is none."""
    return -TOUCH_S * 1000 <= now_ms - proven_ms <= STEP_UP_S * 1000


def delay_after(failures: int) -> float:
    """Return how many seconds an account rests after so many failures in a row: 0 below 5, then 2 s … 15 min."""
    if failures < FREE_FAILURES:
        return 0.0
    return min(FIRST_DELAY_S * 2.0 ** min(failures - FREE_FAILURES, 20), LONGEST_DELAY_S)


def address_key(client_ip: str) -> str:
    """Return what counts as one address: with IPv6 the /64, since one host has all of it."""
    try:
        parsed = ipaddress.IPv6Address(client_ip.partition("%")[0])
    except ValueError:
        return client_ip
    return str(parsed.ipv4_mapped or ipaddress.IPv6Network((parsed, 64), strict=False))


class LoginLimiter:
    """Counts failed logins by account and by address; known and unknown names alike. `now_s` is monotonic."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[str, tuple[int, float]] = OrderedDict()  # name -> failures, locked until
        self._addresses: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, account: str, client_ip: str, now_s: float) -> None:
        """Raise RateLimited when the account rests or the address failed 20 times within a minute."""
        _, locked_until_s = self._accounts.get(account.casefold(), (0, 0.0))
        times = self._addresses.get(address_key(client_ip), deque())
        while times and now_s - times[0] >= IP_WINDOW_S:
            times.popleft()
        wait_s = max(0.0, locked_until_s - now_s)
        if len(times) >= FAILURES_PER_IP:
            wait_s = max(wait_s, times[0] + IP_WINDOW_S - now_s)
        if wait_s > 0:
            raise RateLimited(f"too many failed logins; try again in {wait_s:.0f} s", retry_after_s=round(wait_s, 1))

    def fail(self, account: str, client_ip: str, now_s: float) -> None:
        """Count one failure."""
        key = account.casefold()
        failures = self._accounts.pop(key, (0, 0.0))[0] + 1
        self._accounts[key] = (failures, now_s + delay_after(failures))
        address = address_key(client_ip)
        times = self._addresses.pop(address, None) or deque(maxlen=FAILURES_PER_IP)
        times.append(now_s)
        self._addresses[address] = times
        for book in (self._accounts, self._addresses):
            while len(book) > REMEMBERED:
                book.popitem(last=False)

    def succeed(self, account: str) -> None:
        """Forget the account's failures."""
        self._accounts.pop(account.casefold(), None)

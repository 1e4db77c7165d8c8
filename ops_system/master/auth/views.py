"""What `auth` takes and shows over HTTP. Nothing shown holds a hash; secrets only in answers to a creation."""

from datetime import datetime
from typing import Literal

import msgspec

from ops_system.master.web.route import ListQuery, Permission, Role


class SetupStatus(msgspec.Struct, frozen=True):
    """Whether the first administrator is still missing."""

    required: bool


class SetupBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code from the console or `DATA/setup-code`, and the first administrator."""

    code: str
    username: str
    password: str


class LoginBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user's name and password; `totp` where a second factor is set: a code of now, or a recovery code."""

    username: str
    password: str
    totp: str | None = None


class ProofBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A proof that the person is still there: password or code of the authenticator."""

    password: str = ""
    totp: str | None = None


class Proof(msgspec.Struct, frozen=True):
    """Until when the session counts as proven."""

    proven_until: datetime


class TotpStatus(msgspec.Struct, frozen=True):
    """Whether one's own second factor is on, and how many recovery codes are left."""

    is_enabled: bool
    recovery_codes_left: int


class TotpEnrolment(msgspec.Struct, frozen=True):
    """A secret for an authenticator, as text and as `otpauth://` URI; shown this once."""

    secret: str
    uri: str


class TotpBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code of the authenticator."""

    totp: str


class RecoveryCodes(msgspec.Struct, frozen=True):
    """Codes for the day the authenticator is lost, each good for one login; shown this once."""

    recovery_codes: list[str]


class UserView(msgspec.Struct, frozen=True):
    """A user. `grants` are what the role does not bring; `permissions` is everything together."""

    id: str
    username: str
    role: Role
    permissions: list[Permission]
    grants: list[Permission]
    scope: dict[str, str]
    is_disabled: bool
    has_totp: bool
    created_at: datetime
    created_by: str
    last_login_at: datetime | None


class Caller(msgspec.Struct, frozen=True):
    """Who is calling, as the console needs it."""

    id: str
    username: str
    role: Role | None
    permissions: list[Permission]
    scope: dict[str, str]


class Me(msgspec.Struct, frozen=True):
    """Who is calling. `csrf_token` is empty for everybody but a browser session."""

    user: Caller
    csrf_token: str
    kind: Literal["user", "token", "node", "local", "anonymous"] = "user"


class UserCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new user. `grants` are for operators; `scope` limits the user to nodes with these labels."""

    username: str
    password: str
    role: Role = Role.VIEWER
    grants: tuple[Permission, ...] = ()
    scope: dict[str, str] = {}


class UserChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What changes; absent fields stay. With a new role and no `grants` the user has none."""

    username: str | None = None
    password: str | None = None
    role: Role | None = None
    grants: tuple[Permission, ...] | None = None
    scope: dict[str, str] | None = None
    is_disabled: bool | None = None


class PasswordChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user's own new password."""

    old_password: str
    new_password: str


class TokenView(msgspec.Struct, frozen=True):
    """An API token without its secret. `owner` is the user it belongs to, null for one made on the data folder.

    `permissions` and `scope` are what is left of it to its owner; `is_void`: nothing, for the owner is disabled or
    limited to other nodes.
    """

    id: str
    name: str
    role: Role
    owner: str | None
    is_void: bool
    permissions: list[Permission]
    scope: dict[str, str]
    idc: str | None
    expires_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime
    created_by: str


class TokenCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new API token. `ttl` like `90d`, absent: never expires. `scope` limits it to nodes with these labels."""

    name: str
    role: Role = Role.VIEWER
    grants: tuple[Permission, ...] = ()
    scope: dict[str, str] = {}
    idc: str | None = None
    ttl: str | None = None


class NewToken(TokenView, frozen=True, kw_only=True):
    """A token just made; `token` is shown this once."""

    token: str


class JoinTokenView(msgspec.Struct, frozen=True):
    """A join token without its secret."""

    id: str
    uses_left: int
    labels: dict[str, str]
    expires_at: datetime
    created_at: datetime
    created_by: str


class JoinTokenCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new join token: how many workers may use it, for how long, and the labels they get."""

    uses: int = 1
    ttl: str = "1h"
    labels: dict[str, str] = {}


class JoinCommands(msgspec.Struct, frozen=True):
    """A line to run on the machine that joins, by its system."""

    linux: str
    windows: str
    darwin: str


class NewJoinToken(JoinTokenView, frozen=True, kw_only=True):
    """A join token just made; `token` is shown this once."""

    token: str
    commands: JoinCommands


class SessionView(msgspec.Struct, frozen=True):
    """A browser session."""

    id: str
    user_id: str
    username: str
    client_ip: str
    user_agent: str
    created_at: datetime
    last_used_at: datetime
    is_current: bool


class UserQuery(ListQuery, frozen=True):
    """Filters of the users."""

    role: Role | None = None


class SessionQuery(ListQuery, frozen=True):
    """Filters of the sessions. Without the permission `admin` only one's own are listed."""

    user_id: str = ""

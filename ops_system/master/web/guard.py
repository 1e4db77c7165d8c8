"""What the web floor asks about a caller. `auth` answers; the web floor never sees a table or a password."""

from typing import Protocol

import msgspec

from ops_system.master.web.route import Principal


class Credentials(msgspec.Struct, frozen=True):
    """What one request showed: the bearer token, the value of the session cookie, and the address it came from."""

    bearer: str | None
    session: str | None
    client_ip: str


class Authenticator(Protocol):
    """Who is calling, and what a browser session has proven."""

    async def identify(self, credentials: Credentials) -> Principal:
        """Return the principal; one of kind `anonymous` when nothing valid was shown. A bearer outranks a cookie."""
        ...

    def setup_required(self) -> bool:
        """True until an administrator exists."""
        ...

    def verify_csrf(self, principal: Principal, token: str) -> bool:
        """True when `token` belongs to the session of this principal."""
        ...

    def has_step_up(self, principal: Principal) -> bool:
        """True when the session proved its password or TOTP at most 10 minutes ago, or needs no such proof."""
        ...


ANONYMOUS = Principal(kind="anonymous", id="anonymous", name="anonymous")

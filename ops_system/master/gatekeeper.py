"""Who calls: people and programs are known to `auth`, workers to their live link. Made by `app` for the web floor."""

from ops_system.master.auth.service import Auth
from ops_system.master.nodes.links import Links
from ops_system.master.web.guard import ANONYMOUS, Credentials
from ops_system.master.web.route import Principal

_TOKEN_PREFIX = "ops_"  # noqa: S105 - how API tokens begin; any other bearer is a worker's link session


class Gatekeeper:
    """The web floor's `Authenticator`: people and programs are known to `auth`, workers to their live link."""

    def __init__(self, auth: Auth, links: Links) -> None:
        self._auth = auth
        self._links = links
        self.setup_required = auth.setup_required
        self.verify_csrf = auth.verify_csrf
        self.has_step_up = auth.has_step_up

    async def identify(self, credentials: Credentials) -> Principal:
        """Return who calls."""
        bearer = credentials.bearer
        if bearer and not bearer.startswith(_TOKEN_PREFIX):
            return self._links.session_principal(bearer) or ANONYMOUS
        return await self._auth.identify(credentials)

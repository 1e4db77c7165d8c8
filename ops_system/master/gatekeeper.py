"""Who speaks: people and programs are known to `auth`, workers to their live link. Made by `app`."""

from collections.abc import Iterable

from ops_system.master.auth.service import Auth
from ops_system.master.bus import Bus, Changed
from ops_system.master.instances.views import Instance
from ops_system.master.nodes.links import Links
from ops_system.master.web.guard import ANONYMOUS, Credentials
from ops_system.master.web.route import Principal
from ops_system.model.ids import InstanceId, NodeId

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


class InstanceOwners:
    """Which node may send metrics of which instance; kept up by the bus, asked for every sample."""

    def __init__(self, bus: Bus, known: Iterable[Instance]) -> None:
        self._nodes: dict[str, NodeId] = {instance.id: instance.node_id for instance in known}
        bus.subscribe(Changed, self._on_changed)

    def owner_of(self, instance_id: InstanceId) -> NodeId | None:
        """Return the node an instance lives on, or None for one that does not exist."""
        return self._nodes.get(instance_id)

    def _on_changed(self, change: Changed) -> None:
        if change.topic != "instances":
            return
        if change.data is None:
            self._nodes.pop(change.key, None)
        else:
            self._nodes[change.key] = change.data.node_id

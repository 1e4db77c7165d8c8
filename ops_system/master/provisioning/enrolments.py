"""How a new system joins: a token for that machine alone, sealed to its agent's boot key (P11). Used by `service`."""

import logging
from collections.abc import Callable
from typing import Protocol

import msgspec

from ops_system.master.auth.views import JoinTokenCreate
from ops_system.master.provisioning.rules import labels_of
from ops_system.master.web.route import Principal
from ops_system.model.errors import Invalid, NotFound, OpsError
from ops_system.model.machines import Machine
from ops_system.model.tasks import Task
from ops_system.protocol.agent import Enrolment, enrolment_context
from ops_system.provision.regions import RegionSettings
from ops_system.provision.rules import gets_worker
from ops_system.runtime.sealing import seal

_log = logging.getLogger(__name__)

TOKEN_TTL = "24h"  # noqa: S105 - a duration: from the approval until the new system has booted
ACTOR = Principal(kind="local", id="provisioning", name="provisioning")


class Tokens(Protocol):
    """What is needed of the join tokens."""

    async def create_bound(self, body: JoinTokenCreate, macs: tuple[str, ...], actor: Principal) -> tuple[str, str]:
        """Make a token for a machine with one of these cards; return its id and its text."""
        ...

    async def get(self, token_id: str) -> object:
        """Return a token. Raises NotFound."""
        ...

    async def delete(self, token_id: str, actor: Principal) -> None:
        """Take a token back. Raises NotFound."""
        ...


class Sealed(msgspec.Struct, frozen=True):
    """An enrolment that only the agent with this boot key can open."""

    enrolment_id: str
    box: str
    boot_public_key: str


class Enrolments:
    """Makes and takes back the enrolments of installations."""

    def __init__(self, tokens: Tokens, master_url: Callable[[], str]) -> None:
        self._tokens, self._master_url = tokens, master_url

    async def make(self, task: Task, machine: Machine, settings: RegionSettings) -> Sealed | None:
        """Return an enrolment for this installation; None when none is wanted, or the agent told no key."""
        if not gets_worker(task) or not machine.boot_public_key:
            return None
        labels = labels_of(task.idc, task.sn)
        macs = tuple(dict.fromkeys((task.mac, *machine.macs)))
        token_id, text = await self._tokens.create_bound(JoinTokenCreate(1, TOKEN_TTL, labels), macs, ACTOR)
        url = settings.master_url or self._master_url()
        name = task.network.hostname if task.network else ""
        enrolment = Enrolment(url, text, name or task.sn, labels, allow_plain_http=url.startswith("http://"))
        try:
            box = seal(msgspec.json.encode(enrolment), machine.boot_public_key, enrolment_context(task.task_id))
        except Invalid:
            await self.take_back(token_id)
            raise
        return Sealed(token_id, box, machine.boot_public_key)

    async def is_own(self, enrolment_id: str) -> bool:
        """Whether this master made the token inside, and it was not taken back."""
        try:
            await self._tokens.get(enrolment_id)
        except NotFound:
            return False
        return True

    async def take_back(self, enrolment_id: str) -> None:
        """Make a token worthless, when it is one of this master's."""
        try:
            await self._tokens.delete(enrolment_id, ACTOR)
        except NotFound:
            return
        except OpsError as error:
            _log.warning("join token %s could not be taken back, it expires by itself: %s", enrolment_id, error)

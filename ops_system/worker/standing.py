"""How the link to the master stands, and what it asks of the rest of the worker. Used by `uplink`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from ops_system.model.ids import InstanceId
from ops_system.model.instances import InstanceEvent, InstanceReport
from ops_system.protocol.frames import Apply

LinkState = Literal["away", "linked", "refused"]


class Node(Protocol):
    """What the uplink asks of the rest of the worker: `instances.Instances`."""

    def reports(self) -> tuple[InstanceReport, ...]:
        """Return the newest report of every instance that is kept."""

    def events_after(self, seq: int, limit: int) -> tuple[InstanceEvent, ...]:
        """Return up to `limit` events above `seq` that the master has not acknowledged, oldest first."""

    def last_event_seq(self) -> int:
        """Return the number of the newest event ever written."""

    async def on_apply(self, frame: Apply, server_now: datetime) -> bool:
        """Take a wish; refuse one that is not ours or has expired. True: only its time speaks against it."""

    async def on_forget(self, instance_id: InstanceId) -> None:
        """Drop the tombstone."""

    async def on_events_ack(self, seq: int) -> None:
        """The master has all events up to `seq`."""


@dataclass
class LinkPicture:
    """What the status port shows of the link."""

    state: LinkState = "away"
    since: datetime | None = None
    message: str = ""
    times_linked: int = 0
    clock_skew_s: float = 0.0

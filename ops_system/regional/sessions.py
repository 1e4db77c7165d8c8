"""The agents at work here: whose token is good, and the leases they live by. Used by `desk`."""

import contextlib
import hmac
import logging
import secrets
from collections.abc import Iterable
from hashlib import sha256

import msgspec

from ops_system.kv.base import KeyValue, PutRequest, Store
from ops_system.kv.errors import LeaseNotFound
from ops_system.kv.swap import Write, change_all
from ops_system.model.errors import Unauthenticated
from ops_system.model.machines import AgentLease
from ops_system.protocol.agent import LEASE_TTL_S
from ops_system.provision.keys import MachineKeys
from ops_system.regional.mirror import Mirror, Seat
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import for_each

_log = logging.getLogger(__name__)

RESTORED_TOGETHER = 100  # in one transaction, which may have 128 operations
GRANTED_AT_ONCE = 16


def make_token() -> tuple[str, str]:
    """Return a fresh session token and its SHA-256 in hex: only the hash is kept."""
    token = secrets.token_urlsafe(32)
    return token, hash_token(token)


def hash_token(token: str) -> str:
    """Return what is kept of a token."""
    return sha256(token.encode()).hexdigest()


class Sessions:
    """Who was heard here and when. It lives longer than the store's leases while the store is away."""

    def __init__(self, idc: str, mirror: Mirror, clock: Clock) -> None:
        self._idc, self._mirror, self._clock = idc, mirror, clock
        self._seats: dict[str, Seat] = {}
        self._heard_s: dict[str, float] = {}

    def load(self) -> None:
        """Begin with the agents of the last picture: they may still be at work."""
        for sn, seat in self._mirror.seats().items():
            self.open(sn, seat)

    def forget_all(self) -> None:
        """Another client led meanwhile: what the store says counts."""
        self._seats.clear()
        self._heard_s.clear()

    def open(self, sn: str, seat: Seat) -> None:
        """Note an agent."""
        self._seats[sn] = seat
        self._heard_s[sn] = self._clock.monotonic_s()

    def close(self, sn: str) -> None:
        """Forget an agent: it must report again."""
        self._seats.pop(sn, None)
        self._heard_s.pop(sn, None)

    def check(self, token: str, sn: str) -> Seat:
        """Return the seat of the agent that shows this token for this machine. Raises Unauthenticated."""
        seat = self._mirror.seat(sn) or self._seats.get(sn)
        if seat is None or not hmac.compare_digest(seat.lease.session_sha256, hash_token(token)):
            raise Unauthenticated("no session of this machine; report first", reason="no_session")
        self.open(sn, seat)
        return seat

    def alive(self) -> dict[str, Seat]:
        """Return the agents that were heard within the life of a lease."""
        since_s = self._clock.monotonic_s() - LEASE_TTL_S
        return {sn: seat for sn, seat in self._seats.items() if self._heard_s.get(sn, 0.0) >= since_s}

    async def restore(self, store: Store) -> None:
        """Give the agents that are alive their leases back, which ended while the store could not be asked."""
        seats = list(self.alive().items())
        for start in range(0, len(seats), RESTORED_TOGETHER):
            await self._restore_some(store, dict(seats[start : start + RESTORED_TOGETHER]))

    async def _restore_some(self, store: Store, seats: dict[str, Seat]) -> None:
        lease_ids = [seat.lease_id for seat in seats.values() if seat.lease_id]
        renewed = dict(zip(lease_ids, await store.keepalive_many(lease_ids), strict=True))
        ended = {sn: seat for sn, seat in seats.items() if renewed.get(seat.lease_id, 0) <= 0}
        granted = await _grant(store, ended)
        replaced = await self._put_back(store, ended, granted)
        for sn, lease_id in granted.items():
            if sn in replaced:
                self.close(sn)
                with contextlib.suppress(LeaseNotFound):
                    await store.revoke(lease_id)
            else:
                self._seats[sn] = Seat(ended[sn].lease, lease_id, ended[sn].revision)
                _log.info("the agent of %s has its lease back", sn)

    async def _put_back(self, store: Store, ended: dict[str, Seat], granted: dict[str, int]) -> set[str]:
        """Write the leases of these agents; return those that another agent has replaced, which get none."""
        keys = tuple([MachineKeys(self._idc, sn).lease for sn in ended])
        replaced: set[str] = set()

        def rule(seen: tuple[KeyValue | None, ...]) -> list[Write]:
            replaced.clear()
            writes: list[Write] = []
            for key, (sn, seat), there in zip(keys, ended.items(), seen, strict=True):
                stored = there and msgspec.json.decode(there.value, type=AgentLease)
                if stored and stored.session_sha256 != seat.lease.session_sha256:
                    replaced.add(sn)
                else:
                    writes.append(PutRequest(key, msgspec.json.encode(stored or seat.lease), granted[sn]))
            return writes

        if ended:
            await change_all(store, keys, rule, may_repeat=True)
        return replaced


async def _grant(store: Store, names: Iterable[str]) -> dict[str, int]:
    """Return a fresh lease for each name."""
    granted: dict[str, int] = {}

    async def grant(name: str) -> None:
        granted[name] = (await store.grant(round(LEASE_TTL_S))).id

    await for_each(names, grant, GRANTED_AT_ONCE, "leases of agents")
    return granted

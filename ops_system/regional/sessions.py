"""The agents at work here: whose token is good, and the leases they live by. Used by `desk`."""

import contextlib
import hmac
import logging
import secrets
from hashlib import sha256

import msgspec

from ops_system.kv.base import KeyValue, PutRequest, Store
from ops_system.kv.errors import LeaseNotFound
from ops_system.kv.swap import Write, change
from ops_system.model.errors import Unauthenticated
from ops_system.model.machines import AgentLease
from ops_system.protocol.agent import LEASE_TTL_S
from ops_system.provision.keys import MachineKeys
from ops_system.regional.mirror import Mirror, Seat
from ops_system.regional.renewals import MAX_TOGETHER
from ops_system.runtime.clock import Clock

_log = logging.getLogger(__name__)


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
        for start in range(0, len(seats), MAX_TOGETHER):
            some = seats[start : start + MAX_TOGETHER]
            lease_ids = [seat.lease_id for _, seat in some if seat.lease_id]
            renewed = dict(zip(lease_ids, await store.keepalive_many(lease_ids), strict=True))
            for sn, seat in some:
                if renewed.get(seat.lease_id, 0) <= 0:
                    await self._restore_one(store, sn, seat)

    async def _restore_one(self, store: Store, sn: str, seat: Seat) -> None:
        lease_id = (await store.grant(round(LEASE_TTL_S))).id
        if await self._put_back(store, sn, seat.lease, lease_id):
            self._seats[sn] = Seat(seat.lease, lease_id, seat.revision)
            _log.info("the agent of %s has its lease back", sn)
            return
        self.close(sn)
        with contextlib.suppress(LeaseNotFound):
            await store.revoke(lease_id)

    async def _put_back(self, store: Store, sn: str, lease: AgentLease, lease_id: int) -> bool:
        key, is_ours = MachineKeys(self._idc, sn).lease, True

        def rule(seen: KeyValue | None) -> list[Write]:
            nonlocal is_ours
            stored = seen and msgspec.json.decode(seen.value, type=AgentLease)
            is_ours = not stored or stored.session_sha256 == lease.session_sha256
            return [PutRequest(key, msgspec.json.encode(stored or lease), lease_id)] if is_ours else []

        await change(store, key, rule, may_repeat=True)
        return is_ours

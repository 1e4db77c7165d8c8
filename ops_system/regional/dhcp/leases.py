"""Who has which address: pools, offers, leases. Pure: the clock is an argument, what changed is kept by the caller.

    (free) ──offer──> offered ──bind──> bound ──release──> released      a released or expired address stays with
      ^                  │ 60 s           │ lease_s            │          its machine as long as another one is free
      └──────────────────┴────────────────┴── expired ─────────┘
                                          bound ──decline──> declined    somebody else uses it: left alone for 10 min

A machine is known by its MAC alone. Boot ROM, iPXE, agent and the new system give four client ids for one card, and
the ROM gives one (from the UUID) for all cards: with client ids a booting machine would take four addresses, or two
cards would get the same one.
"""

import zlib
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

import msgspec

OFFER_HOLD_S = 60.0
DECLINE_HOLD_S = 600.0
LEASE_S = 3600

LeaseState = Literal["offered", "bound", "released", "declined"]


class Pool(msgspec.Struct, frozen=True):
    """A network whose machines get addresses here, and what they are told about it. `first` and `last` are included.

    `lease_s` is in seconds, as on the wire.
    """

    network: IPv4Network
    first: IPv4Address
    last: IPv4Address
    routers: tuple[IPv4Address, ...] = ()
    dns: tuple[IPv4Address, ...] = ()
    ntp: tuple[IPv4Address, ...] = ()
    domain: str = ""
    lease_s: int = LEASE_S
    excluded: frozenset[IPv4Address] = frozenset()

    def has(self, address: IPv4Address) -> bool:
        """Whether `address` may be handed out."""
        return self.first <= address <= self.last and address not in self.excluded and address not in self.routers

    def addresses_from(self, place: int) -> Iterator[IPv4Address]:
        """Yield every address that may be handed out, once, beginning at `place` and going round."""
        size = int(self.last) - int(self.first) + 1
        for step in range(size):
            address = self.first + (place + step) % size
            if self.has(address):
                yield address


class Lease(msgspec.Struct, frozen=True):
    """One address of one machine. `until_s` is of the clock that never goes back."""

    address: IPv4Address
    mac: str
    state: LeaseState
    until_s: float
    hostname: str = ""


class SavedLease(msgspec.Struct, frozen=True):
    """A lease as it is kept on disk and shown: times of the wall."""

    address: str
    mac: str
    state: LeaseState
    ends_at: datetime
    hostname: str = ""


def default_pool(own: IPv4Address, network: IPv4Network) -> Pool:
    """Return the pool of a network nobody described: its upper half, without its own address and the broadcast."""
    size = network.num_addresses
    first = network.network_address + max(size // 2, 1)
    return Pool(network=network, first=first, last=network.broadcast_address - 1, excluded=frozenset({own}))


class LeaseBook:
    """The leases of all pools. `now_s` of every call must never go back."""

    def __init__(self, pools: Iterable[Pool]) -> None:
        self.pools = tuple(pools)
        self._by_address: dict[IPv4Address, Lease] = {}
        self._by_mac: dict[str, IPv4Address] = {}

    def pool_of(self, address: IPv4Address) -> Pool | None:
        """Return the pool in whose network an address lies."""
        return next((pool for pool in self.pools if address in pool.network), None)

    def lease_of(self, mac: str) -> Lease | None:
        """Return what a machine has, or had last."""
        address = self._by_mac.get(mac)
        return None if address is None else self._by_address[address]

    def all(self) -> list[Lease]:
        """Return every address that is or was given, in order."""
        return [self._by_address[address] for address in sorted(self._by_address)]

    def offer(self, mac: str, pool: Pool, wanted: IPv4Address | None, now_s: float) -> Lease | None:
        """Hold an address of `pool` for a machine: its own again, else the one it asks for, else any.

        None when there is none left.
        """
        own = self.lease_of(mac)
        if own is not None and own.state == "bound" and own.until_s > now_s and pool.has(own.address):
            return own
        address = self._choose(mac, pool, wanted, now_s)
        return None if address is None else self._put(Lease(address, mac, "offered", now_s + OFFER_HOLD_S))

    def _choose(self, mac: str, pool: Pool, wanted: IPv4Address | None, now_s: float) -> IPv4Address | None:
        own = self._by_mac.get(mac)
        for address in (own, wanted):
            if address is not None and pool.has(address) and self.is_free(address, mac, now_s):
                return address
        place = zlib.crc32(mac.encode())
        unused = (address for address in pool.addresses_from(place) if address not in self._by_address)
        if (address := next(unused, None)) is not None:
            return address
        over = [lease for lease in self._by_address.values() if lease.until_s <= now_s and pool.has(lease.address)]
        return min(over, key=lambda lease: lease.until_s).address if over else None

    def is_free(self, address: IPv4Address, mac: str, now_s: float) -> bool:
        """Whether a machine may have an address: nobody else has it now, and nobody complained of it lately."""
        lease = self._by_address.get(address)
        if lease is None or lease.until_s <= now_s or lease.state == "released":
            return True
        return lease.mac == mac and lease.state != "declined"

    def bind(self, mac: str, address: IPv4Address, lease_s: float, now_s: float, hostname: str = "") -> Lease | None:
        """Give an address for `lease_s`; None when another machine has it. The caller says whose range it is."""
        if not self.is_free(address, mac, now_s):
            return None
        return self._put(Lease(address, mac, "bound", now_s + lease_s, hostname))

    def release(self, mac: str, address: IPv4Address, now_s: float) -> Lease | None:
        """End the lease of a machine that lets go; None when it is not its own."""
        lease = self._by_address.get(address)
        if lease is None or lease.mac != mac or lease.state != "bound":
            return None
        return self._put(Lease(address, mac, "released", now_s, lease.hostname))

    def decline(self, mac: str, address: IPv4Address, now_s: float) -> Lease | None:
        """Leave an address alone for a while: the machine it was given to found another one using it."""
        lease = self._by_address.get(address)
        if lease is None or lease.mac != mac or lease.state not in {"bound", "offered"}:
            return None
        return self._put(Lease(address, mac, "declined", now_s + DECLINE_HOLD_S))

    def forget_offer(self, mac: str) -> None:
        """Free what was only offered: the machine took another server's."""
        lease = self.lease_of(mac)
        if lease is not None and lease.state == "offered":
            del self._by_address[lease.address], self._by_mac[mac]

    def _put(self, lease: Lease) -> Lease:
        """Write a lease down. A machine has one address at a time; an address one machine."""
        before = self._by_mac.get(lease.mac)
        if before is not None and before != lease.address:
            self._leave(before)
        was = self._by_address.get(lease.address)
        if was is not None and was.mac != lease.mac:
            self._by_mac.pop(was.mac, None)
        self._by_address[lease.address] = lease
        if lease.mac:
            self._by_mac[lease.mac] = lease.address
        return lease

    def _leave(self, address: IPv4Address) -> None:
        """Take an address from the machine that gets another one; a declined one stays where nobody gets it."""
        lease = self._by_address[address]
        if lease.state == "declined":
            self._by_address[address] = msgspec.structs.replace(lease, mac="")
        else:
            del self._by_address[address]

    def restore(self, saved: Iterable[SavedLease], now_s: float, at: datetime) -> None:
        """Take up what was kept. A clock that was moved meanwhile cannot make a lease longer than it was given."""
        for one in saved:
            address = IPv4Address(one.address)
            pool = self.pool_of(address)
            longest_s = LEASE_S if pool is None else pool.lease_s
            left_s = min(max((one.ends_at - at).total_seconds(), 0.0), float(longest_s))
            self._put(Lease(address, one.mac, one.state, now_s + left_s, one.hostname))


def saved(lease: Lease, now_s: float, at: datetime) -> SavedLease:
    """Return a lease as it is kept and shown."""
    ends_at = at + timedelta(seconds=lease.until_s - now_s)
    return SavedLease(str(lease.address), lease.mac, lease.state, ends_at, lease.hostname)

"""Addresses: who gets which, who keeps it, who never gets it; a restart and a moved clock."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ops_system.regional.dhcp.leasefile import LeaseFile
from ops_system.regional.dhcp.leases import (
    DECLINE_HOLD_S,
    OFFER_HOLD_S,
    LeaseBook,
    Pool,
    SavedLease,
    default_pool,
    saved,
)

NETWORK = IPv4Network("192.0.2.0/24")
AT = datetime(2026, 1, 1, tzinfo=UTC)


def address(last):
    return IPv4Address(f"192.0.2.{last}")


def pool_of(size=3, **fields):
    return Pool(network=NETWORK, first=address(100), last=address(99 + size), lease_s=600, **fields)


@pytest.fixture
def pool():
    return pool_of()


@pytest.fixture
def book(pool):
    return LeaseBook([pool])


def mac(number):
    return f"52:54:00:00:00:{number:02x}"


def give(book, pool, number, now_s=0.0):
    lease = book.offer(mac(number), pool, None, now_s)
    return book.bind(mac(number), lease.address, pool.lease_s, now_s)


def test_each_machine_gets_its_own_until_none_is_left(book, pool):
    given = {give(book, pool, number).address for number in range(3)}
    assert given == {address(100), address(101), address(102)}
    assert book.offer(mac(9), pool, None, 0.0) is None


def test_a_machine_gets_the_same_again_also_after_its_lease_ended(book, pool):
    first = give(book, pool, 1)
    assert book.offer(mac(1), pool, None, 5.0) == first
    assert book.offer(mac(1), pool, None, 10_000.0).address == first.address


def test_an_ended_lease_is_reused_only_when_no_unused_address_is_left(book, pool):
    give(book, pool, 1)
    give(book, pool, 2, now_s=1.0)
    unused = give(book, pool, 3, now_s=2.0)
    oldest = book.lease_of(mac(1)).address
    assert unused.address != oldest
    assert book.offer(mac(4), pool, None, 5000.0).address == oldest
    assert book.lease_of(mac(1)) is None


def test_a_wish_is_granted_when_it_is_free(book, pool):
    assert book.offer(mac(1), pool, address(102), 0.0).address == address(102)
    assert book.offer(mac(2), pool, address(102), 1.0).address != address(102)
    assert book.offer(mac(3), pool, address(7), 1.0).address in {address(100), address(101)}


def test_an_offer_is_held_only_for_a_while(book, pool):
    offered = book.offer(mac(1), pool, None, 0.0).address
    assert book.bind(mac(2), offered, 600, 1.0) is None
    assert book.bind(mac(2), offered, 600, OFFER_HOLD_S + 1) is not None


def test_a_declined_address_is_left_alone_for_a_while():
    pool = pool_of(1)
    book = LeaseBook([pool])
    given = give(book, pool, 1)
    assert book.decline(mac(2), given.address, 1.0) is None
    assert book.decline(mac(1), given.address, 1.0).state == "declined"
    assert book.offer(mac(1), pool, None, 2.0) is None
    assert book.offer(mac(1), pool, None, 1.0 + DECLINE_HOLD_S).address == given.address


def test_only_its_own_lease_is_released(book, pool):
    given = give(book, pool, 1)
    assert book.release(mac(2), given.address, 1.0) is None
    assert book.release(mac(1), given.address, 1.0).state == "released"
    assert book.bind(mac(2), given.address, 600, 2.0) is not None


def test_an_offer_for_another_server_is_forgotten(book, pool):
    offered = book.offer(mac(1), pool, None, 0.0).address
    book.forget_offer(mac(1))
    assert book.lease_of(mac(1)) is None
    assert book.is_free(offered, mac(2), 0.0)


def test_own_addresses_and_routers_are_never_given():
    pool = pool_of(3, routers=(address(100),), excluded=frozenset({address(102)}))
    assert list(pool.addresses_from(5)) == [address(101)]


def test_a_network_nobody_described_lends_its_upper_half():
    pool = default_pool(address(200), NETWORK)
    assert (pool.first, pool.last) == (address(128), address(254))
    assert not pool.has(address(200))
    assert not list(default_pool(address(1), IPv4Network("192.0.2.1/32")).addresses_from(0))


def test_leases_survive_a_restart_and_a_moved_clock(tmp_path, pool):
    book, file = LeaseBook([pool]), LeaseFile(tmp_path / "leases")
    file.load()
    given = give(book, pool, 1, now_s=50.0)
    file.keep([saved(given, 100.0, AT)])
    for moved, left_s in ((timedelta(), 550.0), (timedelta(days=-3), 600.0), (timedelta(days=3), 0.0)):
        again = LeaseBook([pool])
        again.restore(LeaseFile(tmp_path / "leases").load(), 7.0, AT + moved)
        assert again.lease_of(mac(1)).until_s == 7.0 + left_s
        assert again.offer(mac(1), pool, None, 8.0).address == given.address


def test_the_file_forgets_what_was_torn_and_stays_small(tmp_path, monkeypatch):
    path = tmp_path / "leases"
    file = LeaseFile(path)
    assert file.load() == []
    lease = SavedLease("192.0.2.100", mac(1), "bound", AT)
    monkeypatch.setattr("ops_system.regional.dhcp.leasefile.SPARE_LINES", 10)
    for _ in range(30):
        file.keep([lease])
    assert len(path.read_bytes().splitlines()) < 15
    with path.open("ab") as torn:
        torn.write(b'{"address":"192.0.2.101","ma')
    assert LeaseFile(path).load() == [lease]


def test_a_failed_append_does_not_spoil_the_next_lease(tmp_path, monkeypatch):
    path = tmp_path / "leases"
    file = LeaseFile(path)
    file.load()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError):
        file.keep([SavedLease("192.0.2.100", mac(1), "bound", AT)])
    monkeypatch.undo()
    path.write_bytes(path.read_bytes()[:20])
    file.keep([SavedLease("192.0.2.101", mac(2), "bound", AT)])
    assert {lease.address for lease in LeaseFile(path).load()} == {"192.0.2.100", "192.0.2.101"}


class Anything(RuleBasedStateMachine):
    """Whatever happens in whatever order: no address has two machines at once, and none has an address of nobody's."""

    macs = st.integers(1, 6)
    places = st.integers(98, 105)

    def __init__(self):
        super().__init__()
        self.pool = pool_of(4)
        self.book = LeaseBook([self.pool])
        self.now_s = 0.0
        self.held = {}  # address -> (mac, until): what a machine was told it may use

    @rule(number=macs, wanted=places)
    def offer(self, number, wanted):
        lease = self.book.offer(mac(number), self.pool, address(wanted), self.now_s)
        if lease is not None:
            assert self.pool.has(lease.address)
            assert self.is_over(lease.address) or self.held[lease.address][0] == mac(number)
            # Who looks for an address has none (RFC 2131, INIT): what it had elsewhere is free.
            self.let_go(number, but=lease.address)

    @rule(number=macs, place=places)
    def bind(self, number, place):
        lease = self.book.bind(mac(number), address(place), 600, self.now_s)
        if lease is not None:
            assert self.is_over(lease.address) or self.held[lease.address][0] == mac(number)
            self.let_go(number)
            self.held[lease.address] = (mac(number), self.now_s + 600)

    @rule(number=macs, place=places)
    def release(self, number, place):
        if self.book.release(mac(number), address(place), self.now_s) is not None:
            assert self.held.pop(address(place))[0] == mac(number)

    @rule(number=macs, place=places)
    def decline(self, number, place):
        if self.book.decline(mac(number), address(place), self.now_s) is not None:
            self.held.pop(address(place), None)

    @rule(number=macs)
    def forget(self, number):
        self.book.forget_offer(mac(number))

    @rule(seconds=st.sampled_from([1.0, 59.0, 61.0, 601.0]))
    def wait(self, seconds):
        self.now_s += seconds

    def let_go(self, number, but=None):
        self.held = {each: told for each, told in self.held.items() if told[0] != mac(number) or each == but}

    def is_over(self, each):
        return each not in self.held or self.held[each][1] <= self.now_s

    @invariant()
    def the_indices_agree(self):
        leases = self.book.all()
        owners = [lease.mac for lease in leases if lease.mac]
        assert len(owners) == len(set(owners))
        assert all(self.book.lease_of(lease.mac) == lease for lease in leases if lease.mac)


Anything.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnything = Anything.TestCase

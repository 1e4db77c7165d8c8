"""When a region leads again, the leases of the agents at work go on: renewed together, made anew where they ended."""

import sys

import msgspec
import pytest

from ops_system.kv.base import PutRequest, RangeRequest
from ops_system.kv.embedded import Embedded
from ops_system.model.errors import Unavailable
from ops_system.model.machines import AgentLease
from ops_system.provision.keys import MachineKeys
from ops_system.regional.mirror import Mirror, Seat
from ops_system.regional.sessions import Sessions
from ops_system.runtime.clock import SystemClock
from ops_system.runtime.tasks import running

IDC, COUNT = "dc1", 1200


class Counting:
    """The store, and how often it is asked to renew, to grant or to write; it is away after `grants_until` grants."""

    def __init__(self, store):
        self._store = store
        self.renewals, self.grants, self.transactions = 0, 0, 0
        self.grants_until = sys.maxsize

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def keepalive_many(self, lease_ids):
        self.renewals += 1
        return await self._store.keepalive_many(lease_ids)

    async def grant(self, ttl_s, lease_id=0):
        if self.grants >= self.grants_until:
            raise Unavailable("the store is away")
        self.grants += 1
        return await self._store.grant(ttl_s, lease_id)

    async def txn(self, request):
        self.transactions += bool(request.compare)
        return await self._store.txn(request)


@pytest.fixture
async def store(tmp_path):
    engine = await Embedded.open(tmp_path / "store.db", SystemClock())
    async with running(engine.run(), "store"):
        yield Counting(engine)
    await engine.close()


@pytest.fixture
def sessions():
    return Sessions(IDC, Mirror(IDC), SystemClock())


async def put(store, sn, lease, lease_id):
    await store.put(PutRequest(MachineKeys(IDC, sn).lease, msgspec.json.encode(lease), lease_id))


async def stored(store, sn):
    found = await store.range(RangeRequest(MachineKeys(IDC, sn).lease))
    return msgspec.json.decode(found.kvs[0].value, type=AgentLease), found.kvs[0].lease


async def test_leases_that_hold_are_renewed_together(store, sessions):
    lease = await store.grant(30)
    for number in range(COUNT):
        sessions.open(f"sn-{number}", Seat(AgentLease("boot", "ab"), lease.id))
    store.grants = 0
    await sessions.restore(store)
    assert (store.renewals, store.grants) == (12, 0)
    assert len(sessions.alive()) == COUNT


async def test_a_lease_that_ended_is_made_anew_and_an_agent_that_another_replaced_is_let_go(store, sessions):
    held, mine, other = await store.grant(30), AgentLease("boot", "ab"), AgentLease("later", "cd")
    ended = await store.grant(30)
    await store.revoke(ended.id)
    sessions.open("held", Seat(mine, held.id))
    sessions.open("ended", Seat(mine, ended.id))
    sessions.open("unknown", Seat(mine, 0))
    sessions.open("replaced", Seat(mine, ended.id))
    await put(store, "held", mine, held.id)
    await put(store, "replaced", other, held.id)
    await sessions.restore(store)
    seats = sessions.alive()
    assert sorted(seats) == ["ended", "held", "unknown"]
    assert await stored(store, "held") == (mine, held.id)
    assert await stored(store, "replaced") == (other, held.id)
    for sn in ("ended", "unknown"):
        assert await stored(store, sn) == (mine, seats[sn].lease_id)
        assert (await store.time_to_live(seats[sn].lease_id)).ttl_s > 0


async def test_after_a_long_outage_many_agents_have_their_leases_back_in_a_few_transactions(store, sessions):
    mine, other, gone = AgentLease("boot", "ab"), AgentLease("later", "cd"), (7, 150)
    for number in range(250):
        sessions.open(f"sn-{number}", Seat(mine, 0))
    elsewhere = await store.grant(30)
    for number in gone:
        await put(store, f"sn-{number}", other, elsewhere.id)
    store.grants, before = 0, set(await store.leases())
    await sessions.restore(store)
    assert (store.grants, store.transactions) == (250, 3)
    seats = sessions.alive()
    assert set(seats) == {f"sn-{number}" for number in range(250) if number not in gone}
    assert set(await store.leases()) - before == {seat.lease_id for seat in seats.values()}
    for sn, seat in seats.items():
        assert await stored(store, sn) == (mine, seat.lease_id)


async def test_a_store_that_is_away_while_leases_are_restored_is_said_plainly(store, sessions):
    for number in range(50):
        sessions.open(f"sn-{number}", Seat(AgentLease("boot", "ab"), 0))
    store.grants_until = 20
    with pytest.raises(Unavailable, match="away"):
        await sessions.restore(store)
    store.grants_until = sys.maxsize
    await sessions.restore(store)
    assert len(sessions.alive()) == 50

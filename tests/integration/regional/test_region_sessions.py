"""When a region leads again, the leases of the agents at work go on: renewed together, made anew where they ended."""

import msgspec
import pytest

from ops_system.kv.base import PutRequest, RangeRequest
from ops_system.kv.embedded import Embedded
from ops_system.model.machines import AgentLease
from ops_system.provision.keys import MachineKeys
from ops_system.regional.mirror import Mirror, Seat
from ops_system.regional.sessions import Sessions
from ops_system.runtime.clock import SystemClock
from ops_system.runtime.tasks import running

IDC, COUNT = "dc1", 1200


class Counting:
    """The store, and how often it is asked to renew or to grant."""

    def __init__(self, store):
        self._store = store
        self.renewals, self.grants = 0, 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def keepalive_many(self, lease_ids):
        self.renewals += 1
        return await self._store.keepalive_many(lease_ids)

    async def grant(self, ttl_s, lease_id=0):
        self.grants += 1
        return await self._store.grant(ttl_s, lease_id)


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
    assert (store.renewals, store.grants) == (3, 0)
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

"""Each call of the store has a limit of its own; a wait for one's turn has none."""

import asyncio

import pytest

from ops_system.kv.base import DeleteRequest, PutRequest, RangeRequest, TxnRequest
from ops_system.model.errors import TimedOut
from ops_system.regional.timely import STORE_AWAY, Timely

CALLS = {
    "range": (RangeRequest(b"k"),),
    "put": (PutRequest(b"k", b"v"),),
    "delete": (DeleteRequest(b"k"),),
    "txn": (TxnRequest((), ()),),
    "compact": (1,),
    "grant": (30,),
    "revoke": (1,),
    "keepalive": (1,),
    "keepalive_many": ([1],),
    "time_to_live": (1,),
    "leases": (),
}


class Silent:
    """Answers nothing."""

    def __getattr__(self, name):
        async def call(*_args, **_named):
            await asyncio.Event().wait()

        return call


class Prompt:
    """Answers at once."""

    async def keepalive(self, lease_id):
        return lease_id


@pytest.mark.parametrize("name", CALLS)
async def test_a_store_that_does_not_answer_is_away(name):
    async with asyncio.timeout(30):
        with pytest.raises(TimedOut, match="did not answer within") as raised:
            await getattr(Timely(Silent(), 0.01), name)(*CALLS[name])
    assert raised.value.details["reason"] == "store_away"
    assert isinstance(raised.value, STORE_AWAY)


async def test_many_calls_of_one_piece_of_work_have_a_limit_each():
    store, within_s = Timely(Prompt(), 0.2), 0.2
    for number in range(3):  # each begins when the limit of the first one would be over
        await asyncio.sleep(1.5 * within_s)
        assert await store.keepalive(number) == number

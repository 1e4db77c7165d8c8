"""When a client asks for the lead again."""

import asyncio

from ops_system.regional.leadership import Leadership, Who
from ops_system.runtime.clock import SystemClock
from ops_system.runtime.tasks import running

HOUR_S = 3600.0


async def test_a_key_that_is_freed_while_it_is_asked_for_is_asked_for_again_at_once(tmp_path, monkeypatch):
    lead = Leadership(None, Who("dc1", "c1"), SystemClock(), tmp_path / "lead", HOUR_S)
    turns, has_asked_again = [], asyncio.Event()

    async def turn(_duties):
        turns.append(1)
        if len(turns) == 1:
            lead.vacancy.set()  # the other one leaves when this one has just seen it there
        else:
            has_asked_again.set()
        return HOUR_S

    monkeypatch.setattr(lead, "_turn", turn)
    async with asyncio.timeout(20), running(lead.run(None), "lead"):
        await has_asked_again.wait()
    assert len(turns) == 2

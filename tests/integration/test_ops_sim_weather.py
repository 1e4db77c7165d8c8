"""A simulated fleet in bad weather on a real master: what is lost is counted, and all are there when the sky clears."""

import asyncio

import aiohttp

from tests.bench.ops_sim import FleetWorker, Tally, Weather, enrol_fleet
from tests.fakes.master import run_master

WORKERS = 12
WITHIN_S = 30.0


async def until(condition):
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - the condition belongs to programs that send no event for it
            await asyncio.sleep(0.02)


async def dropped_at(master):
    url = f"{master.url}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        lines = (await answer.text()).splitlines()
    return next(int(float(line.split()[1])) for line in lines if line.startswith("ops_metrics_dropped_samples_total"))


async def test_what_the_weather_takes_is_counted_and_all_come_back(tmp_path):
    tally, gate = Tally(), asyncio.Semaphore(4)
    async with run_master(tmp_path) as master, aiohttp.ClientSession() as session:
        workers = await enrol_fleet(session, master.url, await master.create_join_token(uses=WORKERS), WORKERS)
        fleet = [FleetWorker(worker, tally, Weather(loss=0.3, cut=0.05, delay_s=0.05)) for worker in workers]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.run(session, gate, 0.1)) for one in fleet]
            await until(lambda: tally.dials > 2 * WORKERS and tally.lost > WORKERS)
            for one in fleet:
                one._weather = Weather()
            await until(lambda: tally.linked == WORKERS)
            sent = tally.sent
            await until(lambda: tally.sent > sent + 3 * WORKERS)  # what was not said yet is said by now
            assert 0 < await dropped_at(master) <= tally.lost
            for one in fleet:
                one.cut()
            await until(lambda: tally.linked < WORKERS)
            await until(lambda: tally.linked == WORKERS)
            for task in tasks:
                task.cancel()
    assert tally.refused == 0

"""What trust costs: a password's hash, a flood of logins beside other work, the permission check, a revocation, and
two hundred workers that join at once.
"""

import asyncio
import json
import socket
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from aiohttp.test_utils import make_mocked_request

from ops_system.master.auth.passwords import Passwords
from ops_system.master.web.clients import CLIENT, find_client
from tests.bench.measure import cpu_seconds, emit, family, median, memory_mb, percentile
from tests.fakes.fleet import PASSWORD, Fleet, until
from tests.fakes.master import run_master

ATTEMPTS, HASHES, CHECKS, REVOCATIONS = 50, 10, 5000, 20
JOINERS, GROUPS, ENROLMENT_WITHIN_S = 200, 4, 120.0
PAUSE_S = 0.01


async def measure_hash() -> None:
    """CPU of one hash; its lanes may run on several cores."""
    passwords = Passwords()
    await passwords.hash(PASSWORD)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    for _ in range(HASHES):
        await passwords.hash(PASSWORD)
    wall_ms = 1000 * (time.perf_counter() - began_s) / HASHES
    emit("login hashing", 1000 * (time.process_time() - cpu_s) / HASHES, "ms of a core", wall_ms=round(wall_ms, 1))
    passwords.close()


async def measure_flood(fleet: Fleet) -> None:
    """Memory above rest and the p95 of other calls while `ATTEMPTS` people log in at once."""
    headers = {"Authorization": f"Bearer {fleet.token}"}
    pids = family(fleet.programs["master"].pid)
    body = {"username": "admin", "password": PASSWORD}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def log_in() -> int:
            async with session.post(f"{fleet.url}/api/v1/login", json=body) as answer:
                return answer.status

        async def call() -> float:
            began_s = time.perf_counter()
            async with session.get(f"{fleet.url}/api/v1/nodes", headers=headers) as answer:
                await answer.read()
            return 1000 * (time.perf_counter() - began_s)

        calm = [await call() for _ in range(100)]
        at_rest, peak, busy = memory_mb(pids), 0.0, list[float]()
        cpu_s, began_s = cpu_seconds(pids), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            logins = [group.create_task(log_in(), name="login") for _ in range(ATTEMPTS)]
            while not all(login.done() for login in logins):
                busy.append(await call())
                peak = max(peak, memory_mb(pids))
                await asyncio.sleep(PAUSE_S)
    took_s = time.perf_counter() - began_s
    statuses = [login.result() for login in logins]
    emit("login flood, memory above rest", peak - at_rest, "MB RSS", at_rest_mb=round(at_rest, 1), attempts=ATTEMPTS)
    emit("login flood, p95 of other calls", percentile(busy, 0.95), "ms", calls=len(busy), calm=percentile(calm, 0.95))
    emit("login flood, all answered", took_s, "s", good=statuses.count(200), cpu_s=round(cpu_seconds(pids) - cpu_s, 2))


async def measure_checks(folder: Path) -> None:
    """Host, identity, Origin, permission of a request with a token, in the master's own code."""
    async with run_master(folder) as running:
        front, token = running.master.front, await running.create_token()
        headers = {"Host": f"127.0.0.1:{running.opened.port}", "Authorization": f"Bearer {token}"}
        request = make_mocked_request("GET", "/api/v1/nodes", headers=headers)
        route = next(route for route in running.master.routes if route.operation_id == "list_nodes")
        times = []
        for _ in range(CHECKS):
            began_s = time.perf_counter()
            request[CLIENT] = find_client("127.0.0.1", is_tls=False, headers=request.headers, proxies=())
            front._check_host(request)
            principal = await front._identify(request)
            front._check_caller(request, route, principal)
            times.append(1e6 * (time.perf_counter() - began_s))
        mean = sum(times) / len(times)  # with the look into the database once a second
        emit(
            "permission check",
            median(times),
            "us a request",
            mean=round(mean, 1),
            p95=round(percentile(times, 0.95), 1),
        )


async def measure_revocation(fleet: Fleet) -> None:
    """From the answer to a revocation until the revoked token's open socket is closed."""
    headers, times = {"Authorization": f"Bearer {fleet.token}"}, []
    async with aiohttp.ClientSession(headers=headers) as session:
        for number in range(REVOCATIONS):
            async with session.post(f"{fleet.url}/api/v1/tokens", json={"name": f"bench-{number}"}) as answer:
                made = await answer.json()
            bearer = {"Authorization": f"Bearer {made['token']}"}
            async with session.ws_connect(f"{fleet.url}/api/v1/live", headers=bearer) as live:
                await live.send_json({"subscribe": ["nodes"]})
                await live.receive()
                began_s = time.perf_counter()
                async with session.delete(f"{fleet.url}/api/v1/tokens/{made['id']}"):
                    async for _message in live:
                        pass
                times.append(time.perf_counter() - began_s)
    emit("revocation closes a socket", median(times), "s", worst=round(max(times), 4))


def is_open(port: int) -> bool:
    """Whether somebody listens; the network listener opens a moment after the first administrator is made."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def measure_enrolment(fleet: Fleet) -> None:
    """`JOINERS` workers in `GROUPS` processes fetch the CA, enrol by TLS and link, all at the same moment."""
    token = fleet.master_command("join-token", "create", "--uses", str(JOINERS)).strip()
    url = f"https://127.0.0.1:{fleet.tls_port}"
    until(lambda: is_open(fleet.tls_port), "the network listener answers")
    pids = family(fleet.programs["master"].pid)
    groups = [await _start_group(url, token, f"g{number}") for number in range(GROUPS)]
    for group in groups:
        await _line_of(group)
    cpu_s, began_s = cpu_seconds(pids), time.perf_counter()
    for group in groups:
        assert group.stdin is not None
        group.stdin.write(b"go\n")
    told = [json.loads(await _line_of(group)) for group in groups]
    took_s, cpu_s = time.perf_counter() - began_s, cpu_seconds(pids) - cpu_s
    for group in groups:
        await group.wait()
    sums = {word: sum(one[word] for one in told) for word in ("joined", "linked")}
    refused = [words for one in told for words in one["refused"]]
    emit("enrolment of 200 workers at once", took_s, "s", **sums, refused=len(refused), master_cpu_s=round(cpu_s, 2))
    for words in refused[:5]:
        print(f"# refused: {words}")


async def _start_group(url: str, token: str, prefix: str) -> asyncio.subprocess.Process:
    words = ("-m", "tests.bench.enrol", url, token, prefix, str(JOINERS // GROUPS))
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, *words, stdin=pipe, stdout=pipe)


async def _line_of(group: asyncio.subprocess.Process) -> bytes:
    assert group.stdout is not None
    async with asyncio.timeout(ENROLMENT_WITHIN_S):
        return await group.stdout.readline()


async def run(folder: Path) -> None:
    """Measure everything once."""
    await measure_hash()
    with Fleet(folder) as fleet:
        fleet.start_master()
        fleet.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        await measure_enrolment(fleet)
        await measure_flood(fleet)
        await measure_revocation(fleet)
    (folder / "second").mkdir()
    await measure_checks(folder / "second")


def main() -> None:
    """Run it in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


if __name__ == "__main__":
    main()

"""A group of workers that join by TLS at the same moment, as the worker program does it, and link. For `bench_trust`.

Says `ready`, waits for a line on standard input, joins, and prints one JSON line: `joined`, `linked`, `refused`.
"""

import argparse
import asyncio
import base64
import json
import sys
from contextlib import suppress

import aiohttp

from ops_system.model.errors import OpsError
from ops_system.worker.enrol import Applicant, JoinToken, enrol_once, parse_join_token
from ops_system.worker.tls import trust_for
from tests.bench.sim import Refused, SimWorker, make_fingerprint


async def join(url: str, token: JoinToken, name: str) -> bool:
    """Join once and link once; False where the link was refused. Raises `OpsError` where the enrolment was."""
    worker = SimWorker(url, name)
    public_key = base64.b64encode(worker.key.public_key().public_bytes_raw()).decode()
    identity = await enrol_once(url, token, Applicant(name, {"sim": "1"}, public_key, make_fingerprint(name)))
    worker.node_id = identity.node_id
    connector = aiohttp.TCPConnector(ssl=trust_for(url, identity.ca_pem, None))
    async with aiohttp.ClientSession(connector=connector) as session:
        with suppress(Refused):
            await worker.dial(session)
            return True
    return False


async def run(url: str, token: JoinToken, names: list[str]) -> dict[str, object]:
    """Let all join at once."""
    results: list[bool] = []
    refused: list[str] = []

    async def one(name: str) -> None:
        try:
            results.append(await join(url, token, name))
        except (OpsError, aiohttp.ClientError, OSError) as problem:
            refused.append(f"{name}: {problem}")

    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(one(name), name=name)
    return {"joined": len(results), "linked": results.count(True), "refused": refused}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="workers that join at once")
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("prefix")
    parser.add_argument("workers", type=int)
    options = parser.parse_args()
    names = [f"{options.prefix}-{number:03d}" for number in range(options.workers)]
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(asyncio.run(run(options.url, parse_join_token(options.token), names))), flush=True)


if __name__ == "__main__":
    main()

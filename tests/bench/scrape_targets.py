"""A tiny server for any number of Prometheus targets: every GET on any loopback address gets the same values as a sample.

python -m tests.bench.scrape_targets PORT
"""

import asyncio
import sys
from typing import cast

import uvloop

from ops_system.model.metrics import NODE_SERIES
from tests.bench.ops_sim import EXTRA


def make_answer() -> bytes:
    """Return the whole HTTP answer: the same names and values that a simulated worker sends each second."""
    lines = [f"node_{name} 50.25" for name in NODE_SERIES]
    lines += [f'node_extra{{series="{name}"}} {value}' for name, value in EXTRA.items()]
    body = ("\n".join(lines) + "\n").encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Target(asyncio.Protocol):
    """One kept connection."""

    answer = make_answer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request; a scrape's head fits one segment."""
        if data.endswith(b"\r\n\r\n"):
            self._transport.write(self.answer)


async def run(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Target, "0.0.0.0", port, backlog=4096)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(int(sys.argv[1])))

"""A console left open does not grow: what its data weighs and of how many pieces it is, by two looks at the heap.

Compiled code comes and goes as the engine likes (a hundred kilobytes in minutes) and is left out, as are Chromium's own
objects; what would grow by itself is made of objects, arrays, closures and strings.
"""

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.bench.bench_charts import sign_in, simulated
from tests.fakes.fleet import PASSWORD, Fleet

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

NODES = 100
WARM_S = 65  # caches fill, and a chart of one minute is as long as it gets
LOOK_S = 75
MAX_PIECES = 50  # one a second would be 75
MAX_BYTES = 200_000  # a chart forgets its old seconds a minute at once
COUNTED = ("object", "array", "closure")
PIECES = (*COUNTED, "object shape", "string", "concatenated string", "sliced string")
"""Texts come with functions that are compiled late: of them only the bytes tell."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    """Simulated nodes, which have the same devices all the time: a new interface is a new chart."""
    with Fleet(tmp_path_factory.mktemp("memory")) as running:
        running.start_master()
        running.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
        with simulated(running, NODES):
            yield running


class Heap:
    """Reads the heap of a page by snapshots, which collect garbage first."""

    def __init__(self, page) -> None:
        self._session = page.context.new_cdp_session(page)
        self._parts: list[str] = []
        self._session.on("HeapProfiler.addHeapSnapshotChunk", lambda event: self._parts.append(event["chunk"]))

    def look(self) -> tuple[Counter[str], Counter[str]]:
        """Return how many pieces of data there are of each kind, and their bytes."""
        self._parts.clear()
        self._session.send("HeapProfiler.takeHeapSnapshot", {"reportProgress": False})
        snapshot = json.loads("".join(self._parts))
        meta, nodes = snapshot["snapshot"]["meta"], snapshot["nodes"]
        width, kinds = len(meta["node_fields"]), meta["node_types"][0]
        kind_at, size_at = meta["node_fields"].index("type"), meta["node_fields"].index("self_size")
        counts: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for start in range(0, len(nodes), width):
            kind = kinds[nodes[start + kind_at]]
            if kind in PIECES:
                counts[kind] += 1
                sizes[kind] += nodes[start + size_at]
        return counts, sizes


@pytest.mark.parametrize("where", ["fleet", "node"])
def test_a_page_left_open_keeps_its_size(browser, fleet, where):
    page = sign_in(browser, fleet)
    told: list[object] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda _frame: told.append(socket)))
    page.reload()
    if where == "node":
        node = fleet.get("/nodes?limit=1")["items"][0]
        page.goto(f"{fleet.url}/nodes/{node['id']}?range=1m")
        page.get_by_test_id("node-charts").wait_for()
    heap = Heap(page)
    page.wait_for_timeout(WARM_S * 1000)
    heap.look()  # the first look compiles code by itself
    counts, sizes = heap.look()
    told.clear()
    page.wait_for_timeout(LOOK_S * 1000)
    later_counts, later_sizes = heap.look()
    frames = len(told)
    page.context.close()
    assert frames > LOOK_S / 2, "the page was not told anything"
    grown = {kind: (later_counts[kind] - counts[kind], later_sizes[kind] - sizes[kind]) for kind in PIECES}
    assert max(grown[kind][0] for kind in COUNTED) < MAX_PIECES, grown
    assert sum(size for _count, size in grown.values()) < MAX_BYTES, grown

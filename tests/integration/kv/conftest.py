"""The engines that the conformance suite runs on."""

import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from ops_system.kv.base import EVERYTHING, DeleteRequest, Store
from ops_system.kv.client import Client
from ops_system.kv.embedded import Embedded
from ops_system.runtime.tasks import running
from tests.fakes.etcd import Member, make_members, words_of
from tests.fakes.kvserver import serve_store


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    """One etcd for all tests of a file."""
    member = make_members(tmp_path_factory.mktemp("etcd"), 1)[0]
    member.start(words_of([member]))
    try:
        member.wait_ready()
        yield member
    finally:
        member.kill()


@pytest.fixture(params=["in process", "over HTTP", "etcd"])
async def store(request: pytest.FixtureRequest, tmp_path) -> AsyncIterator[Store]:
    """An empty store of each kind."""
    if request.param == "etcd":
        if shutil.which("etcd") is None:
            pytest.skip("etcd-server is not installed")
        async with Client([request.getfixturevalue("etcd").url]) as client:
            await client.delete(DeleteRequest(EVERYTHING.key, EVERYTHING.range_end))
            for lease_id in await client.leases():
                await client.revoke(lease_id)
            yield client
        return
    engine = await Embedded.open(tmp_path / "store.db")
    async with running(engine.run(), "store"):
        if request.param == "in process":
            yield engine
        else:
            async with serve_store(engine) as url, Client([url]) as client:
                yield client
    await engine.close()

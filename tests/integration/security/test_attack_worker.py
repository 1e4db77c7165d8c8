"""A worker from the outside: what listens, and what a thief of the link can make it do with words said before."""

import datetime as dt
import socket

import msgspec
import psutil
from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.errors import UsageError
from ops_system.model.ids import NodeId
from ops_system.model.instances import Desired, InstanceSpec
from ops_system.worker.enrol import parse_join_token
from tests.fakes.fleet import Fleet
from tests.fakes.mastersend import MastersEnd, now
from tests.fakes.wishes import wish
from tests.fakes.worker import eventually, running_worker, worker_config


def listening(pid: int) -> set[str]:
    """Return the addresses on which a process and its children listen or receive datagrams."""
    tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    found = [connection for one in tree for connection in one.net_connections("inet")]
    return {
        str(connection.laddr.ip)
        for connection in found
        if connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM
    }


def test_a_worker_listens_on_loopback_alone(tmp_path):
    with Fleet(tmp_path) as fleet:
        fleet.start_master()
        fleet.start_worker("w1")
        assert listening(fleet.programs["w1"].pid) == {"127.0.0.1"}
        assert listening(fleet.programs["master"].pid) == {"127.0.0.1"}  # nobody has set it up yet


async def test_words_said_before_or_to_somebody_else_are_not_obeyed(tmp_path):
    """What a thief of the link replays: a lower generation, another node's wish, an expired one, one of tomorrow."""
    master = MastersEnd(tmp_path)
    await master.start()
    async with running_worker(worker_config(tmp_path / "w", master.url, master.join_token)):
        await master.until(lambda: master.snapshots)
        folder = tmp_path / "w" / "state" / "desired"
        master.apply(wish("kept", 5, Desired.STOPPED))
        await eventually((folder / "kept.json").exists)
        hour = dt.timedelta(hours=1)
        master.apply(wish("kept", 4, Desired.RUNNING))
        master.apply(wish("kept", 5, Desired.RUNNING))
        master.apply(wish("kept", 6, Desired.RUNNING), node_id=NodeId("node_other"))
        master.apply(wish("kept", 6, Desired.RUNNING), issued_at=now() - hour)
        master.apply(wish("kept", 6, Desired.RUNNING), issued_at=now() + hour)
        master.apply(wish("../../escape", 1, Desired.STOPPED))
        master.apply(wish("last", 1, Desired.STOPPED))
        await eventually((folder / "last.json").exists)
        kept = msgspec.json.decode((folder / "kept.json").read_bytes(), type=InstanceSpec)
        assert (kept.generation, kept.desired) == (5, Desired.STOPPED)
        assert {path.name for path in folder.iterdir()} == {"kept.json", "last.json"}
        assert not list(tmp_path.rglob("escape*"))
    await master.stop()


@given(st.text(max_size=200) | st.builds("opsj1.{}.{}.{}".format, st.text(), st.text(), st.text()))
def test_any_text_is_a_join_token_or_a_usage_error_that_does_not_repeat_it(text):
    said = ""
    try:
        token = parse_join_token(text)
        assert len(token.ca_key_sha256) == 64
        assert token.secret not in repr(token) or token.secret in token.token_id
    except UsageError as refused:
        said = refused.message
    assert len(text) < 20 or text not in said

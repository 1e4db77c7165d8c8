import math
import socket

import pytest

from ops_system.model.errors import SafetyRefusal
from ops_system.model.ids import InstanceId
from ops_system.model.instances import Desired, State
from ops_system.model.metrics import INSTANCE_SERIES, NODE_SERIES
from ops_system.protocol.frames import Sample
from ops_system.worker.metrics.pace import Pace
from ops_system.worker.status import (
    Health,
    InstanceStatus,
    LinkStatus,
    StatusServer,
    is_loopback_name,
    prometheus_text,
)

ITEM = InstanceStatus(InstanceId("i1"), 'we"b', "1.0.0", Desired.RUNNING, State.RUNNING, restarts=2)
HEALTH = Health("ok", "0.1.0", "node_1", "n1", LinkStatus("linked", "http://127.0.0.1:8080"), (ITEM,))


async def test_a_port_in_use_is_refused_by_name() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = StatusServer(port, lambda: HEALTH, lambda: "")
        with pytest.raises(SafetyRefusal, match=f"port {port}"):
            await server.open()
        await server.close()


def test_measurements_in_prometheus_words() -> None:
    node = tuple(math.nan if name == "cpu_percent" else 1.5 for name in NODE_SERIES)
    row = tuple(float(place) for place, _ in enumerate(INSTANCE_SERIES))
    sample = Sample(1.0, node, {"disk:/:used_percent": 12.5}, {InstanceId("i1"): row, InstanceId("gone"): row})
    pace = Pace()
    pace.note(1.0)
    lines = prometheus_text(HEALTH, sample, 3, pace).splitlines()
    assert "ops_worker_link_up 1" in lines
    assert "ops_worker_samples_dropped 3" in lines
    assert "ops_node_load1 1.5" in lines
    assert 'ops_node_mount_used_percent{mount="/"} 12.5' in lines
    assert r'ops_instance_mem_bytes{instance_id="i1",name="we\"b"} 1' in lines
    assert r'ops_worker_instance_restarts{instance_id="i1",name="we\"b"} 2' in lines
    assert "ops_worker_slow_passes_total 1" in lines
    assert "# HELP ops_node_load1 Load average over one minute." in lines
    assert not any("cpu_percent" in line and line.startswith("ops_node") for line in lines)
    assert not any("gone" in line for line in lines)


@pytest.mark.parametrize(
    ("host", "is_fine"),
    [("127.0.0.1:8082", True), ("localhost", True), ("[::1]:8082", True), ("evil.example", False), ("10.0.0.1", False)],
)
def test_only_names_from_inside_are_answered(host: str, is_fine: bool) -> None:
    assert is_loopback_name(host) is is_fine

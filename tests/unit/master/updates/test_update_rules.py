import pytest

from ops_system.master.updates.rules import ManyWorkerUpdate, WorkerUpdate, check_order, find_obstacle
from ops_system.model.errors import Invalid


@pytest.mark.parametrize(
    "order",
    [
        WorkerUpdate("1.0"),
        WorkerUpdate("1.0", package="ops-worker-arm64", prove_within_s=5),
        ManyWorkerUpdate("1.0", labels={"zone": "a"}, max_parallel=50),
        ManyWorkerUpdate("1.0", node_ids=["n1"]),
    ],
)
def test_what_a_worker_would_take_passes(order):
    check_order(order)


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        (WorkerUpdate("1.0", package="web"), "$.package"),
        (WorkerUpdate("1.0", package="ops-workers"), "$.package"),
        (WorkerUpdate("1.0", prove_within_s=4.9), "$.prove_within_s"),
        (WorkerUpdate("1.0", prove_within_s=float("nan")), "$.prove_within_s"),
        (ManyWorkerUpdate("1.0"), "either node_ids or labels"),
        (ManyWorkerUpdate("1.0", node_ids=["n1"], labels={"zone": "a"}), "either node_ids or labels"),
        (ManyWorkerUpdate("1.0", node_ids=["n1"], max_parallel=0), "$.max_parallel"),
    ],
)
def test_each_fault_is_named(order, problem):
    with pytest.raises(Invalid) as refused:
        check_order(order)
    assert [text for text in refused.value.details["problems"] if problem in text]


def test_workers_are_only_updated_forwards():
    assert find_obstacle("1.10", "1.9", "n1") == ""
    assert "not newer than 1.10" in find_obstacle("1.9", "1.10", "n1")
    assert "not newer than 1.0" in find_obstacle("1.0", "1.0", "n1")

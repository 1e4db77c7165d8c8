import math

import pytest

from ops_system.master.upgrades.gates import Gate, find_gate_problems, judge, mean_of
from ops_system.master.upgrades.rules import Strategy, check_strategy
from ops_system.model.errors import Invalid


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (Gate("cpu_persent", above=1), "did you mean cpu_percent?"),
        (Gate("qqq", above=1), "there are cpu_percent, mem_bytes"),
        (Gate("mem_bytes"), "give one of"),
        (Gate("mem_bytes", above=1, growth=2), "give one of"),
        (Gate("mem_bytes", growth=1e9), r"gates\[0\].growth: must be"),
        (Gate("mem_bytes", above=math.nan), r"gates\[0\].above: must be"),
        (Gate("mem_bytes", below=-1), r"gates\[0\].below: must be"),
        (Gate("mem_bytes", above=1, window_s=0), r"window_s: must be"),
        (Gate("mem_bytes", above=1, window_s=11), "longer than the watch of 10 s"),
    ],
)
def test_a_gate_that_could_not_be_judged_is_refused(gate, said):
    with pytest.raises(Invalid, match=said):
        check_strategy(Strategy(gates=(gate,)))


def test_gates_are_few_and_all_faults_are_told():
    faults = list(find_gate_problems([Gate("x")] * 11, bake_s=10))
    assert faults[0] == "$.strategy.gates: at most 10 gates"
    assert len(faults) == 21
    assert list(find_gate_problems([Gate("mem_bytes", growth=1.5)], bake_s=10)) == []


def test_the_mean_is_that_of_what_is_known():
    assert mean_of([None, 1.0, 3.0]) == 2.0
    assert mean_of([None]) is None


@pytest.mark.parametrize(
    ("gate", "values", "baseline", "code"),
    [
        (Gate("mem_bytes", above=10), [9, 10, 11], {}, None),
        (Gate("mem_bytes", above=10), [10, 11], {}, "gate_above"),
        (Gate("mem_bytes", below=10), [9, 10], {}, "gate_below"),
        (Gate("mem_bytes", below=10), [10, None], {}, None),
        (Gate("mem_bytes", growth=1.5), [150], {"mem_bytes": 100}, None),
        (Gate("mem_bytes", growth=1.5), [151], {"mem_bytes": 100}, "gate_above"),
        (Gate("mem_bytes", growth=1.5), [151], {}, "gate_without_baseline"),
        (Gate("cpu_percent", growth=1.5), [1], {"cpu_percent": 0}, "gate_without_baseline"),
        (Gate("mem_bytes", above=10), [None, None], {}, "gate_without_data"),
    ],
)
def test_a_gate_judges_the_mean_of_its_window(gate, values, baseline, code):
    found = judge(gate, values, baseline, is_last=True)
    assert (found.code if found else None) == code


def test_what_is_not_seen_yet_may_still_come():
    assert judge(Gate("mem_bytes", above=10), [None], {}) is None
    assert judge(Gate("mem_bytes", growth=2), [5], {}) is None

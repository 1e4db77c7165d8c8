"""Rules and silences that cannot work are refused with every fault at its path."""

from datetime import UTC, datetime, timedelta

import pytest

from ops_system.master.alerts.checks import PLACEHOLDERS, check_rule, check_silence
from ops_system.master.alerts.defaults import DEFAULTS
from ops_system.master.alerts.telling import params_of, written
from ops_system.model.alerts import (
    Alert,
    AlertState,
    Condition,
    ConditionKind,
    Grouping,
    Matchers,
    NewRule,
    NewSilence,
    Scope,
    Severity,
    Texts,
)
from ops_system.model.errors import Invalid

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
CPU = Condition(kind=ConditionKind.NODE_METRIC, series="cpu_percent", fire_level=90)


def faults(**fields):
    with pytest.raises(Invalid) as refused:
        check_rule(NewRule(**{"name": "r", "condition": CPU} | fields), {"chn_1"})
    return [problem.partition(":")[0] for problem in refused.value.details["problems"]]


def on(kind, **fields):
    return Condition(kind=ConditionKind(kind), **fields)


def test_the_shipped_rules_are_fine():
    for rule in DEFAULTS.values():
        check_rule(rule, set())


@pytest.mark.parametrize(
    ("condition", "where"),
    [
        (on("node_metric", series="cpu_procent", fire_level=1), ["series"]),
        (on("node_metric", series="", fire_level=1), ["series"]),
        (on("instance_metric", series="load1", fire_level=1), ["series"]),
        (on("node_metric", series="disk::used_bytez", fire_level=1), ["series"]),
        (on("node_metric", series="cpu_percent"), ["fire_level"]),
        (on("node_metric", series="cpu_percent", fire_level=float("nan")), ["fire_level"]),
        (on("node_metric", series="cpu_percent", fire_level=1, clear_level=2), ["clear_level"]),
        (on("node_metric", series="cpu_percent", op="<", fire_level=2, clear_level=1), ["clear_level"]),
        (on("node_metric", series="cpu_percent", fire_level=1, window_s=901), ["window_s"]),
        (on("node_metric", series="cpu_percent", fire_level=1, mode="every"), ["mode"]),
        (on("node_metric", series="cpu_percent", fire_level=1, states=("online",)), ["states"]),
        (on("node_status"), ["states"]),
        (on("node_status", states=("offline", "gone")), ["states[1]"]),
        (on("node_status", states=("offline",), fire_level=1), ["fire_level"]),
        (on("instance_state", states=("unknown",)), ["states[0]"]),
        (on("idc_status", states=("offline",), window_s=5), ["states[0]", "window_s"]),
        (on("instance_restarts"), ["fire_level"]),
        (on("no_data", window_s=5), ["window_s"]),
        (on("certificate", fire_level=1, series="x", window_s=3, share_percent=0), ["series", "window_s", "share_percent"]),
        (on("log", fire_level=1, window_s=60), ["log", "pattern"]),
        (on("log", fire_level=1, window_s=60, log="stdout", pattern="(", regex=True), ["pattern"]),
        (on("log", fire_level=1, window_s=5, log="stdout", pattern="(", clear_level=0), ["window_s", "op"]),
        (on("certificate", fire_level=1, pattern="x", regex=True), ["pattern", "regex"]),
    ],
    ids=str,
)  # fmt: skip
def test_a_condition_that_cannot_be_judged_is_refused(condition, where):
    assert faults(condition=condition) == [f"$.condition.{field}" for field in where]


@pytest.mark.parametrize("series", ["disk:/data:used_percent", "net:eth0:rx_bytes_per_s", "cpu0_percent", "load1"])
def test_series_of_machines_are_known_by_their_shape(series):
    check_rule(NewRule(name="r", condition=on("node_metric", series=series, fire_level=1)), set())


def test_every_other_field_is_looked_at_too():
    assert faults(name="r ", for_s=-1, keep_firing_for_s=1e9) == ["$.name", "$.for_s", "$.keep_firing_for_s"]
    assert faults(channels=("chn_1", "chn_2")) == ["$.channels[1]"]
    assert faults(group=Grouping(wait_s=-1, interval_s=0, repeat_s=5)) == [
        "$.group.wait_s",
        "$.group.interval_s",
        "$.group.repeat_s",
    ]
    assert faults(condition=on("idc_status", states=("silent",)), scope=Scope(labels={"zone": "a"})) == ["$.scope"]
    assert faults(scope=Scope(system_id="sys_1", labels={"-": "x"}, node_ids=("\0",))) == [
        "$.scope.labels.-",
        "$.scope.node_ids",
        "$.scope.system_id",
    ]
    assert faults(condition=on("node_status", states=("offline",)), no_data="firing") == ["$.no_data"]


@pytest.mark.parametrize(
    "text", ["{name.__class__}", "{name[0]}", "{0}", "{}", "{name!r}", "{name:>9999999}", "{", "}"]
)
def test_a_text_places_values_and_reaches_into_nothing(text):
    assert faults(texts=Texts(en=text)) == ["$.texts.en"]


def test_every_placeholder_has_a_value_and_a_value_is_never_a_text():
    rule = NewRule(
        name="{level}", condition=CPU, texts=Texts(en=" ".join(f"{{{name}}}" for name in sorted(PLACEHOLDERS)))
    )
    check_rule(rule, set())
    alert = Alert(
        id="alt_1",
        rule_id="rul_1",
        rule_name="r",
        severity=Severity.WARNING,
        state=AlertState.FIRING,
        subject="node:n1",
        subject_name="{value}",
        node_id="n1",
        value=97.5,
        started_at=NOW,
    )
    params = params_of(rule, alert)
    assert set(params) == PLACEHOLDERS
    assert written(Texts(en="{{}} {rule} {name}: {value} {level}", zh=""), params) == {
        "en": "{} {level} {value}: 97.5 >= 90"
    }


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"matchers": Matchers()}, "$.matchers"),
        ({"reason": ""}, "$.reason"),
        ({"ends_at": NOW}, "$.ends_at"),
        ({"ends_at": NOW + timedelta(days=400)}, "$.ends_at"),
        ({"ends_at": datetime(2027, 1, 1)}, "$.ends_at"),  # noqa: DTZ001 - a time without an offset is the point
        ({"starts_at": NOW + timedelta(hours=2)}, "$.ends_at"),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused(fields, where):
    good = {"reason": "work", "matchers": Matchers(node_ids=("n1",)), "ends_at": NOW + timedelta(hours=1)}
    check_silence(NewSilence(**good), NOW)
    with pytest.raises(Invalid) as refused:
        check_silence(NewSilence(**good | fields), NOW)
    assert [problem.partition(":")[0] for problem in refused.value.details["problems"]] == [where]

"""What a rule and a silence must be before they are kept: every fault at once, as `path: text`. Pure."""

import difflib
import math
import re
import string
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from ops_system.master.nodes.rules import check_labels
from ops_system.model.alerts import (
    IDC,
    SILENT,
    Condition,
    ConditionKind,
    Grouping,
    Matchers,
    NewRule,
    NewSilence,
    Scope,
    Texts,
)
from ops_system.model.errors import Invalid
from ops_system.model.instances import HealthState, State
from ops_system.model.metrics import INSTANCE_SERIES, NODE_SERIES
from ops_system.model.nodes import NodeStatus

MAX_NAME = 64
MAX_TEXT = 500
MAX_REASON = 500
MAX_IDS = 500
MAX_WINDOW_S = 900
MAX_TIMER_S = 86_400.0
MAX_REPEAT_S = 30 * 86_400.0
MIN_REPEAT_S = 60.0
MIN_SILENCE_OF_DATA_S = 30
MIN_LOG_WINDOW_S = 10
MAX_PATTERN = 200
MAX_SILENCE = timedelta(days=366)
MAX_SERIES_NAME = 128
_ONE_IDC = '$.scope: of a data centre only its name counts: {"labels": {"idc": "dc1"}}, or nothing for all'
PLACEHOLDERS = frozenset(
    {"rule", "severity", "subject", "name", "node", "value", "level", "series", "state", "system", "instance"}
)

METRIC_KINDS = frozenset({ConditionKind.NODE_METRIC, ConditionKind.INSTANCE_METRIC})
LEVEL_KINDS = METRIC_KINDS | {ConditionKind.INSTANCE_RESTARTS, ConditionKind.CERTIFICATE, ConditionKind.LOG}
INSTANCE_KINDS = frozenset(
    {
        ConditionKind.INSTANCE_METRIC,
        ConditionKind.INSTANCE_STATE,
        ConditionKind.INSTANCE_HEALTH,
        ConditionKind.INSTANCE_RESTARTS,
        ConditionKind.LOG,
    }
)
_STATES: Mapping[ConditionKind, tuple[str, ...]] = {
    ConditionKind.NODE_STATUS: (NodeStatus.SUSPECT, NodeStatus.OFFLINE),
    ConditionKind.IDC_STATUS: (SILENT,),
    ConditionKind.INSTANCE_STATE: tuple(state for state in State if state is not State.UNKNOWN),
    ConditionKind.INSTANCE_HEALTH: (HealthState.STARTING, HealthState.HEALTHY, HealthState.UNHEALTHY),
}
_VARYING = (  # how a machine's own series begin and end (model/metrics.py)
    ("cpu", "_percent"),
    ("disk:", (":used_percent", ":used_bytes", ":size_bytes", ":inodes_percent")),
    ("diskio:", (":read_bytes_per_s", ":write_bytes_per_s", ":busy_percent")),
    ("net:", (":rx_bytes_per_s", ":tx_bytes_per_s", ":rx_errors_per_s", ":tx_errors_per_s")),
    ("temp:", ":celsius"),
    ("pressure:", ":percent"),
)


def check_rule(rule: NewRule, channel_ids: Collection[str], kept_channels: Collection[str] = ()) -> None:
    """Raise `Invalid` with every fault. `kept_channels`: those the rule had before, which may be gone by now."""
    problems = [
        *_line_problems("$.name", rule.name, MAX_NAME, is_required=True),
        *_condition_problems(rule.condition),
        *_scope_problems(rule.scope, rule.condition.kind),
        *_span_problems("$.for_s", rule.for_s, 0, MAX_TIMER_S),
        *_span_problems("$.keep_firing_for_s", rule.keep_firing_for_s, 0, MAX_TIMER_S),
        *_group_problems(rule.group),
        *_text_problems(rule.texts),
        *_channel_problems(rule.channels, {*channel_ids, *kept_channels}),
    ]
    if rule.no_data != "ok" and rule.condition.kind not in METRIC_KINDS:
        problems.append(f"$.no_data: a condition on {rule.condition.kind} has no samples that could be missing")
    _raise(problems)


def check_silence(silence: NewSilence, now: datetime) -> None:
    """Raise `Invalid` with every fault."""
    starts_at = silence.starts_at or now
    problems = [
        *_line_problems("$.reason", silence.reason, MAX_REASON, is_required=True),
        *_matcher_problems(silence.matchers),
    ]
    for path, at in (("$.starts_at", silence.starts_at), ("$.ends_at", silence.ends_at)):
        if at is not None and at.tzinfo is None:
            problems.append(f"{path}: give the offset, e.g. 2026-01-02T03:04:05Z")
    if not problems and silence.ends_at <= max(starts_at, now):
        problems.append("$.ends_at: must lie in the future and after starts_at")
    if not problems and silence.ends_at - starts_at > MAX_SILENCE:
        problems.append(f"$.ends_at: at most {MAX_SILENCE.days} days after the start; change or switch off the rule")
    _raise(problems)


def check_note(note: str) -> None:
    """Raise `Invalid` for a note that is too long or not printable."""
    _raise(_line_problems("$.note", note, MAX_REASON, is_required=False))


def has_series(kind: ConditionKind, series: str) -> bool:
    """Whether a node (or an instance) can ever send a series of this name."""
    if kind is ConditionKind.INSTANCE_METRIC:
        return series in INSTANCE_SERIES
    return series in NODE_SERIES or any(
        series.startswith(start) and series.endswith(end) and len(series) > len(start) for start, end in _VARYING
    )


# --- conditions ------------------------------------------------------------------------------------------------------
def _condition_problems(condition: Condition) -> list[str]:
    kind = condition.kind
    problems = [*_series_problems(condition), *_state_problems(condition), *_window_problems(condition)]
    problems += _log_problems(condition)
    if kind in LEVEL_KINDS:
        return problems + _level_problems(condition)
    levels = [field for field in ("fire_level", "clear_level") if getattr(condition, field) is not None]
    return problems + [f"$.condition.{field}: a condition on {kind} has no level" for field in levels]


def _series_problems(condition: Condition) -> list[str]:
    kind, series, path = condition.kind, condition.series, "$.condition.series"
    if kind not in METRIC_KINDS | {ConditionKind.NO_DATA}:
        return [f"{path}: a condition on {kind} has no series"] if series else []
    if kind is ConditionKind.NO_DATA and not series:
        return []
    if len(series) <= MAX_SERIES_NAME and has_series(kind, series):
        return []
    known = INSTANCE_SERIES if kind is ConditionKind.INSTANCE_METRIC else NODE_SERIES
    close = difflib.get_close_matches(series, known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
    return [f"{path}: there is no series {series[:80]!r}{hint}"]


def _state_problems(condition: Condition) -> list[str]:
    kind, path = condition.kind, "$.condition.states"
    known = _STATES.get(kind)
    if known is None:
        return [f"{path}: a condition on {kind} has none"] if condition.states else []
    problems = [
        f"{path}[{index}]: {state[:40]!r} is none of {', '.join(known)}"
        for index, state in enumerate(condition.states)
        if state not in known
    ]
    return problems or ([] if condition.states else [f"{path}: give at least one of {', '.join(known)}"])


def _window_problems(condition: Condition) -> list[str]:
    kind, path = condition.kind, "$.condition.window_s"
    problems = []
    if kind is ConditionKind.NO_DATA:
        problems += _span_problems(path, condition.window_s, MIN_SILENCE_OF_DATA_S, MAX_WINDOW_S)
    elif kind is ConditionKind.LOG:
        problems += _span_problems(path, condition.window_s, MIN_LOG_WINDOW_S, MAX_WINDOW_S)
    elif kind in METRIC_KINDS:
        problems += _span_problems(path, condition.window_s, 0, MAX_WINDOW_S)
    elif condition.window_s:
        problems.append(f"{path}: a condition on {kind} has no window; use for_s")
    problems += _span_problems("$.condition.share_percent", condition.share_percent, 1, 100)
    if kind in METRIC_KINDS and condition.mode != "mean" and not condition.window_s:
        problems.append("$.condition.mode: the newest sample alone has no mode; give window_s")
    return problems


def _log_problems(condition: Condition) -> list[str]:
    if condition.kind is not ConditionKind.LOG:
        given = [field for field in ("log", "pattern", "regex") if getattr(condition, field)]
        return [f"$.condition.{field}: a condition on {condition.kind} has none" for field in given]
    problems = _line_problems("$.condition.log", condition.log, MAX_NAME, is_required=True)
    problems += _line_problems("$.condition.pattern", condition.pattern, MAX_PATTERN, is_required=True)
    if condition.clear_level is not None or condition.op != ">=":
        problems.append("$.condition.op: lines are counted upwards: >= and fire_level, no clear_level")
    if condition.regex and not problems:
        try:
            re.compile(condition.pattern.encode())
        except (re.error, OverflowError, RecursionError) as fault:
            problems.append(f"$.condition.pattern: no regular expression: {fault}")
    return problems


def _level_problems(condition: Condition) -> list[str]:
    fire, clear = condition.fire_level, condition.clear_level
    if fire is None or not math.isfinite(fire):
        return ["$.condition.fire_level: a number is needed"]
    if clear is None:
        return []
    is_upward = condition.op in {">", ">="}
    if not math.isfinite(clear) or (clear > fire if is_upward else clear < fire):
        side = "below or equal to" if is_upward else "above or equal to"
        return [f"$.condition.clear_level: must be {side} fire_level ({fire:g}) for {condition.op!r}"]
    return []


# --- the rest --------------------------------------------------------------------------------------------------------
def _scope_problems(scope: Scope, kind: ConditionKind) -> list[str]:
    if kind is ConditionKind.CERTIFICATE:
        return [] if scope == Scope() else ["$.scope: certificates are the master's own; leave it empty"]
    if kind is ConditionKind.IDC_STATUS:
        return [] if scope == Scope(labels=scope.labels) and {*scope.labels} <= {IDC} else [_ONE_IDC]
    problems = [*_label_problems("$.scope.labels", scope.labels), *_id_problems("$.scope.node_ids", scope.node_ids)]
    for field in ("system_id", "module_id"):
        if getattr(scope, field) and kind not in INSTANCE_KINDS:
            problems.append(f"$.scope.{field}: only conditions on instances have one")
        problems += _id_problems(f"$.scope.{field}", (getattr(scope, field),))
    return problems


def _group_problems(group: Grouping) -> list[str]:
    problems = _span_problems("$.group.wait_s", group.wait_s, 0, 3600)
    problems += _span_problems("$.group.interval_s", group.interval_s, 1, MAX_TIMER_S)
    if group.repeat_s:
        problems += _span_problems("$.group.repeat_s", group.repeat_s, MIN_REPEAT_S, MAX_REPEAT_S)
    return problems


def _text_problems(texts: Texts) -> list[str]:
    problems = []
    for language in ("en", "zh"):
        path, text = f"$.texts.{language}", getattr(texts, language)
        problems += _line_problems(path, text, MAX_TEXT, is_required=False) or _placeholder_problems(path, text)
    return problems


def _placeholder_problems(path: str, text: str) -> list[str]:
    """Only `{name}` is a placeholder: no attributes, no items, no formats (they would reach into objects)."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as fault:
        return [f"{path}: {fault}; write {{{{ for a brace"]
    names = [(name, spec, conversion) for _, name, spec, conversion in parts if name is not None]
    known = ", ".join(sorted(PLACEHOLDERS))
    return [
        f"{path}: {{{name[:40]}}} is no placeholder; known are {known}"
        for name, spec, conversion in names
        if name not in PLACEHOLDERS or spec or conversion
    ]


def _channel_problems(channels: tuple[str, ...], known: Collection[str]) -> list[str]:
    if len(channels) > MAX_IDS:
        return [f"$.channels: at most {MAX_IDS}"]
    return [
        f"$.channels[{index}]: there is no channel {channel[:40]!r}"
        for index, channel in enumerate(channels)
        if channel not in known
    ]


def _matcher_problems(matchers: Matchers) -> list[str]:
    if matchers == Matchers():
        return ["$.matchers: give at least one; a silence of everything hides everything"]
    return [
        *_id_problems("$.matchers.rule_ids", matchers.rule_ids),
        *_id_problems("$.matchers.node_ids", matchers.node_ids),
        *_label_problems("$.matchers.labels", matchers.labels),
        *_id_problems("$.matchers.system_id", (matchers.system_id,)),
        *_id_problems("$.matchers.instance_id", (matchers.instance_id,)),
    ]


def _label_problems(path: str, labels: Mapping[str, str]) -> list[str]:
    try:
        check_labels(labels)
    except Invalid as fault:
        found = fault.details["problems"]
        assert isinstance(found, list)
        return [f"{path}{problem.removeprefix('labels')}" for problem in found]
    return []


def _id_problems(path: str, ids: Iterable[str]) -> list[str]:
    found = list(ids)
    if len(found) > MAX_IDS:
        return [f"{path}: at most {MAX_IDS}"]
    return [f"{path}: {one[:40]!r} is no id" for one in found if len(one) > MAX_NAME or not one.isprintable()]


def _span_problems(path: str, value: float, low: float, high: float) -> list[str]:
    return [] if math.isfinite(value) and low <= value <= high else [f"{path}: must be from {low:g} to {high:g}"]


def _line_problems(path: str, text: str, limit: int, *, is_required: bool) -> list[str]:
    bad = any(unicodedata.category(character).startswith("C") for character in text)
    if bad or len(text) > limit or text != text.strip() or (is_required and not text):
        return [f"{path}: {1 if is_required else 0} to {limit} visible characters, no space at either end"]
    return []


def _raise(problems: list[str]) -> None:
    if problems:
        raise Invalid("; ".join(problems[:5]), problems=problems)

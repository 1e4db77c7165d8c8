"""When alerts of a rule are told, together with which others, and in what words: pure. Used by `desk`.

    first alert of a group --wait_s--> told --interval_s, something new--> told again --repeat_s, nothing new--> again

What is silenced, or muted by its silent node, waits; what ends meanwhile is never told of. What somebody has
acknowledged is not repeated, its end is told.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Literal

import msgspec

from ops_system.master.alerts.cases import Case
from ops_system.master.alerts.defaults import INSTANCE_FAILED, NODE_OFFLINE
from ops_system.master.alerts.views import StoredRule
from ops_system.master.channels.rules import EventKind, Notice
from ops_system.model.alerts import Alert, AlertState, Grouping, NewRule, Severity, Texts

News = Literal["firing", "no_data", "resolved"]

_SHIPPED: Mapping[str, tuple[EventKind, str, str]] = {  # event, code of its beginning, of its end
    NODE_OFFLINE: (EventKind.NODE_OFFLINE, "node_offline", "node_back"),
    INSTANCE_FAILED: (EventKind.INSTANCE_FAILED, "instance_failed", "instance_recovered"),
}


class Telling(msgspec.Struct, frozen=True):
    """One case that is to be told of now."""

    case: Case
    news: News


def group_of(alert: Alert, by: str) -> str:
    """Return the key of the group an alert is told with."""
    match by:
        case "node":
            return alert.node_id or alert.subject
        case "system":
            return alert.system_id or alert.subject
        case _:
            return ""


def due(cases: Iterable[Case], grouping: Grouping, now_s: float, is_quiet: Callable[[Alert], bool]) -> list[Telling]:
    """Return what of one rule is to be told now; notes in each case since when it has news."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        if case.alert is not None and case.alert.state is not AlertState.PENDING:
            groups.setdefault(group_of(case.alert, grouping.by), []).append(case)
    return [one for members in groups.values() for one in _due_of_group(members, grouping, now_s, is_quiet)]


def _due_of_group(
    cases: list[Case], grouping: Grouping, now_s: float, is_quiet: Callable[[Alert], bool]
) -> list[Telling]:
    last_s = max((case.told_s for case in cases if case.told_s is not None), default=None)
    fresh: list[Telling] = []
    for case in cases:
        news = case.news
        if not news or (case.alert is not None and is_quiet(case.alert)):
            case.news_s = None
            continue
        case.news_s = now_s if case.news_s is None else case.news_s
        fresh.append(Telling(case, news))
    first_s = min((one.case.news_s for one in fresh if one.case.news_s is not None), default=now_s)
    due_s = first_s + grouping.wait_s if last_s is None else last_s + grouping.interval_s
    told = fresh if fresh and now_s >= due_s else []
    return told + [one for case in cases for one in _reminder(case, grouping, now_s, is_quiet)]


def _reminder(case: Case, grouping: Grouping, now_s: float, is_quiet: Callable[[Alert], bool]) -> list[Telling]:
    alert, told_s = case.alert, case.told_s
    if not grouping.repeat_s or alert is None or told_s is None or not case.told or case.news or alert.ack:
        return []
    if now_s - told_s < grouping.repeat_s or is_quiet(alert):
        return []
    return [Telling(case, case.told)]


# --- words -----------------------------------------------------------------------------------------------------------
def notice_of(rule: StoredRule, alert: Alert, news: News, at: datetime) -> Notice:
    """Return what channels are told. A shipped rule keeps the words and the event it has always had."""
    event, begin, end = _SHIPPED.get(rule.builtin, (EventKind.ALERT, f"alert_{news}", "alert_resolved"))
    is_over = news == "resolved"
    shown = params_of(rule.body, alert)
    return Notice(
        event=event,
        subject=alert.subject,
        severity=Severity.INFO if is_over else alert.severity,
        code=end if is_over else begin,
        params=_params(rule, shown),
        at=at,
        lines=(alert.reason.message,) if alert.reason and not is_over else (),
        path=_path(alert),
        texts={} if is_over else written(rule.body.texts, shown),
        channels=rule.body.channels,
        state=news,
        alert_id=alert.id,
    )


def _params(rule: StoredRule, shown: Mapping[str, str]) -> dict[str, str | int | float]:
    if rule.builtin == NODE_OFFLINE:
        return {"name": shown["name"]}
    names = ("name", "node") if rule.builtin in _SHIPPED else ("name", "node", "rule", "value", "level")
    return {name: shown[name] for name in names}


def _path(alert: Alert) -> str:
    if alert.instance_id:
        return f"/instances/{alert.instance_id}"
    return f"/nodes/{alert.node_id}" if alert.node_id else "/alerts"


def params_of(rule: NewRule, alert: Alert) -> dict[str, str]:
    """Return what the placeholders of a text stand for."""
    condition = rule.condition
    return {
        "rule": rule.name,
        "severity": alert.severity,
        "subject": alert.subject,
        "name": alert.subject_name,
        "node": alert.node_name or alert.node_id,
        "value": "" if alert.value is None else f"{alert.value:.6g}",
        "level": "" if condition.fire_level is None else f"{condition.op} {condition.fire_level:g}",
        "series": condition.series,
        "state": alert.state,
        "system": alert.system_id,
        "instance": alert.instance_id,
    }


def written(texts: Texts, params: Mapping[str, str]) -> dict[str, str]:
    """Return the rule's own sentences by language, placeholders filled in. They were checked when it was kept."""
    found = {"en": texts.en, "zh": texts.zh}
    return {language: text.format_map(params) for language, text in found.items() if text}

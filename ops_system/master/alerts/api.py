"""HTTP of alert rules, alerts and silences: parse, call, answer."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ops_system.master.alerts.service import Alerts
from ops_system.master.alerts.trials import Trials
from ops_system.master.alerts.views import AlertQuery, Note, RulePatch, SilenceQuery, check_words
from ops_system.master.web.route import Call, ListQuery, Nothing, Page, Permission, Route
from ops_system.model.alerts import Alert, AlertDetails, Backtest, BacktestOrder, NewRule, NewSilence, Rule, Silence
from ops_system.model.errors import Invalid

T = TypeVar("T")

_RULE_SORTS = ("name", "severity", "enabled", "created_at", "updated_at", "firing")
_SILENCE_SORTS = ("created_at", "starts_at", "ends_at", "author")
_STATES = ("scheduled", "active", "expired")


def routes(service: Alerts, trials: Trials) -> list[Route]:
    """Return the routes of `/alert-rules`, `/alerts` and `/silences`."""
    return [
        _backtest_route(trials),
        *_rule_read_routes(service),
        *_rule_write_routes(service),
        *_alert_routes(service),
        *_silence_read_routes(service),
        *_silence_write_routes(service),
    ]


def _rule_read_routes(service: Alerts) -> list[Route]:
    async def list_rules(call: Call) -> Page[Rule]:
        query: ListQuery = call.query
        found = [rule for rule in service.shown_rules() if _has(query.q, rule.name, rule.condition.series, rule.id)]
        return _page(found, query, _RULE_SORTS)

    async def get_rule(call: Call) -> Rule:
        return service.shown_rule(call.params["id"])

    return [
        Route(
            "GET",
            "/alert-rules",
            Permission.VIEW,
            list_rules,
            "List alert rules, each with what fires by it",
            "list_alert_rules",
            answer=Page[Rule],
            query=ListQuery,
            tag="alerts",
            errors=("invalid",),
        ),
        Route(
            "GET",
            "/alert-rules/{id}",
            Permission.VIEW,
            get_rule,
            "Show one alert rule",
            "get_alert_rule",
            answer=Rule,
            tag="alerts",
            errors=("not_found",),
        ),
    ]


def _rule_write_routes(service: Alerts) -> list[Route]:
    async def create_rule(call: Call) -> Rule:
        rule = await service.rulebook.create(call.body, call.principal)
        return service.shown_rule(rule.id)

    async def replace_rule(call: Call) -> Rule:
        await service.rulebook.replace(call.params["id"], call.body, call.principal)
        return service.shown_rule(call.params["id"])

    async def switch_rule(call: Call) -> Rule:
        await service.rulebook.switch(call.params["id"], call.principal, enabled=call.body.enabled)
        return service.shown_rule(call.params["id"])

    async def delete_rule(call: Call) -> Nothing:
        await service.rulebook.delete(call.params["id"], call.principal)
        return Nothing()

    return [
        Route(
            "POST",
            "/alert-rules",
            Permission.ADMIN,
            create_rule,
            "Make an alert rule",
            "create_alert_rule",
            answer=Rule,
            body=NewRule,
            status=201,
            tag="alerts",
            errors=("invalid", "conflict", "not_allowed"),
        ),
        Route(
            "PUT",
            "/alert-rules/{id}",
            Permission.ADMIN,
            replace_rule,
            "Write an alert rule anew; alerts that fire by it are judged by the new one",
            "replace_alert_rule",
            answer=Rule,
            body=NewRule,
            tag="alerts",
            errors=("invalid", "not_found", "conflict"),
        ),
        Route(
            "PATCH",
            "/alert-rules/{id}",
            Permission.ADMIN,
            switch_rule,
            "Switch an alert rule on or off",
            "switch_alert_rule",
            answer=Rule,
            body=RulePatch,
            tag="alerts",
            errors=("invalid", "not_found"),
        ),
        Route(
            "DELETE",
            "/alert-rules/{id}",
            Permission.ADMIN,
            delete_rule,
            "Delete an alert rule; what it raised ends and stays as history",
            "delete_alert_rule",
            tag="alerts",
            errors=("not_found",),
        ),
    ]


def _backtest_route(trials: Trials) -> Route:
    async def backtest(call: Call) -> Backtest:
        def is_gone() -> bool:
            return call.request.transport is None or call.request.transport.is_closing()

        return await trials.run(call.body, call.principal, is_gone)

    return Route(
        "POST",
        "/alert-rules/backtest",
        Permission.OPERATE,
        backtest,
        "Try a rule on the stored history: when it would have fired, and how often people would have been told",
        "backtest_alert_rule",
        answer=Backtest,
        body=BacktestOrder,
        tag="alerts",
        errors=("invalid", "unavailable"),
    )


def _alert_routes(service: Alerts) -> list[Route]:
    async def list_alerts(call: Call) -> Page[Alert]:
        return await service.list_page(call.query, call.principal)

    async def get_alert(call: Call) -> AlertDetails:
        return await service.get(call.params["id"], call.principal)

    async def acknowledge(call: Call) -> Alert:
        return await service.acknowledge(call.params["id"], call.body.note, call.principal)

    async def withdraw(call: Call) -> Alert:
        return await service.withdraw(call.params["id"], call.principal)

    return [
        Route(
            "GET",
            "/alerts",
            Permission.VIEW,
            list_alerts,
            "List alerts: what is pending or fires, and what did, the newest first",
            "list_alerts",
            answer=Page[Alert],
            query=AlertQuery,
            tag="alerts",
            errors=("invalid",),
        ),
        Route(
            "GET",
            "/alerts/{id}",
            Permission.VIEW,
            get_alert,
            "Show one alert with its history",
            "get_alert",
            answer=AlertDetails,
            tag="alerts",
            errors=("not_found",),
        ),
        Route(
            "POST",
            "/alerts/{id}/ack",
            Permission.OPERATE,
            acknowledge,
            "Acknowledge an alert: nobody is reminded of it until it ends",
            "acknowledge_alert",
            answer=Alert,
            body=Note,
            tag="alerts",
            errors=("invalid", "not_found", "not_allowed"),
        ),
        Route(
            "POST",
            "/alerts/{id}/unack",
            Permission.OPERATE,
            withdraw,
            "Take an acknowledgement back",
            "unacknowledge_alert",
            answer=Alert,
            tag="alerts",
            errors=("not_found", "not_allowed"),
        ),
    ]


def _silence_read_routes(service: Alerts) -> list[Route]:
    async def list_silences(call: Call) -> Page[Silence]:
        query: SilenceQuery = call.query
        states = check_words("state", query.state, _STATES)
        shown = service.shown_silences(call.principal)
        found = [one for one in shown if (not states or one.state in states) and _has(query.q, one.reason, one.author)]
        return _page(found, query, _SILENCE_SORTS)

    async def get_silence(call: Call) -> Silence:
        return service.shown_silence(call.params["id"], call.principal)

    return [
        Route(
            "GET",
            "/silences",
            Permission.VIEW,
            list_silences,
            "List silences, the newest first",
            "list_silences",
            answer=Page[Silence],
            query=SilenceQuery,
            tag="alerts",
            errors=("invalid",),
        ),
        Route(
            "GET",
            "/silences/{id}",
            Permission.VIEW,
            get_silence,
            "Show one silence",
            "get_silence",
            answer=Silence,
            tag="alerts",
            errors=("not_found",),
        ),
    ]


def _silence_write_routes(service: Alerts) -> list[Route]:
    async def create_silence(call: Call) -> Silence:
        made = await service.silences.create(call.body, call.principal)
        return service.shown_silence(made.id, call.principal)

    async def replace_silence(call: Call) -> Silence:
        await service.silences.replace(call.params["id"], call.body, call.principal)
        return service.shown_silence(call.params["id"], call.principal)

    async def expire_silence(call: Call) -> Silence:
        await service.silences.expire(call.params["id"], call.principal)
        return service.shown_silence(call.params["id"], call.principal)

    async def delete_silence(call: Call) -> Nothing:
        await service.silences.delete(call.params["id"], call.principal)
        return Nothing()

    errors = ("invalid", "forbidden", "not_allowed")
    return [
        Route(
            "POST",
            "/silences",
            Permission.OPERATE,
            create_silence,
            "Quiet what matches, for a while; on nodes: their maintenance",
            "create_silence",
            answer=Silence,
            body=NewSilence,
            status=201,
            tag="alerts",
            errors=errors,
        ),
        Route(
            "PUT",
            "/silences/{id}",
            Permission.OPERATE,
            replace_silence,
            "Change a silence that has not ended",
            "replace_silence",
            answer=Silence,
            body=NewSilence,
            tag="alerts",
            errors=("not_found", *errors),
        ),
        Route(
            "POST",
            "/silences/{id}/expire",
            Permission.OPERATE,
            expire_silence,
            "End a silence now",
            "expire_silence",
            answer=Silence,
            tag="alerts",
            errors=("not_found", "not_allowed"),
        ),
        Route(
            "DELETE",
            "/silences/{id}",
            Permission.OPERATE,
            delete_silence,
            "Delete a silence; an active one ends by it",
            "delete_silence",
            tag="alerts",
            errors=("not_found",),
        ),
    ]


def _has(text: str, *words: str) -> bool:
    return any(text.casefold() in word.casefold() for word in words)


def _page(items: Iterable[T], query: ListQuery, sorts: tuple[str, ...]) -> Page[T]:
    """Return one page of what is held in memory, sorted when asked. Raises `Invalid`."""
    found = list(items)
    if query.sort:
        found.sort(key=_by(query.sort.removeprefix("-"), sorts), reverse=query.sort.startswith("-"))
    return Page(items=found[query.offset : query.offset + query.limit], total=len(found))


def _by(field: str, sorts: tuple[str, ...]) -> Callable[[Any], Any]:
    if field not in sorts:
        message = f"sort: there is no field {field!r} here; use one of {', '.join(sorts)}"
        raise Invalid(message, problems=[message])
    return lambda item: getattr(item, field)

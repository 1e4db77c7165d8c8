"""The book of rules: made, changed, switched, deleted. Held in memory, written through. Used by `service` and `api`."""

import secrets
from collections.abc import Callable
from typing import Protocol

import msgspec

from ops_system.master.alerts import store
from ops_system.master.alerts.checks import check_rule
from ops_system.master.alerts.defaults import DEFAULTS
from ops_system.master.alerts.views import StoredRule
from ops_system.master.audit.service import Audit
from ops_system.master.web.route import Principal
from ops_system.model.alerts import NewRule
from ops_system.model.errors import Conflict, NotAllowed, NotFound
from ops_system.model.ids import spell_id
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database, Queries, Transaction

MAX_RULES = 200


class ChannelNames(Protocol):
    """What rules need to know of channels."""

    async def list_ids(self, reader: Queries | None = None) -> set[str]:
        """Return the ids of all channels."""
        ...


class Rulebook:
    """The one book of rules. `on_change(rule id)` is called after each change."""

    def __init__(self, *, database: Database, audit: Audit, clock: Clock, channels: ChannelNames) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self._channels = channels
        self._rules: dict[str, StoredRule] = {}
        self.on_change: Callable[[str], None] = lambda _rule_id: None

    async def load(self) -> None:
        """Read the rules; add the shipped ones that this data never had, unless somebody made one of that name."""
        now, rules = self._clock.now(), await store.list_rules(self._database)
        taken = {rule.builtin for rule in rules} | {rule.body.name for rule in rules}
        async with self._database.transaction() as tx:
            for builtin in await store.claim_defaults(tx, DEFAULTS):
                body = DEFAULTS[builtin]
                if taken.isdisjoint((builtin, body.name)):
                    rules.append(StoredRule(_new_id(), builtin, body, now, "ops-system", now))
                    await store.save_rule(tx, rules[-1])
        self._rules = {rule.id: rule for rule in rules}

    def list_all(self) -> list[StoredRule]:
        """Return every rule, by name."""
        return sorted(self._rules.values(), key=lambda rule: rule.body.name.casefold())

    def find(self, rule_id: str) -> StoredRule | None:
        """Return one rule."""
        return self._rules.get(rule_id)

    def get(self, rule_id: str) -> StoredRule:
        """Return one rule. Raises `NotFound`."""
        rule = self._rules.get(rule_id)
        if rule is None:
            raise NotFound(f"there is no alert rule {rule_id}", id=rule_id)
        return rule

    async def create(self, body: NewRule, actor: Principal) -> StoredRule:
        """Make a rule. Raises `Invalid` with every fault, `Conflict` (the name), `NotAllowed` (too many)."""
        now = self._clock.now()
        rule = StoredRule(_new_id(), "", body, now, actor.name, now)
        async with self._database.transaction() as tx:
            if len(self._rules) >= MAX_RULES:
                raise NotAllowed(f"there are {MAX_RULES} rules already; delete one first", limit=MAX_RULES)
            await self._check(tx, rule, ())
            await store.save_rule(tx, rule)
            await self._record(tx, actor, "create", rule)
        return self._keep(rule)

    async def replace(self, rule_id: str, body: NewRule, actor: Principal) -> StoredRule:
        """Write a rule anew under its id. Raises `NotFound`, `Invalid`, `Conflict`."""
        async with self._database.transaction() as tx:
            before = self.get(rule_id)
            rule = msgspec.structs.replace(before, body=body, updated_at=self._clock.now())
            await self._check(tx, rule, before.body.channels)
            await store.save_rule(tx, rule)
            await self._record(tx, actor, "change", rule)
        return self._keep(rule)

    async def switch(self, rule_id: str, actor: Principal, *, enabled: bool) -> StoredRule:
        """Switch a rule on or off. Raises `NotFound`."""
        async with self._database.transaction() as tx:
            before = self.get(rule_id)
            body = msgspec.structs.replace(before.body, enabled=enabled)
            rule = msgspec.structs.replace(before, body=body, updated_at=self._clock.now())
            await store.save_rule(tx, rule)
            await self._record(tx, actor, "change", rule)
        return self._keep(rule)

    async def delete(self, rule_id: str, actor: Principal) -> None:
        """Forget a rule; what it raised ends. Raises `NotFound`."""
        async with self._database.transaction() as tx:
            rule = self.get(rule_id)
            await store.delete_rule(tx, rule_id)
            await self._record(tx, actor, "delete", rule)
        self._rules.pop(rule_id, None)
        self.on_change(rule_id)

    async def check(self, body: NewRule) -> None:
        """Raise `Invalid` for a rule that could not be kept."""
        check_rule(body, await self._channels.list_ids())

    async def _check(self, tx: Transaction, rule: StoredRule, kept_channels: tuple[str, ...]) -> None:
        check_rule(rule.body, await self._channels.list_ids(tx), kept_channels)
        name = rule.body.name
        if any(other.body.name == name and other.id != rule.id for other in self._rules.values()):
            raise Conflict(f"another rule is called {name!r}; choose another name", name=name)

    async def _record(self, tx: Transaction, actor: Principal, act: str, rule: StoredRule) -> None:
        details = {
            "name": rule.body.name,
            "enabled": rule.body.enabled,
            "condition": msgspec.json.encode(rule.body.condition).decode(),
        }
        await self._audit.record(tx, actor, f"alert_rule.{act}", f"alert_rule:{rule.id}", "done", details)

    def _keep(self, rule: StoredRule) -> StoredRule:
        self._rules[rule.id] = rule
        self.on_change(rule.id)
        return rule


def _new_id() -> str:
    return spell_id("rul", secrets.token_bytes(10))

"""The book of silences. Held in memory, written through. Used by `service` and `api`."""

import secrets
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

import msgspec

from ops_system.master.alerts import store
from ops_system.master.alerts.checks import check_silence
from ops_system.master.alerts.views import StoredSilence, matches
from ops_system.master.audit.service import Audit
from ops_system.master.web.route import Principal
from ops_system.model.alerts import Alert, NewSilence
from ops_system.model.errors import Forbidden, NotAllowed, NotFound
from ops_system.model.ids import spell_id
from ops_system.runtime.clock import Clock
from ops_system.storage.database import Database, Transaction

MAX_SILENCES = 500
KEPT_FOR = timedelta(days=90)  # after their end


class Silences:
    """The one book of silences. `on_change()` is called after each change.

    `reached` tells which nodes a principal with a scope reaches (None: all): such a principal may only quiet what it
    names by nodes within the scope.
    """

    def __init__(
        self,
        *,
        database: Database,
        audit: Audit,
        clock: Clock,
        reached: Callable[[Principal], Collection[str] | None],
    ) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self._reached = reached
        self._silences: dict[str, StoredSilence] = {}
        self._active: list[StoredSilence] = []
        self._active_for: tuple[datetime, datetime] | None = None  # from when until when `_active` holds
        self.on_change: Callable[[], None] = lambda: None

    async def load(self) -> None:
        """Read the silences."""
        self._silences = {silence.id: silence for silence in await store.list_silences(self._database)}

    def list_all(self, actor: Principal) -> list[StoredSilence]:
        """Return every silence the actor may see, the newest first."""
        seen = [one for one in self._silences.values() if self._sees(one, actor)]
        return sorted(seen, key=lambda silence: silence.created_at, reverse=True)

    def active(self) -> list[StoredSilence]:
        """Return those that quiet now. Asked for every alert: worked out anew only when one begins, ends or changes."""
        now = self._clock.now()
        if self._active_for is None or not self._active_for[0] <= now < self._active_for[1]:
            edges = [at for one in self._silences.values() for at in (one.starts_at, one.ends_at) if at > now]
            self._active = [one for one in self._silences.values() if one.state(now) == "active"]
            self._active_for = (now, min(edges, default=now + KEPT_FOR))
        return self._active

    def matching(self, alert: Alert) -> tuple[str, ...]:
        """Return the ids of those that quiet an alert now."""
        return tuple(silence.id for silence in self.active() if matches(silence.matchers, alert))

    def get(self, silence_id: str, actor: Principal) -> StoredSilence:
        """Return one silence. Raises `NotFound`, also beyond the actor's scope."""
        silence = self._silences.get(silence_id)
        if silence is None or not self._sees(silence, actor):
            raise NotFound(f"there is no silence {silence_id}", id=silence_id)
        return silence

    async def create(self, body: NewSilence, actor: Principal) -> StoredSilence:
        """Make a silence. Raises `Invalid`, `Forbidden` (more than the scope), `NotAllowed` (too many)."""
        now = self._clock.now()
        self._check(body, actor)
        silence = StoredSilence(
            id=spell_id("sil", secrets.token_bytes(10)),
            author=actor.name,
            reason=body.reason,
            matchers=body.matchers,
            starts_at=body.starts_at or now,
            ends_at=body.ends_at,
            created_at=now,
        )
        if sum(one.state(now) != "expired" for one in self._silences.values()) >= MAX_SILENCES:
            raise NotAllowed(f"there are {MAX_SILENCES} silences already; end one first", limit=MAX_SILENCES)
        return await self._save(silence, "create", actor)

    async def replace(self, silence_id: str, body: NewSilence, actor: Principal) -> StoredSilence:
        """Change a silence that has not ended. Raises `NotFound`, `Invalid`, `Forbidden`, `NotAllowed`."""
        before = self._open(silence_id, actor)
        if body.starts_at is None and before.starts_at > self._clock.now():  # it still begins when it was to
            body = msgspec.structs.replace(body, starts_at=before.starts_at)
        self._check(body, actor)
        changed = msgspec.structs.replace(
            before,
            reason=body.reason,
            matchers=body.matchers,
            starts_at=body.starts_at or before.starts_at,
            ends_at=body.ends_at,
        )
        return await self._save(changed, "change", actor)

    async def expire(self, silence_id: str, actor: Principal) -> StoredSilence:
        """End a silence now. Raises `NotFound`, `NotAllowed` when it has ended."""
        before, now = self._open(silence_id, actor), self._clock.now()
        ended = msgspec.structs.replace(before, starts_at=min(before.starts_at, now), ends_at=now)
        return await self._save(ended, "expire", actor)

    async def delete(self, silence_id: str, actor: Principal) -> None:
        """Forget a silence; one that is active ends by it. Raises `NotFound`."""
        silence = self.get(silence_id, actor)
        async with self._database.transaction() as tx:
            await store.delete_silence(tx, silence_id)
            await self._record(tx, actor, "delete", silence)
        self._silences.pop(silence_id, None)
        self._tell()

    async def sweep(self) -> None:
        """Forget what ended long ago. Raises when the database cannot be written."""
        before = self._clock.now() - KEPT_FOR
        old = [silence.id for silence in self._silences.values() if silence.ends_at < before]
        if old:
            async with self._database.transaction() as tx:
                await store.sweep_silences(tx, before)
            for silence_id in old:
                self._silences.pop(silence_id, None)

    def _open(self, silence_id: str, actor: Principal) -> StoredSilence:
        silence = self.get(silence_id, actor)
        if silence.state(self._clock.now()) == "expired":
            raise NotAllowed("this silence has ended; make a new one", id=silence_id)
        return silence

    def _check(self, body: NewSilence, actor: Principal) -> None:
        check_silence(body, self._clock.now())
        reached = self._reached(actor)
        named = body.matchers.node_ids
        if reached is not None and not (named and all(node_id in reached for node_id in named)):
            raise Forbidden(f"{actor.name} is limited to some nodes: name them in matchers.node_ids", reason="scope")

    def _sees(self, silence: StoredSilence, actor: Principal) -> bool:
        reached = self._reached(actor)
        named = silence.matchers.node_ids
        return reached is None or bool(named and all(node_id in reached for node_id in named))

    async def _save(self, silence: StoredSilence, act: str, actor: Principal) -> StoredSilence:
        async with self._database.transaction() as tx:
            await store.save_silence(tx, silence)
            await self._record(tx, actor, act, silence)
        self._silences[silence.id] = silence
        self._tell()
        return silence

    def _tell(self) -> None:
        self._active_for = None
        self.on_change()

    async def _record(self, tx: Transaction, actor: Principal, act: str, silence: StoredSilence) -> None:
        details = {
            "reason": silence.reason,
            "matchers": msgspec.json.encode(silence.matchers).decode(),
            "ends_at": silence.ends_at.isoformat(),
        }
        await self._audit.record(tx, actor, f"silence.{act}", f"silence:{silence.id}", "done", details)

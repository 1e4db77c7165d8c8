"""Channels, and the outbox between what happens and the people who want to know.

    Notice (bus) -> told of this object a moment ago? dropped : one row for each channel that wants it
                 -> what happens within the same moment, or within 10 s of the last message, shares a row
                 -> sent when due -> tried again after 30 s, 2 min, 10 min, 1 h, then given up

A row is on disk before the first attempt and ends after its answer: a master that dies in between sends it once more.
"""

import asyncio
import contextlib
import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Protocol

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus
from ops_system.master.channels import store
from ops_system.master.channels.messages import title_of
from ops_system.master.channels.rules import (
    KEEP_TOLD,
    MAX_CHANNELS,
    RETRY_AFTER_S,
    TOO_OLD_AFTER,
    Bundle,
    Channel,
    ChannelPatch,
    Delivery,
    DeliveryQuery,
    DeliveryState,
    NewChannel,
    Notice,
    Secrets,
    StoredDelivery,
    after_attempt,
    bundle_of,
    due_of_next,
    is_repetition,
    made_channel,
    patched_channel,
)
from ops_system.master.channels.senders import send
from ops_system.master.outbound.client import Outbound
from ops_system.master.web.route import ListQuery, Page, Principal
from ops_system.model.alerts import Severity
from ops_system.model.errors import Conflict, NotAllowed, NotFound, OpsError, StorageFull, Unavailable
from ops_system.model.ids import spell_id
from ops_system.model.reasons import Reason
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import spawn
from ops_system.storage.database import Database, Queries, Transaction

_log = logging.getLogger(__name__)

MAX_WAITING = 10_000  # notices not yet on disk; more are dropped and counted in the log
MAX_AT_ONCE = 500
IDLE_S = 60.0
TROUBLE_S = 5.0  # while the database cannot be written
_TOO_OLD = Reason("too_old", "it waited for more than a day: the master was down, or a backup was restored")
_DISABLED = Reason("channel_disabled", "the channel was switched off before the message was sent")


class Sealer(Protocol):
    """Hides secrets at rest."""

    def seal(self, plain: bytes) -> bytes:
        """Return bytes that only `unseal` can read."""
        ...

    def unseal(self, sealed: bytes) -> bytes:
        """Return what was sealed. Raises `Unavailable`."""
        ...


class Channels:
    """The one book of channels and the one outbox."""

    def __init__(
        self,
        *,
        database: Database,
        audit: Audit,
        bus: Bus,
        clock: Clock,
        sealer: Sealer,
        outbound: Outbound,
        public_url: Callable[[], str],
    ) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self._sealer = sealer
        self._outbound = outbound
        self._public_url = public_url
        self._waiting: list[Notice] = []
        self._news = asyncio.Event()
        self._wake = asyncio.Event()
        self._outbox = asyncio.Lock()  # no row is added to while it is picked up
        self.counts: Counter[DeliveryState] = Counter()  # how attempts went; `pending`: to be tried again
        self._in_flight: dict[str, int] = {}  # a channel's delivery that is being tried
        bus.subscribe(Notice, self.note)

    # --- the book -------------------------------------------------------------------------------------------------
    async def list_page(self, query: ListQuery) -> Page[Channel]:
        """Return one page of channels, each with its last delivery."""
        items, total = await store.list_page(self._database, query)
        return Page(items=items, total=total)

    async def get(self, channel_id: str, reader: Queries | None = None) -> Channel:
        """Return one channel. Raises `NotFound`."""
        channel = await store.find(reader or self._database, channel_id)
        if channel is None:
            raise NotFound(f"there is no channel {channel_id}", id=channel_id)
        return channel

    async def list_ids(self, reader: Queries | None = None) -> set[str]:
        """Return the ids of all channels."""
        return await store.list_ids(reader or self._database)

    async def create(self, body: NewChannel, actor: Principal) -> Channel:
        """Make a channel. Raises `Invalid` with every fault, `Conflict` (the name), `NotAllowed` (too many)."""
        channel_id = spell_id("chn", secrets.token_bytes(10))
        channel, hidden = made_channel(channel_id, body, actor.name, self._clock.now())
        async with self._database.transaction() as tx:
            if await store.count(tx) >= MAX_CHANNELS:
                raise NotAllowed(f"there are {MAX_CHANNELS} channels already; delete one first", limit=MAX_CHANNELS)
            await self._check_name(tx, channel)
            await store.save(tx, channel, self._seal(hidden))
            details = {"name": channel.name, "kind": channel.kind, "target": channel.target}
            await self._audit.record(tx, actor, "channel.create", f"channel:{channel_id}", "done", details)
        return channel

    async def change(self, channel_id: str, patch: ChannelPatch, actor: Principal) -> Channel:
        """Change a channel; one that is switched off gives up what waits. Raises `NotFound`, `Invalid`, `Conflict`."""
        now = self._clock.now()
        async with self._database.transaction() as tx:
            before = await self.get(channel_id, tx)
            channel, hidden = patched_channel(before, await self._secrets_of(channel_id, tx), patch, now)
            await self._check_name(tx, channel)
            await store.save(tx, channel, self._seal(hidden))
            if not channel.enabled:
                await store.give_up(tx, channel_id, _DISABLED, now)
            given = [name for name, value in msgspec.structs.asdict(patch).items() if value is not msgspec.UNSET]
            details = {"name": channel.name, "changed": given, "target": channel.target}
            await self._audit.record(tx, actor, "channel.change", f"channel:{channel_id}", "done", details)
        self.wake()
        return await self.get(channel_id)

    async def delete(self, channel_id: str, actor: Principal) -> None:
        """Forget a channel with its log and what waits. Raises `NotFound`."""
        async with self._database.transaction() as tx:
            channel = await self.get(channel_id, tx)
            await store.delete(tx, channel_id)
            details = {"name": channel.name, "kind": channel.kind}
            await self._audit.record(tx, actor, "channel.delete", f"channel:{channel_id}", "done", details)

    async def list_deliveries(self, channel_id: str, query: DeliveryQuery) -> Page[Delivery]:
        """Return one page of a channel's messages, the newest first. Raises `NotFound`."""
        channel = await self.get(channel_id)
        rows, total = await store.list_deliveries(self._database, channel_id, query)
        return Page(items=[_shown(row, channel) for row in rows], total=total)

    async def _check_name(self, tx: Transaction, channel: Channel) -> None:
        if await store.is_name_taken(tx, channel.name, channel.id):
            raise Conflict(f"another channel is called {channel.name!r}; choose another name", name=channel.name)

    def _seal(self, hidden: Secrets) -> bytes:
        return self._sealer.seal(msgspec.json.encode(hidden))

    async def _secrets_of(self, channel_id: str, reader: Queries) -> Secrets:
        sealed = await store.find_sealed(reader, channel_id)
        if sealed is None:
            raise NotFound(f"there is no channel {channel_id}", id=channel_id)
        return msgspec.json.decode(self._sealer.unseal(sealed), type=Secrets)

    # --- a test ---------------------------------------------------------------------------------------------------
    async def test(self, channel_id: str, actor: Principal) -> Delivery:
        """Send one message now, once, also by a channel that is switched off; how it went is the answer.

        Raises `NotFound`.
        """
        channel = await self.get(channel_id)
        now = self._clock.now()
        subject = f"channel:{channel_id}"
        notice = Notice("channel_test", subject, Severity.INFO, "channel_test", {"name": channel.name}, now)
        bundle = bundle_of([notice])
        error = await self._send(channel, bundle, f"test-{secrets.token_hex(8)}")
        async with self._database.transaction() as tx:
            await self.get(channel_id, tx)
            row = await store.add_delivery(tx, channel_id, bundle, now, None)
            row = after_attempt(row, error, self._clock.now(), may_retry=False)
            await store.save_attempt(tx, row)
            details = {"name": channel.name, "error": error.code if error else ""}
            outcome = "failed" if error else "done"
            await self._audit.record(tx, actor, "channel.test", f"channel:{channel_id}", outcome, details)
        return _shown(row, channel)

    async def _send(self, channel: Channel, bundle: Bundle, message_id: str) -> Reason | None:
        try:
            hidden = await self._secrets_of(channel.id, self._database)
        except Unavailable as problem:
            return Reason("secret_unreadable", problem.message)
        return await send(
            self._outbound,
            channel,
            hidden,
            bundle,
            message_id=message_id,
            at=self._clock.now(),
            public_url=self._public_url(),
        )

    # --- what happens ---------------------------------------------------------------------------------------------
    def note(self, notice: Notice) -> None:
        """Take a notice; `run` writes it down. One too many is dropped and logged."""
        if len(self._waiting) >= MAX_WAITING:
            _log.error("a notice of %s about %s is dropped: too many wait", notice.code, notice.subject)
            return
        self._waiting.append(notice)
        self._news.set()

    def wake(self) -> None:
        """Look now whether something is due."""
        self._wake.set()

    async def run(self) -> None:
        """Write notices down as they come, and send what is due."""
        async with asyncio.TaskGroup() as group:
            spawn(group, self._keep_noting(), "notices")
            spawn(group, self._keep_sending(group), "deliveries")

    async def _keep_noting(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                while self._waiting:
                    await self._write_down(self._waiting[:MAX_AT_ONCE])
            except (StorageFull, Unavailable) as problem:
                _log.warning("notices wait: %s", problem.message)
                await asyncio.sleep(TROUBLE_S)
                self._news.set()
            self.wake()

    async def _write_down(self, batch: list[Notice]) -> None:
        now = self._clock.now()
        async with self._outbox, self._database.transaction() as tx:
            await store.sweep_told(tx, now - KEEP_TOLD)
            await self.enqueue(tx, [notice for notice in batch if await self._is_new(tx, notice)])
        del self._waiting[: len(batch)]

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[Transaction]:
        """Open a transaction in which `enqueue` may be called; call `wake` after it."""
        async with self._outbox, self._database.transaction() as tx:
            yield tx

    async def enqueue(self, tx: Transaction, notices: Iterable[Notice]) -> None:
        """Write notices into the outbox, each for the channels it is for; whoever calls knows that they are news."""
        told = list(notices)
        for channel in await store.list_enabled(tx) if told else ():
            wanted = [notice for notice in told if notice.is_for(channel.id, channel.events)]
            if wanted:
                await self._enqueue(tx, channel, wanted)

    async def _is_new(self, tx: Transaction, notice: Notice) -> bool:
        now = self._clock.now()
        if is_repetition(await store.find_told(tx, notice.code, notice.subject), now, notice.since):
            return False
        await store.save_told(tx, notice.code, notice.subject, now)
        return True

    async def _enqueue(self, tx: Transaction, channel: Channel, notices: list[Notice]) -> None:
        """Add to the row that has not been tried yet, or write a new one."""
        now = self._clock.now()
        last = await store.find_newest(tx, channel.id)
        is_open = last is not None and last.attempts == 0 and last.due_at is not None
        if last is not None and is_open and last.id != self._in_flight.get(channel.id):
            await store.save_bundle(tx, last.id, bundle_of(notices, last.bundle))
            return
        due_at = due_of_next(last.created_at if last else None, now)
        await store.add_delivery(tx, channel.id, bundle_of(notices), now, due_at)

    # --- the way out ----------------------------------------------------------------------------------------------
    async def _keep_sending(self, group: asyncio.TaskGroup) -> None:
        while True:
            self._wake.clear()
            wait_s = TROUBLE_S
            try:
                wait_s = await self._begin_due(group)
            except (StorageFull, Unavailable) as problem:
                _log.warning("deliveries wait: %s", problem.message)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    async def _begin_due(self, group: asyncio.TaskGroup) -> float:
        """Try what is due, one message a channel at a time; return how long nothing more will be."""
        wait_s = IDLE_S
        async with self._outbox:
            for row in await store.list_next(self._database):
                if row.channel_id in self._in_flight or row.due_at is None:
                    continue
                left_s = (row.due_at - self._clock.now()).total_seconds()
                if 0 < left_s <= RETRY_AFTER_S[-1]:  # beyond that the clock was set back
                    wait_s = min(wait_s, left_s)
                    continue
                self._in_flight[row.channel_id] = row.id
                spawn(group, self._attempt(row), f"delivery {row.id}")
        return wait_s

    async def _attempt(self, row: StoredDelivery) -> None:
        try:
            channel = await self.get(row.channel_id)
            is_old = self._clock.now() - row.created_at > TOO_OLD_AFTER
            error = _TOO_OLD if is_old else await self._send(channel, row.bundle, str(row.id))
            ended = after_attempt(row, error, self._clock.now(), may_retry=not is_old)
            async with self._database.transaction() as tx:
                await store.save_attempt(tx, ended)
            self.counts[ended.state] += 1
            if error is not None:
                _log.warning("channel %s: delivery %d failed: %s", channel.name, row.id, error.message)
        except NotFound:
            _log.info("delivery %d: its channel is gone", row.id)
        except OpsError as problem:
            _log.warning("delivery %d: how it went cannot be written: %s", row.id, problem.message)
            await asyncio.sleep(RETRY_AFTER_S[0])
        finally:
            self._in_flight.pop(row.channel_id, None)
            self.wake()


def _shown(row: StoredDelivery, channel: Channel) -> Delivery:
    return Delivery(
        id=row.id,
        title=title_of(row.bundle, channel.language),
        severity=row.bundle.severity,
        events=row.bundle.total,
        state=row.state,
        attempts=row.attempts,
        error=row.error,
        created_at=row.created_at,
        next_attempt_at=row.due_at,
        ended_at=row.ended_at,
    )

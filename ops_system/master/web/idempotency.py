"""`Idempotency-Key` on POST (contract section 4): the same key and body give the same answer, and one effect.

A key is written down before the effect and the answer after it. When the master dies in between, nobody can know
whether the effect happened, and the key says so (409) instead of doing it twice. Answers are sealed, for some carry
secrets.
"""

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from ops_system.master.web.answer import Answer
from ops_system.model.errors import Conflict, Invalid, OpsError, TimedOut
from ops_system.storage.database import Database

if TYPE_CHECKING:
    import sqlite3

KEEP_S = 24 * 3600.0
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_UNKNOWN = 0  # the status of a row whose effect is under way, or was when the master died

Perform = Callable[[], Awaitable[Answer | web.StreamResponse]]


class Sealer(Protocol):
    """Hides an answer at rest; `trust` does it with the master key."""

    def seal(self, plain: bytes) -> bytes:
        """Return bytes that only `unseal` can read."""
        ...

    def unseal(self, sealed: bytes) -> bytes:
        """Return what was sealed."""
        ...


def check_key(key: str) -> None:
    """Raise `Invalid` unless the header holds 1 to 255 printable ASCII characters without spaces."""
    if not _KEY.fullmatch(key):
        words = "Idempotency-Key: 1 to 255 printable ASCII characters without spaces"
        raise Invalid(words, problems=[words])


class Idempotency:
    """Remembers answers by (principal, key). `now_ms` is the wall clock."""

    def __init__(self, database: Database, sealer: Sealer, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._sealer = sealer
        self._now_ms = now_ms
        self._under_way: set[tuple[str, str]] = set()

    async def run(self, principal_id: str, key: str, route: str, digest: bytes, perform: Perform) -> "Answer":
        """Return the remembered answer, or perform and remember.

        A refusal is not remembered: nothing happened then. A time limit or a bug leaves the outcome unknown.
        Raises `Conflict` when the key was used for something else, or its outcome is unknown.
        """
        known = await self._claim(principal_id, key, route, digest)
        if known is not None:
            return self._replay(known, route, digest)
        self._under_way.add((principal_id, key))
        try:
            made = await perform()
        except OpsError as error:
            if error.http_status != TimedOut.http_status:
                await self._forget(principal_id, key)
            raise
        finally:
            self._under_way.discard((principal_id, key))
        if not isinstance(made, Answer):
            await self._forget(principal_id, key)
            raise TypeError(f"{route} streams its answer; an idempotency key cannot remember that")
        await self._remember(principal_id, key, made)
        return made

    async def sweep(self) -> None:
        """Forget keys older than a day."""
        oldest = self._now_ms() - int(KEEP_S * 1000)
        async with self._database.transaction() as tx:
            await tx.execute("DELETE FROM idempotency WHERE created_ms < ?", (oldest,))

    async def _claim(self, principal_id: str, key: str, route: str, digest: bytes) -> "sqlite3.Row | None":
        """Write the key down and return None, or return the row that already stands there."""
        async with self._database.transaction() as tx:
            row = await tx.fetch_one(
                "SELECT route, request_hash, status, body FROM idempotency WHERE principal_id = ? AND key = ?",
                (principal_id, key),
            )
            if row is not None and (principal_id, key) in self._under_way:
                raise Conflict("the first request with this Idempotency-Key is still under way; ask again later")
            if row is None:
                await tx.execute(
                    "INSERT INTO idempotency (principal_id, key, route, request_hash, status, body, created_ms)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (principal_id, key, route, digest, _UNKNOWN, b"", self._now_ms()),
                )
            return row

    def _replay(self, row: "sqlite3.Row", route: str, digest: bytes) -> Answer:
        if row["route"] != route or bytes(row["request_hash"]) != digest:
            raise Conflict("this Idempotency-Key was used for another request; choose a new one")
        if row["status"] == _UNKNOWN:
            raise Conflict(
                "the master stopped while it served this Idempotency-Key: look whether the effect is there, "
                "then use a new key",
                outcome="unknown",
            )
        return Answer(row["status"], self._sealer.unseal(bytes(row["body"])), {"Idempotency-Replayed": "true"})

    async def _remember(self, principal_id: str, key: str, made: Answer) -> None:
        async with self._database.transaction() as tx:
            await tx.execute(
                "UPDATE idempotency SET status = ?, body = ? WHERE principal_id = ? AND key = ?",
                (made.status, self._sealer.seal(made.body), principal_id, key),
            )

    async def _forget(self, principal_id: str, key: str) -> None:
        async with self._database.transaction() as tx:
            await tx.execute("DELETE FROM idempotency WHERE principal_id = ? AND key = ?", (principal_id, key))

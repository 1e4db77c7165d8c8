"""Password hashing by Argon2id in a few threads of its own: each hash takes 64 MiB and some 100 ms (trust S2)."""

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from ops_system.master.auth.rules import MAX_PASSWORD
from ops_system.model.errors import RateLimited

MEMORY_KIB = 64 * 1024
PASSES = 3
LANES = 4
THREADS = 2
WAITING = 64


class Passwords:
    """Hashes and verifies. An unknown user costs as much as a known one."""

    def __init__(self, *, memory_kib: int = MEMORY_KIB, passes: int = PASSES, lanes: int = LANES) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=lanes)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="password")
        self._turns = asyncio.Semaphore(THREADS)
        self._waiting = 0
        self._dummy = ""

    async def hash(self, password: str) -> str:
        """Return the string to store."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.hash, password)

    async def verify(self, password: str, stored: str | None) -> bool:
        """True when `password` belongs to `stored`; None stands for a user who does not exist."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._verify, password, stored)

    def needs_rehash(self, stored: str) -> bool:
        """True when `stored` was made with other costs than today's."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> None:
        """Take one of the few turns. Raises RateLimited when too many wait: a flood must not eat the memory."""
        if self._waiting >= WAITING:
            raise RateLimited("too many logins at once; try again in a few seconds", retry_after_s=5)
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1

    async def __aexit__(self, *_: object) -> None:
        """Give the turn back."""
        self._turns.release()

    def _verify(self, password: str, stored: str | None) -> bool:
        self._dummy = self._dummy or self._hasher.hash(secrets.token_urlsafe(16))
        is_possible = stored is not None and len(password) <= MAX_PASSWORD
        try:
            self._hasher.verify(stored if is_possible and stored else self._dummy, password[:MAX_PASSWORD])
        except (VerificationError, InvalidHashError):
            return False
        return is_possible

"""The one-time code that makes the first administrator (trust S1), shown on the console and kept in `DATA/setup-code`.

none -> valid (30 min, 5 tries) -> the next one …        until an administrator exists; then the file is gone
"""

import hmac
import logging
import secrets
from collections.abc import Callable

from ops_system.master.auth.rules import plain_code, spell_code
from ops_system.model.errors import Unauthenticated
from ops_system.runtime.files import remove_durably, write_atomic
from ops_system.storage.folder import DataFolder

LIFE_S = 1800.0
TRIES = 5

_log = logging.getLogger(__name__)


class SetupCode:
    """The code of this moment. `announce` hears each new one; `monotonic_s` is the clock."""

    def __init__(self, folder: DataFolder, monotonic_s: Callable[[], float], announce: Callable[[str], None]) -> None:
        self._folder = folder
        self._monotonic_s = monotonic_s
        self._announce = announce
        self._code = ""
        self._made_s = 0.0
        self._tries_left = 0

    @property
    def current(self) -> str:
        """The valid code; empty before `renew` and after `clear`."""
        return self._code

    def renew(self) -> None:
        """See that there is a valid code: write and announce a new one where there is none. Raises OSError."""
        if self._code and self._tries_left > 0 and self._monotonic_s() - self._made_s < LIFE_S:
            return
        code = spell_code(secrets.token_bytes(16))
        write_atomic(self._folder.setup_code, f"{code}\n".encode(), 0o600)
        self._code, self._made_s, self._tries_left = code, self._monotonic_s(), TRIES
        self._announce(code)

    def check(self, given: str) -> None:
        """Raise Unauthenticated for a wrong code; after 5 wrong ones there is a new one."""
        self.renew()
        if hmac.compare_digest(plain_code(given).encode(), plain_code(self._code).encode()):
            return
        self._tries_left -= 1
        left = self._tries_left
        self.renew()
        words = f"{left} tries are left" if left else "it was the last try: there is a new code now"
        raise Unauthenticated(
            f"this is not the setup code; read it on the console or in {self._folder.setup_code} ({words})",
            tries_left=left,
        )

    def clear(self) -> None:
        """Forget the code: an administrator exists."""
        self._code = ""
        try:
            remove_durably(self._folder.setup_code)
        except OSError as error:
            _log.warning("%s cannot be removed (%s); it is of no use any more", self._folder.setup_code, error)

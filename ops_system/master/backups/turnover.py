"""What happens after the last connection of the database is closed and before the master lets go of its folder.

A restore asks for it; `app` carries it out; the command line then starts the master again in the same process.
"""

import logging
from collections.abc import Callable

from ops_system.runtime.tasks import StopRequest

_log = logging.getLogger(__name__)


class Turnover:
    """At most one act in a master's life."""

    def __init__(self) -> None:
        self.stop = StopRequest()
        self.is_done = False
        self._act: Callable[[], None] | None = None

    @property
    def is_asked(self) -> bool:
        """Whether the master is about to go down for it."""
        return self._act is not None

    def ask(self, act: Callable[[], None], why: str) -> None:
        """Stop the master, and do `act` when everything is closed."""
        self._act = act
        self.stop.ask(why, is_handover=True)

    def carry_out(self) -> None:
        """Do what was asked for, if anything. Raises what the act raises."""
        if self._act is not None:
            self._act()
            self.is_done = True
            _log.info("the data of the backup is in place")

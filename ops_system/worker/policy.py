"""What this node lets a master do (`policy.*` of worker.yaml). The worker itself refuses; the master cannot widen it.

Asked by `deploy` before a service is prepared. Each later remote power asks here too.
"""

import logging
import os
import sys

from ops_system.model.reasons import Reason
from ops_system.worker.config import PolicyConfig

_log = logging.getLogger(__name__)


class Policy:
    """The node's own switches, and a line in the log for each refusal."""

    def __init__(self, config: PolicyConfig) -> None:
        self._config = config

    def refusal_to_run_as(self, user: str) -> Reason | None:
        """Return why a service may not run as `user` (empty: the worker's own), None when it may."""
        if self._config.run_as_root or not is_root(user):
            return None
        _log.warning("policy.run_as_root is off: refused to run a service as root")
        return Reason(
            "policy_refused",
            'this node does not run services as root (policy.run_as_root); set "user" in service.json',
            {"policy": "run_as_root"},
        )


def is_root(user: str) -> bool:
    """Return whether `user` is the superuser here. A name that does not exist is not; starting it fails later."""
    if sys.platform == "win32":
        return False
    if not user:
        return os.geteuid() == 0
    import pwd

    try:
        return pwd.getpwnam(user).pw_uid == 0
    except KeyError:
        return user == "0"

"""What this node lets a master do (`policy.*` of worker.yaml). The worker itself refuses; the master cannot widen it.

Asked by `deploy` before a service is prepared. Each later remote power asks here too.
"""

import logging
import os
import sys

from ops_system.model.errors import Forbidden, UsageError
from ops_system.model.packages import PackageRef, publisher_text
from ops_system.model.reasons import Reason
from ops_system.runtime.signatures import is_by_publisher
from ops_system.worker.config import PolicyConfig

_log = logging.getLogger(__name__)

_KEY_ID_CHARS = 64


class Policy:
    """The node's own switches, and a line in the log for each refusal."""

    def __init__(self, config: PolicyConfig) -> None:
        self._config = config
        self._publisher_keys = frozenset(read_key_id(text) for text in config.publisher_keys)

    def refusal_of_package(self, ref: PackageRef) -> Reason | None:
        """Return why a package may not be unpacked here, None when it may: whose signature this node wants."""
        if not self._publisher_keys:
            return None
        text = publisher_text(ref.name, ref.version, ref.sha256, ref.size_bytes)
        found = ref.publisher
        if found is not None and found.key_id in self._publisher_keys and is_by_publisher(found, text):
            return None
        _log.warning("policy.publisher_keys: refused %s %s: no wanted signature", ref.name, ref.version)
        return Reason(
            "policy_refused",
            f"this node runs only packages signed by a publisher it names (policy.publisher_keys); {ref.name} "
            f"{ref.version} is signed by {found.key_id if found else 'none'}",
            {"policy": "publisher_keys"},
        )

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

    def check_exec(self, user: str) -> None:
        """Raise `Forbidden` when this node runs no commands, or none as `user` (empty: the worker's own)."""
        self._check_switch("exec", is_on=self._config.exec, what="run commands")
        refused = self.refusal_to_run_as(user)
        if refused is not None:
            raise Forbidden(refused.message, **refused.params)

    def check_terminal(self, user: str) -> None:
        """Raise `Forbidden` when this node opens no terminals, or none as `user` (empty: the worker's own)."""
        self.check_terminals()
        refused = self.refusal_to_run_as(user)
        if refused is not None:
            raise Forbidden(refused.message, **refused.params)

    def check_terminals(self) -> None:
        """Raise `Forbidden` when this node opens no terminals, whoever's."""
        self._check_switch("terminal", is_on=self._config.terminal, what="open terminals")

    def check_self_update(self) -> None:
        """Raise `Forbidden` when this node's worker is not updated by a master."""
        self._check_switch("self_update", is_on=self._config.self_update, what="update its worker")

    @staticmethod
    def _check_switch(name: str, *, is_on: bool, what: str) -> None:
        if not is_on:
            _log.warning("policy.%s is off: refused to %s for the master", name, what)
            raise Forbidden(
                f"this node does not {what} for a master (policy.{name} is off in worker.yaml)", policy=name
            )

    def refusal_of_takeover(self) -> Reason | None:
        """Return why processes that others started may not be taken over here, None when they may."""
        if self._config.takeover:
            return None
        _log.warning("policy.takeover is off: refused to take over a process")
        words = "this node does not let its processes be taken over (policy.takeover)"
        return Reason("policy_refused", words, {"policy": "takeover"})


def read_key_id(text: str) -> str:
    """Return the id of a publisher's key. Raises UsageError."""
    if len(text) != _KEY_ID_CHARS or set(text.lower()) - set("0123456789abcdef"):
        raise UsageError(
            "policy.publisher_keys: {text!r} is no key id; it has 64 hexadecimal digits, as pack-tool keygen says them",
            text=text,
        )
    return text.lower()


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

"""Which keys a credential reaches. Deny by default: a range must lie wholly in what was given. Pure.

A data centre (IDC) has its own keys (contract of the provisioning store); the master's administrators have all.
"""

import msgspec

from ops_system.kv import checks
from ops_system.kv.base import DeleteRequest, Op, PutRequest, RangeRequest, TxnRequest, WatchRequest
from ops_system.kv.errors import Denied
from ops_system.kv.ranges import covers
from ops_system.model.machines import IDC_PATTERN, RESERVED_IDCS


class Access(msgspec.Struct, frozen=True):
    """Prefixes that may be read and written, single keys that may be read, and the owner of the leases it makes."""

    owner: str = ""
    prefixes: tuple[bytes, ...] = ()
    readable: tuple[bytes, ...] = ()

    def check(self, op: Op) -> None:
        """Raise Denied unless every key that `op` could touch, in either branch, is given."""
        if isinstance(op, TxnRequest):
            for each in (op, *_inner(op)):
                if not all(self._may_read(compare.key, compare.range_end) for compare in each.compare):
                    raise Denied
        if not all(self._may(each) for each in checks.flatten((op,))):
            raise Denied

    def check_watch(self, request: WatchRequest) -> None:
        """Raise Denied for a watch beyond what may be read."""
        if not self._may_read(request.key, request.range_end):
            raise Denied

    def check_write(self, key: bytes) -> None:
        """Raise Denied unless a key may be written."""
        if not self._may_write(key, b""):
            raise Denied

    def _may(self, op: Op) -> bool:
        match op:
            case RangeRequest():
                return self._may_read(op.key, op.range_end)
            case PutRequest():
                return self._may_write(op.key, b"")
            case DeleteRequest():
                return self._may_write(op.key, op.range_end)
            case TxnRequest():
                return False  # flattened before

    def _may_write(self, key: bytes, range_end: bytes) -> bool:
        return any(covers(prefix, key, range_end) for prefix in self.prefixes)

    def _may_read(self, key: bytes, range_end: bytes) -> bool:
        return (not range_end and key in self.readable) or self._may_write(key, range_end)


EVERYTHING = Access("", (b"",))
NOTHING = Access("?")


def is_idc(name: str) -> bool:
    """Whether a name can be a data centre's."""
    return IDC_PATTERN.fullmatch(name) is not None and name not in RESERVED_IDCS


def access_of_idc(idc: str) -> Access:
    """Return what a data centre reaches; nothing for a name that is none."""
    if not is_idc(idc):
        return NOTHING
    prefixes = (f"/os/{idc}/", f"/os/region/{idc}/", f"/os/unmatched_reports/{idc}/")
    return Access(idc, tuple(prefix.encode() for prefix in prefixes), (f"/os/global/stats/{idc}".encode(),))


def _inner(txn: TxnRequest) -> list[TxnRequest]:
    found = []
    for op in (*txn.success, *txn.failure):
        if isinstance(op, TxnRequest):
            found += [op, *_inner(op)]
    return found

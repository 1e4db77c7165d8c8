"""What etcd refuses before it looks at a single key: empty keys, doubled writes, too much of anything. Pure."""

from collections.abc import Iterable, Iterator

from ops_system.kv.base import DeleteRequest, Op, PutRequest, RangeRequest, TxnRequest
from ops_system.kv.errors import (
    DuplicateKey,
    EmptyKey,
    LeaseProvided,
    RequestTooLarge,
    TooManyOps,
    ValueProvided,
)
from ops_system.kv.ranges import holds

MAX_REQUEST_BYTES = 1_572_864
MAX_TXN_OPS = 128
_OVERHEAD_BYTES = 16

Range = tuple[bytes, bytes]


def check(op: Op) -> None:
    """Raise the `StoreError` that etcd would."""
    _check_op(op, MAX_TXN_OPS)
    if _size_bytes(op) > MAX_REQUEST_BYTES:
        raise RequestTooLarge
    if isinstance(op, TxnRequest):
        _find_writes((op,))


def flatten(ops: Iterable[Op]) -> Iterator[RangeRequest | PutRequest | DeleteRequest]:
    """Give every plain operation, those of both branches of every transaction included."""
    for op in ops:
        if isinstance(op, TxnRequest):
            yield from flatten(op.success)
            yield from flatten(op.failure)
        else:
            yield op


def _check_op(op: Op, may_hold: int) -> None:
    match op:
        case TxnRequest():
            most = max(len(op.compare), len(op.success), len(op.failure))
            if most > may_hold:
                raise TooManyOps
            if not all(compare.key for compare in op.compare):
                raise EmptyKey
            for each in (*op.success, *op.failure):
                _check_op(each, may_hold - most)
        case PutRequest():
            if not op.key:
                raise EmptyKey
            if op.ignore_value and op.value:
                raise ValueProvided
            if op.ignore_lease and op.lease:
                raise LeaseProvided
        case _:
            if not op.key:
                raise EmptyKey


def _size_bytes(op: Op) -> int:
    match op:
        case TxnRequest():
            compares = sum(len(c.key) + len(c.range_end) + len(c.value) + _OVERHEAD_BYTES for c in op.compare)
            return compares + sum(map(_size_bytes, op.success)) + sum(map(_size_bytes, op.failure))
        case PutRequest():
            return len(op.key) + len(op.value) + _OVERHEAD_BYTES
        case _:
            return len(op.key) + len(op.range_end) + _OVERHEAD_BYTES


def _find_writes(ops: tuple[Op, ...]) -> tuple[set[bytes], list[Range]]:
    """Return what `ops` put and remove. Raises DuplicateKey where a put meets another write of its key.

    The two branches of a transaction exclude each other: the same key may stand in both.
    """
    removed: list[Range] = [(op.key, op.range_end) for op in ops if isinstance(op, DeleteRequest)]
    put: set[bytes] = set()
    for op in ops:
        if isinstance(op, TxnRequest):
            put_then, removed_then = _find_writes(op.success)
            put_else, removed_else = _find_writes(op.failure)
            inner = put_then | put_else
            _refuse_double(inner, put, removed)
            put |= inner
            removed += removed_then + removed_else
    for op in ops:
        if isinstance(op, PutRequest):
            _refuse_double({op.key}, put, removed)
            put.add(op.key)
    return put, removed


def _refuse_double(keys: set[bytes], put: set[bytes], removed: list[Range]) -> None:
    if keys & put or any(holds(*span, key) for span in removed for key in keys):
        raise DuplicateKey

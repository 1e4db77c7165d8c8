"""etcd's v3 JSON as a client sees it: requests are written, answers are read. Pure."""

import functools
from binascii import b2a_base64
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

import msgspec

from ops_system.kv.base import (
    Changes,
    DeleteRequest,
    DeleteResponse,
    Event,
    KeyValue,
    Op,
    OpResponse,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    TxnRequest,
    TxnResponse,
)

T = TypeVar("T")


# --- writing requests -----------------------------------------------------------------------------------------------
def _text(value: Any) -> Any:
    """Return a value as etcd's JSON has it, for `msgspec.json.encode`; bytes become base64 there."""
    match value:
        case bool() | bytes() | str():
            return value
        case int():
            return str(value)
        case Enum():
            return value.value
        case tuple():
            return [_text(each) for each in value]
        case _:
            return words_of(value)


def words_of(request: msgspec.Struct) -> dict[str, Any]:
    """Return a request as JSON values, fields at their defaults left out."""
    made = {}
    for name, word, default in _fields_of(type(request)):
        value = getattr(request, name)
        if value != default:
            made[word] = [_op_words(op) for op in value] if name in _BRANCHES else _text(value)
    return made


@functools.cache
def _fields_of(kind: type[msgspec.Struct]) -> tuple[tuple[str, str, Any], ...]:
    """Return name, word and default of each field: msgspec would look at the annotations anew each time."""
    return tuple([(field.name, field.encode_name, field.default) for field in msgspec.structs.fields(kind)])


_BRANCHES = frozenset({"success", "failure"})
_OP_NAMES: tuple[tuple[type[Any], str], ...] = (
    (PutRequest, "request_put"),
    (RangeRequest, "request_range"),
    (DeleteRequest, "request_delete_range"),
    (TxnRequest, "request_txn"),
)


def _op_words(op: Op) -> dict[str, Any]:
    return {name: words_of(op) for kind, name in _OP_NAMES if isinstance(op, kind)}


def write_request(request: msgspec.Struct) -> bytes:
    """Return the body of a request."""
    if isinstance(request, PutRequest) and not (request.prev_kv or request.ignore_value or request.ignore_lease):
        lease = f',"lease":"{request.lease}"' if request.lease else ""
        return f'{{"key":"{b64(request.key)}","value":"{b64(request.value)}"{lease}}}'.encode()
    return msgspec.json.encode(words_of(request))


def b64(data: bytes) -> str:
    """Return bytes as JSON has them."""
    return b2a_base64(data, newline=False).decode()


# --- reading answers ------------------------------------------------------------------------------------------------
class Header(msgspec.Struct, frozen=True):
    """The header of an answer."""

    revision: int = 0


_NO_HEADER = Header()


class _Answer(msgspec.Struct, frozen=True):
    header: Header = _NO_HEADER
    kvs: tuple[KeyValue, ...] = ()
    count: int = 0
    more: bool = False
    prev_kv: KeyValue | None = None
    deleted: int = 0
    prev_kvs: tuple[KeyValue, ...] = ()
    succeeded: bool = False
    responses: tuple["_Answered", ...] = ()


class _Answered(msgspec.Struct, frozen=True):
    response_range: _Answer | None = None
    response_put: _Answer | None = None
    response_delete_range: _Answer | None = None
    response_txn: _Answer | None = None


class LeaseAnswer(msgspec.Struct, frozen=True):
    """What the lease calls answer."""

    header: Header = _NO_HEADER
    ID: int = 0
    TTL: int = 0
    grantedTTL: int = 0  # noqa: N815 - etcd's own name
    keys: tuple[bytes, ...] = ()


class KeepaliveAnswer(msgspec.Struct, frozen=True):
    """The one line that a renewal answers."""

    result: LeaseAnswer


class LeasesAnswer(msgspec.Struct, frozen=True):
    """The list of leases."""

    leases: tuple[LeaseAnswer, ...] = ()


class _EventWords(msgspec.Struct, frozen=True):
    kv: KeyValue = KeyValue()
    prev_kv: KeyValue | None = None


class WatchAnswer(msgspec.Struct, frozen=True):
    """One message on a stream of watches."""

    header: Header = _NO_HEADER
    watch_id: int = 0
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    events: tuple[_EventWords, ...] = ()

    def changes(self) -> Changes:
        """Return its events."""
        return Changes(self.header.revision, tuple([Event(each.kv, each.prev_kv) for each in self.events]))


class ErrorWords(msgspec.Struct, frozen=True):
    """A refusal, on its own or on a stream. The product's own doors say `code` in words."""

    error: str = ""
    message: str = ""
    code: int | str = 0


class StreamLine(msgspec.Struct, frozen=True):
    """One line of a stream of watches."""

    result: WatchAnswer | None = None
    error: "StreamError | None" = None


class StreamError(msgspec.Struct, frozen=True):
    """Why a stream ended."""

    grpc_code: int = 0
    message: str = ""


def read_answer(raw: bytes, kind: type[T]) -> T:
    """Read an answer of the given type. Raises msgspec.DecodeError."""
    return msgspec.json.decode(raw, type=kind, strict=False)


def read_range_answer(raw: bytes) -> RangeResponse:
    """Read an answer. Like the next ones it raises msgspec.DecodeError."""
    return _range_of(read_answer(raw, _Answer))


def read_put_answer(raw: bytes) -> PutResponse:
    """Read an answer."""
    return _put_of(read_answer(raw, _Answer))


def read_delete_answer(raw: bytes) -> DeleteResponse:
    """Read an answer."""
    return _delete_of(read_answer(raw, _Answer))


def read_txn_answer(raw: bytes) -> TxnResponse:
    """Read an answer."""
    return _txn_of(read_answer(raw, _Answer))


def _range_of(words: _Answer) -> RangeResponse:
    return RangeResponse(words.header.revision, words.kvs, words.count, words.more)


def _put_of(words: _Answer) -> PutResponse:
    return PutResponse(words.header.revision, words.prev_kv)


def _delete_of(words: _Answer) -> DeleteResponse:
    return DeleteResponse(words.header.revision, words.deleted, words.prev_kvs)


def _txn_of(words: _Answer) -> TxnResponse:
    return TxnResponse(words.header.revision, words.succeeded, tuple(map(_answered, words.responses)))


def _answered(words: _Answered) -> OpResponse:
    kinds: tuple[tuple[_Answer | None, Callable[[_Answer], OpResponse]], ...] = (
        (words.response_range, _range_of),
        (words.response_put, _put_of),
        (words.response_delete_range, _delete_of),
        (words.response_txn, _txn_of),
    )
    for found, convert in kinds:
        if found is not None:
            return convert(found)
    raise msgspec.ValidationError("an answer to an operation that names no operation")

"""etcd's v3 JSON as a server sees it: base64 keys and values, int64 as text, zeros and false left out. Pure.

Reading takes camelCase and snake_case, numbers as text or not, and ignores fields it does not know, as etcd does.
"""

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, TypeVar

import msgspec

from ops_system.kv.base import (
    Changes,
    Compare,
    CompareResult,
    CompareTarget,
    DeleteRequest,
    DeleteResponse,
    Event,
    Int64,
    KeyValue,
    Lease,
    Op,
    OpResponse,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    SortOrder,
    SortTarget,
    TxnRequest,
    TxnResponse,
    WatchFilter,
    WatchRequest,
)
from ops_system.kv.errors import KeyNotFound, Malformed
from ops_system.kv.wire import b64

T = TypeVar("T")
_MAX_DEPTH = 64
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"{}[]")
_CAMEL = re.compile(rb'"([a-z]+[A-Z][A-Za-z]*)"(?=\s*:)')
_HUMP = re.compile(rb"[A-Z]")
_KEPT_CAMEL = frozenset({b"grantedTTL"})
_ENUMS: tuple[tuple[bytes, type[Enum]], ...] = (
    (b"sort_order", SortOrder),
    (b"sort_target", SortTarget),
    (b"result", CompareResult),
    (b"target", CompareTarget),
)
_NUMBERED = [(re.compile(rb'("' + name + rb'"\s*:\s*)(\d)(?=\s*[,}])'), kind) for name, kind in _ENUMS]
_FILTER_NUMBER = re.compile(rb'("filters"\s*:\s*\[)([\d\s,]*)(\])')


# --- reading --------------------------------------------------------------------------------------------------------
class _Op(msgspec.Struct, frozen=True):
    request_range: RangeRequest | None = None
    request_put: PutRequest | None = None
    request_delete_range: DeleteRequest | None = None
    request_txn: "_Txn | None" = None


class _Txn(msgspec.Struct, frozen=True):
    compare: tuple[Compare, ...] = ()
    success: tuple[_Op, ...] = ()
    failure: tuple[_Op, ...] = ()


class _Revision(msgspec.Struct, frozen=True):
    revision: Int64 = 0


class LeaseWords(msgspec.Struct, frozen=True):
    """What the lease calls are asked."""

    ID: Int64 = 0
    TTL: Int64 = 0
    keys: bool = False


class CancelWords(msgspec.Struct, frozen=True):
    """Which watch shall end."""

    watch_id: Int64 = 0


class ProgressWords(msgspec.Struct, frozen=True):
    """Tell how far all watches are."""


class WatchWords(msgspec.Struct, frozen=True):
    """One message of a client on a stream of watches."""

    create_request: WatchRequest | None = None
    cancel_request: CancelWords | None = None
    progress_request: ProgressWords | None = None


def read_range(raw: bytes) -> RangeRequest:
    """Read a request. Like all readers here it raises Malformed."""
    return _read(raw, RangeRequest)


def read_put(raw: bytes) -> PutRequest:
    """Read a request."""
    return _read(raw, PutRequest)


def read_delete(raw: bytes) -> DeleteRequest:
    """Read a request."""
    return _read(raw, DeleteRequest)


def read_txn(raw: bytes) -> TxnRequest:
    """Read a request. Raises KeyNotFound for an operation that is none, as etcd does."""
    return _txn(_read(raw, _Txn))


def read_compaction(raw: bytes) -> int:
    """Read which revision shall be the oldest."""
    return _read(raw, _Revision).revision


def read_lease(raw: bytes) -> LeaseWords:
    """Read what is asked of a lease."""
    return _read(raw, LeaseWords)


def read_watch(raw: bytes) -> WatchWords:
    """Read one message of a stream of watches."""
    return _read(raw, WatchWords)


def _read(raw: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(normalise(raw), type=kind, strict=False)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:  # ValueError: text that is none, endless numbers
        raise Malformed(f"not a request of etcd's JSON: {error}") from error


def normalise(raw: bytes) -> bytes:
    """Return the text with snake_case names and enums by name. Raises Malformed when nested too deep."""
    if raw.count(b"{") + raw.count(b"[") > _MAX_DEPTH and _depth(raw) > _MAX_DEPTH:
        raise Malformed(f"nested deeper than {_MAX_DEPTH}")
    raw = _CAMEL.sub(_snake, raw)
    for pattern, kind in _NUMBERED:
        raw = pattern.sub(lambda found, kind=kind: found[1] + _name_of(kind, int(found[2])), raw)  # type: ignore[misc]
    return _FILTER_NUMBER.sub(_name_filters, raw)


def _snake(found: re.Match[bytes]) -> bytes:
    name = found[1]
    return b'"' + (name if name in _KEPT_CAMEL else _HUMP.sub(lambda hump: b"_" + hump[0].lower(), name)) + b'"'


def _name_of(kind: type[Enum], number: int) -> bytes:
    names = list(kind)
    return b'"' + (str(names[number].value).encode() if number < len(names) else str(number).encode()) + b'"'


def _name_filters(found: re.Match[bytes]) -> bytes:
    numbers = [int(word) for word in found[2].split(b",") if word.strip()]
    return found[1] + b",".join(_name_of(WatchFilter, number) for number in numbers) + found[3]


def _depth(raw: bytes) -> int:
    depth = deepest = 0
    for byte in raw.translate(None, _NO_BRACKETS):  # text holds base64 and names: a bracket in it is a rare guest
        if byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest


def _txn(words: _Txn) -> TxnRequest:
    return TxnRequest(words.compare, tuple(map(_op, words.success)), tuple(map(_op, words.failure)))


def _op(words: _Op) -> Op:
    if words.request_put is not None:
        return words.request_put
    if words.request_range is not None:
        return words.request_range
    if words.request_delete_range is not None:
        return words.request_delete_range
    if words.request_txn is not None:
        return _txn(words.request_txn)
    raise KeyNotFound


# --- writing answers ------------------------------------------------------------------------------------------------
class Writer:
    """Writes answers with the header of one store."""

    def __init__(self, cluster_id: int) -> None:
        self._head = f'{{"header":{{"cluster_id":"{cluster_id}","member_id":"{cluster_id}","revision":"'

    def header(self, revision: int, rest: Iterable[str] = ()) -> bytes:
        """Return an object with the header and what else it holds."""
        return (self._head + f'{revision}","raft_term":"1"}}' + "".join(f",{part}" for part in rest) + "}").encode()

    def answer(self, response: OpResponse) -> bytes:
        """Return the answer to a request on keys."""
        return self.header(response.revision, _parts(response))

    def lease(self, revision: int, lease: Lease, *, has_details: bool = False) -> bytes:
        """Return a lease; with details as `timetolive` tells it."""
        parts = [f'"ID":"{lease.id}"']
        if lease.ttl_s:
            parts.append(f'"TTL":"{lease.ttl_s}"')
        if has_details and lease.granted_ttl_s:
            parts.append(f'"grantedTTL":"{lease.granted_ttl_s}"')
        if lease.keys:
            parts.append('"keys":[' + ",".join(f'"{b64(key)}"' for key in lease.keys) + "]")
        return self.header(revision, parts)

    def leases(self, revision: int, ids: Sequence[int]) -> bytes:
        """Return the list of all leases."""
        listed = ",".join(f'{{"ID":"{lease_id}"}}' for lease_id in ids)
        return self.header(revision, [f'"leases":[{listed}]'] if ids else ())

    def watch(self, watch_id: int, revision: int, *parts: str) -> bytes:
        """Return one line of a stream of watches."""
        told = [f'"watch_id":"{watch_id}"', *parts] if watch_id else parts
        return b'{"result":' + self.header(revision, told) + b"}\n"

    def changes(self, watch_id: int, changes: Changes, revision: int) -> bytes:
        """Return events as one line of a stream of watches."""
        if not changes.events:
            return self.watch(watch_id, revision)
        return self.watch(watch_id, revision, '"events":[' + ",".join(map(_event, changes.events)) + "]")


def stream_line(answer: bytes) -> bytes:
    """Return an answer as the one line of a stream (keepalive)."""
    return b'{"result":' + answer + b"}\n"


def quoted(text: str) -> str:
    """Return a text as JSON."""
    return msgspec.json.encode(text).decode()


def _kv(kv: KeyValue) -> str:
    made = f'{{"key":"{b64(kv.key)}"'
    if kv.create_revision:
        made += f',"create_revision":"{kv.create_revision}"'
    made += f',"mod_revision":"{kv.mod_revision}"'
    if kv.version:
        made += f',"version":"{kv.version}"'
    if kv.value:
        made += f',"value":"{b64(kv.value)}"'
    if kv.lease:
        made += f',"lease":"{kv.lease}"'
    return made + "}"


def _event(event: Event) -> str:
    kind = '"type":"DELETE",' if event.is_delete else ""
    before = f',"prev_kv":{_kv(event.prev_kv)}' if event.prev_kv is not None else ""
    return f'{{{kind}"kv":{_kv(event.kv)}{before}}}'


def _kvs(name: str, kvs: Sequence[KeyValue]) -> list[str]:
    return [f'"{name}":[' + ",".join(map(_kv, kvs)) + "]"] if kvs else []


def _parts(response: OpResponse) -> list[str]:
    match response:
        case RangeResponse():
            parts = _kvs("kvs", response.kvs)
            parts += ['"more":true'] if response.more else []
            parts += [f'"count":"{response.count}"'] if response.count else []
        case PutResponse():
            parts = [f'"prev_kv":{_kv(response.prev_kv)}'] if response.prev_kv is not None else []
        case DeleteResponse():
            parts = [f'"deleted":"{response.deleted}"'] if response.deleted else []
            parts += _kvs("prev_kvs", response.prev_kvs)
        case TxnResponse():
            parts = ['"succeeded":true'] if response.succeeded else []
            listed = ",".join(map(_op_response, response.responses))
            parts += [f'"responses":[{listed}]'] if response.responses else []
    return parts


_RESPONSE_NAMES: dict[type[Any], str] = {
    RangeResponse: "response_range",
    PutResponse: "response_put",
    DeleteResponse: "response_delete_range",
    TxnResponse: "response_txn",
}


def _op_response(response: OpResponse) -> str:
    parts = [f'"header":{{"revision":"{response.revision}"}}', *_parts(response)]
    return f'{{"{_RESPONSE_NAMES[type(response)]}":{{' + ",".join(parts) + "}}"

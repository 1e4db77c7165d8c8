"""What a store refuses: etcd's own words and gRPC codes as errors of the product. Raised by engine and client."""

from typing import ClassVar

import msgspec

from ops_system.model.errors import OpsError

INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, PERMISSION_DENIED = 3, 4, 5, 7
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, OUT_OF_RANGE, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 8, 9, 11, 13, 14, 16
HTTP_STATUS = {3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 412, 11: 400, 13: 500, 14: 503, 16: 401}
"""HTTP status of each gRPC code, as etcd 3.4's gateway maps them."""


class StoreError(OpsError):
    """A refusal of the store. `words` is what etcd says and `grpc` its code; nothing was changed."""

    code = "invalid"
    http_status = 422
    grpc: ClassVar[int] = INVALID_ARGUMENT
    words: ClassVar[str] = "etcdserver: invalid request"

    def __init__(self, words: str = "") -> None:
        super().__init__(words or self.words)


class Malformed(StoreError):
    """The request cannot mean anything."""


class EmptyKey(StoreError):
    """A key has at least one byte."""

    words = "etcdserver: key is not provided"


class KeyNotFound(StoreError):
    """`ignore_value` and `ignore_lease` need the key to exist; so does a request that names nothing."""

    words = "etcdserver: key not found"


class ValueProvided(StoreError):
    """`ignore_value` beside a value."""

    words = "etcdserver: value is provided"


class LeaseProvided(StoreError):
    """`ignore_lease` beside a lease."""

    words = "etcdserver: lease is provided"


class DuplicateKey(StoreError):
    """One transaction writes a key once."""

    words = "etcdserver: duplicate key given in txn request"


class TooManyOps(StoreError):
    """More than 128 compares or operations."""

    words = "etcdserver: too many operations in txn request"


class RequestTooLarge(StoreError):
    """More than 1.5 MiB."""

    code = "too_large"
    http_status = 413
    words = "etcdserver: request is too large"


class Compacted(StoreError):
    """The revision is older than what is kept: list again, then watch from there."""

    code = "conflict"
    http_status = 409
    grpc = OUT_OF_RANGE
    words = "etcdserver: mvcc: required revision has been compacted"

    def __init__(self, words: str = "", revision: int = 0) -> None:
        super().__init__(words)
        self.revision = revision


class FutureRevision(StoreError):
    """The revision has not been written yet."""

    grpc = OUT_OF_RANGE
    words = "etcdserver: mvcc: required revision is a future revision"


class LeaseNotFound(StoreError):
    """The lease expired, was revoked, or never was."""

    code = "not_found"
    http_status = 404
    grpc = NOT_FOUND
    words = "etcdserver: requested lease not found"


class LeaseExists(StoreError):
    """The id asked for is taken."""

    code = "conflict"
    http_status = 409
    grpc = FAILED_PRECONDITION
    words = "etcdserver: lease already exists"


class LeaseTooLong(StoreError):
    """More than 9 000 000 000 s."""

    grpc = OUT_OF_RANGE
    words = "etcdserver: too large lease TTL"


class Denied(StoreError):
    """The credential does not reach these keys."""

    code = "forbidden"
    http_status = 403
    grpc = PERMISSION_DENIED
    words = "etcdserver: permission denied"


class InvalidToken(StoreError):
    """The credential is not valid, or not any more."""

    code = "unauthenticated"
    http_status = 401
    grpc = UNAUTHENTICATED
    words = "etcdserver: invalid auth token"


class NoSpace(StoreError):
    """What is stored reached its quota: delete keys, then writing goes on."""

    code = "storage_full"
    http_status = 507
    grpc = RESOURCE_EXHAUSTED
    words = "etcdserver: mvcc: database space exceeded"


_BY_CODE = {
    "unauthenticated": UNAUTHENTICATED,
    "forbidden": PERMISSION_DENIED,
    "not_found": NOT_FOUND,
    "not_allowed": FAILED_PRECONDITION,
    "storage_full": RESOURCE_EXHAUSTED,
    "timeout": DEADLINE_EXCEEDED,
    "unavailable": UNAVAILABLE,
    "internal": INTERNAL,
}


def grpc_code(error: OpsError) -> int:
    """Return the gRPC code of anything the product raises."""
    return error.grpc if isinstance(error, StoreError) else _BY_CODE.get(error.code, INVALID_ARGUMENT)


def store_error_body(words: str, grpc: int) -> bytes:
    """Return what etcd's gateway says when it refuses."""
    return msgspec.json.encode({"error": words, "message": words, "code": grpc})


KNOWN: tuple[type[StoreError], ...] = (
    EmptyKey,
    KeyNotFound,
    ValueProvided,
    LeaseProvided,
    DuplicateKey,
    TooManyOps,
    RequestTooLarge,
    Compacted,
    FutureRevision,
    LeaseNotFound,
    LeaseExists,
    LeaseTooLong,
    Denied,
    InvalidToken,
    NoSpace,
)
"""Every refusal with words of its own; the client finds the class by them."""

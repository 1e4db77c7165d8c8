"""Frames to bytes and back. Every failure is `Invalid`: what a peer sends never raises anything else."""

from typing import TypeVar

import msgspec

from ops_system.model.errors import Invalid
from ops_system.protocol.frames import MAX_FRAME_BYTES, FromMaster, FromWorker

Frame = FromWorker | FromMaster

T = TypeVar("T")

_A_WORKERS, _A_MASTERS = "a frame from the worker", "a frame from the master"

_encoder = msgspec.msgpack.Encoder()
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
_from_master: msgspec.msgpack.Decoder[FromMaster] = msgspec.msgpack.Decoder(FromMaster)

# What a decoder raises on bytes made by a stranger: wrong shape, bad UTF-8, nesting without end.
_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError, ValueError)


def encode(frame: Frame) -> bytes:
    """Return the frame as MessagePack. Raises `Invalid` above `MAX_FRAME_BYTES`."""
    data = _encoder.encode(frame)
    _check_size(len(data), type(frame).__name__)
    return data


def decode_from_worker(data: bytes) -> FromWorker:
    """Return what a worker said. Raises `Invalid`."""
    _check_size(len(data), _A_WORKERS)
    try:
        return _from_worker.decode(data)
    except _UNDECODABLE as problem:
        raise Invalid(f"undecodable frame from the worker: {problem}") from problem


def decode_from_master(data: bytes) -> FromMaster:
    """Return what the master said. Raises `Invalid`."""
    _check_size(len(data), _A_MASTERS)
    try:
        return _from_master.decode(data)
    except _UNDECODABLE as problem:
        raise Invalid(f"undecodable frame from the master: {problem}") from problem


def tag_of(frame_type: type[Frame]) -> bytes:
    """Return how our own encoder begins each frame of this type, behind the first byte."""
    name = frame_type.__name__.encode()
    return b"\xa4type" + bytes([0xA0 | len(name)]) + name


def encode_body(body: msgspec.Struct) -> msgspec.Raw:
    """Return a struct as the `body` of a `Request`, `Reply` or `StreamOpen`."""
    return msgspec.Raw(_encoder.encode(body))


def decode_body(body: msgspec.Raw, body_type: type[T]) -> T:
    """Return the struct inside a `body`. Raises `Invalid`."""
    try:
        return msgspec.msgpack.decode(body, type=body_type)
    except _UNDECODABLE as problem:
        raise Invalid(f"the body is no {body_type.__name__}: {problem}") from problem


def _check_size(size_bytes: int, what: str) -> None:
    if size_bytes > MAX_FRAME_BYTES:
        raise Invalid(f"{what} has {size_bytes} bytes, the link carries at most {MAX_FRAME_BYTES}")

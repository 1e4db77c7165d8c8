"""How the documents of provisioning are written into the store, and which writes a change of a task is. Pure."""

from typing import TypeVar

import msgspec

from ops_system.kv.base import DeleteRequest, KeyValue, PutRequest
from ops_system.kv.swap import Write
from ops_system.model.errors import Unavailable
from ops_system.model.tasks import Server, Task, TaskStatus
from ops_system.provision.keys import MachineKeys, keys_of

T = TypeVar("T")
LOG_CHUNKS_KEPT = 256

encode = msgspec.json.encode


def decode(kv: KeyValue, kind: type[T]) -> T:
    """Return a document. Raises Unavailable naming the key when it cannot be read."""
    try:
        return msgspec.json.decode(kv.value, type=kind)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"{kv.key.decode(errors='replace')} in the store cannot be read: {error}") from error


def decoded(kv: KeyValue | None, kind: type[T]) -> T | None:
    """Return a document, or None where none is."""
    return None if kv is None else decode(kv, kind)


def task_writes(before: Task | None, after: Task) -> list[Write]:
    """Return the writes of a changed task: the status beside it in the queue, and its place among the installing.

    All of them belong into one transaction, so that no two keys ever tell different things.
    """
    if after is before:
        return []
    keys = keys_of(after)
    writes: list[Write] = [PutRequest(keys.task, encode(after))]
    status_before = before.status if before is not None and before.task_id == after.task_id else None
    if status_before is not after.status:
        writes.append(PutRequest(keys.server, encode(Server(after.status, after.created_at))))
        writes += _installing_writes(keys, before.status if before else None, after.status)
    return writes


def _installing_writes(keys: MachineKeys, before: TaskStatus | None, after: TaskStatus) -> list[Write]:
    if after is TaskStatus.INSTALLING:
        return [PutRequest(keys.installing, b"1")]
    return [DeleteRequest(keys.installing)] if before is TaskStatus.INSTALLING else []


def chunk_writes(before: Task, after: Task, spilled: tuple[str, ...]) -> list[Write]:
    """Return the writes of what fell out of a task's log; beyond `LOG_CHUNKS_KEPT` the oldest goes."""
    if not spilled:
        return []
    keys, number = keys_of(after), before.log_chunks
    writes: list[Write] = [PutRequest(keys.log_chunk(after.task_id, number), encode(spilled))]
    if number >= LOG_CHUNKS_KEPT:
        writes.append(DeleteRequest(keys.log_chunk(after.task_id, number - LOG_CHUNKS_KEPT)))
    return writes


def removal_writes(task: Task) -> list[Write]:
    """Return the writes that remove a task and all that is its own."""
    keys = keys_of(task)
    return [DeleteRequest(keys.task), DeleteRequest(keys.server), DeleteRequest(keys.installing), *log_removal(task)]


def log_removal(task: Task) -> list[Write]:
    """Return the write that removes a task's log."""
    from_key = keys_of(task).log_prefix(task.task_id)
    return [DeleteRequest(from_key, from_key[:-1] + b"0")]  # "0" follows "/"

"""Moves the live state of one store into another: keys, values and leases; not the past, nor revisions and versions.

Leases keep their ids and are granted anew with their whole TTL; whoever renews them goes on as before. Keys that are
in the target already with the same value are left alone, so a move that was broken off goes on where it stopped.
"""

from collections.abc import Callable

import msgspec

from ops_system.kv.base import Compare, CompareTarget, KeyValue, PutRequest, Store, TxnRequest
from ops_system.kv.errors import LeaseExists
from ops_system.kv.follow import list_all
from ops_system.model.errors import Conflict, Unavailable

PREFIX = b"/os/"
_BATCH_OPS, _BATCH_BYTES = 100, 512 * 1024


class Copied(msgspec.Struct, frozen=True):
    """What a move did: keys and leases in all, and how many were written now."""

    keys: int
    written: int
    leases: int


async def copy_live(source: Store, target: Store, say: Callable[[str], None]) -> Copied:
    """Copy everything below `/os/`, then read it back. Both stores must have no other writer.

    Raises Conflict, with nothing written, when the target holds keys of another state; Unavailable when what is read
    back differs.
    """
    wanted = (await list_all(source, PREFIX)).kvs
    there = {kv.key: kv for kv in (await list_all(target, PREFIX)).kvs}
    _check_target(wanted, there)
    leases = await _copy_leases(source, target, {kv.lease for kv in wanted if kv.lease})
    missing = [kv for kv in wanted if kv.key not in there or there[kv.key].lease != kv.lease]
    done = 0
    for batch in _batches(missing):
        await _write(target, batch, there)
        done += len(batch)
        say(f"{done} of {len(missing)} keys")
    await _verify(wanted, target)
    return Copied(len(wanted), len(missing), leases)


def _check_target(wanted: tuple[KeyValue, ...], there: dict[bytes, KeyValue]) -> None:
    values = {kv.key: kv.value for kv in wanted}
    strange = [key for key, kv in there.items() if values.get(key) != kv.value]
    if strange:
        shown = strange[0].decode(errors="replace")
        raise Conflict(
            f"the target already holds another state ({len(strange)} keys differ, the first is {shown}): nothing was "
            f"copied; empty it below {PREFIX.decode()} or choose another one",
            keys=len(strange),
        )


async def _copy_leases(source: Store, target: Store, ids: set[int]) -> int:
    for lease_id in sorted(ids):
        lease = await source.time_to_live(lease_id)
        if lease.ttl_s < 0:
            continue  # over since it was listed
        try:
            await target.grant(lease.granted_ttl_s, lease_id)
        except LeaseExists:
            await target.keepalive(lease_id)
    return len(ids)


def _batches(kvs: list[KeyValue]) -> list[list[KeyValue]]:
    made: list[list[KeyValue]] = []
    size_bytes = 0
    for kv in kvs:
        size_bytes += len(kv.key) + len(kv.value)
        if not made or len(made[-1]) >= _BATCH_OPS or size_bytes > _BATCH_BYTES:
            made.append([])
            size_bytes = len(kv.key) + len(kv.value)
        made[-1].append(kv)
    return made


async def _write(target: Store, batch: list[KeyValue], there: dict[bytes, KeyValue]) -> None:
    """Write on the condition that nobody else did meanwhile."""
    compares = [
        Compare(kv.key, CompareTarget.MOD, mod_revision=there[kv.key].mod_revision if kv.key in there else 0)
        for kv in batch
    ]
    puts = tuple([PutRequest(kv.key, kv.value, kv.lease) for kv in batch])
    if not (await target.txn(TxnRequest(tuple(compares), puts))).succeeded:
        raise Conflict("somebody else writes into the target; stop every master that uses it and say it again")


async def _verify(wanted: tuple[KeyValue, ...], target: Store) -> None:
    there = {kv.key: (kv.value, kv.lease) for kv in (await list_all(target, PREFIX)).kvs}
    if there != {kv.key: (kv.value, kv.lease) for kv in wanted}:
        raise Unavailable("what was read back from the target differs from what was copied; say the command again")

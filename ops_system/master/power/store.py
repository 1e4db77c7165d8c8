"""BMCs and power orders in the store of installations, below `/os/global/`: no regional client reaches these keys.

A BMC's password is sealed together with where it may go and for which machine, so that whoever can write the store but
has not the key can neither read it nor have it sent elsewhere.
"""

import base64
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec
from msgspec import UNSET

from ops_system.kv.base import DeleteRequest, KeyValue, PutRequest, RangeRequest, Store
from ops_system.kv.swap import Write, change
from ops_system.master.power.rules import Bmc, BmcRecord, BmcSettings, PowerWish, Way, way_of
from ops_system.master.trust.keys import Sealer as KeySealer
from ops_system.model.errors import Conflict, NotFound, Unavailable, UsageError
from ops_system.model.machines import Machine, check_idc, check_sn
from ops_system.model.tasks import Task
from ops_system.provision.keys import MachineKeys

T = TypeVar("T")

_KEY_BYTES = 32


class Sealer(Protocol):
    """Hides secrets at rest."""

    def seal(self, plain: bytes) -> bytes:
        """Return bytes that only `unseal` can read."""
        ...

    def unseal(self, sealed: bytes) -> bytes:
        """Return what was sealed. Raises `Unavailable`."""
        ...


def shared_sealer(text: str) -> Sealer:
    """Return the sealer of `provision.shared_key`. Raises UsageError for what is no key."""
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise UsageError("provision.shared_key: write 32 bytes in base64, as `openssl rand -base64 32` makes them")
    return KeySealer(key)


class BmcBook:
    """The keys of power."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer

    # --- ways to BMCs ---------------------------------------------------------------------------------------------
    async def find(self, idc: str, sn: str) -> BmcRecord | None:
        """Return what is set for a machine. Raises Invalid for names that cannot be."""
        return await self._read(bmc_key(idc, sn), BmcRecord)

    async def get(self, idc: str, sn: str) -> BmcRecord:
        """Return what is set. Raises NotFound."""
        record = await self.find(idc, sn)
        if record is None:
            raise NotFound(f"no BMC is set for {sn} in {idc}: PUT /machines/{idc}/{sn}/bmc", idc=idc, sn=sn)
        return record

    def open(self, idc: str, sn: str, record: BmcRecord) -> Way:
        """Return the sealed way. Raises Unavailable: sealed under another key, or for another machine."""
        try:
            way = msgspec.json.decode(self._sealer.unseal(base64.b64decode(record.sealed)), type=Way)
        except (ValueError, msgspec.MsgspecError) as error:
            raise Unavailable(f"the BMC of {sn} in the store cannot be read; set it again") from error
        if (way.idc, way.sn) != (idc, sn):
            raise Unavailable(f"the BMC of {sn} in the store was sealed for {way.sn} in {way.idc}; set it again")
        return way

    async def put(self, idc: str, sn: str, settings: BmcSettings, by: str, at: datetime) -> BmcRecord:
        """Set the way to a BMC. Raises Invalid; Unavailable when a password is to be kept that cannot be read."""
        made: BmcRecord | None = None

        def rule(seen: KeyValue | None) -> list[Write]:
            nonlocal made
            before = None
            if seen is not None and settings.password is UNSET:
                before = self.open(idc, sn, _decode(seen, BmcRecord))
            made = self._sealed(way_of(idc, sn, settings, before), settings, by, at)
            return [PutRequest(bmc_key(idc, sn), msgspec.json.encode(made))]

        await change(self._store, bmc_key(idc, sn), rule, may_repeat=True)
        assert made is not None  # `change` has asked the rule
        return made

    def _sealed(self, way: Way, settings: BmcSettings, by: str, at: datetime) -> BmcRecord:
        return BmcRecord(
            kind=way.kind,
            address=way.address,
            username=way.username,
            certificate_sha256=way.certificate_sha256,
            allow_plain_http=settings.allow_plain_http,
            system=way.system,
            updated_at=at,
            updated_by=by,
            sealed=base64.b64encode(self._sealer.seal(msgspec.json.encode(way))).decode(),
        )

    def shown(self, idc: str, sn: str, record: BmcRecord) -> Bmc:
        """Return a BMC as people see it."""
        try:
            has_password = bool(self.open(idc, sn, record).password)
        except Unavailable:
            has_password = False
        return Bmc(
            idc=idc,
            sn=sn,
            kind=record.kind,
            address=record.address,
            username=record.username,
            has_password=has_password,
            certificate_sha256=record.certificate_sha256,
            allow_plain_http=record.allow_plain_http,
            system=record.system,
            updated_at=record.updated_at,
            updated_by=record.updated_by,
        )

    async def remove(self, idc: str, sn: str) -> None:
        """Forget the way."""
        await self._store.delete(DeleteRequest(bmc_key(idc, sn)))

    # --- orders ---------------------------------------------------------------------------------------------------
    async def wish(self, idc: str, sn: str, now: datetime) -> PowerWish | None:
        """Return the order at work on a machine, by any master; None when there is none."""
        wish = await self._read(wish_key(idc, sn), PowerWish)
        return wish if wish is not None and wish.until > now else None

    async def check_free(self, idc: str, sn: str, now: datetime) -> None:
        """Raise Conflict while an order is at work."""
        other = await self.wish(idc, sn, now)
        if other is not None:
            _check_over(sn, other, now)

    async def begin(self, idc: str, sn: str, wish: PowerWish, now: datetime) -> None:
        """Take the machine for one order. Raises Conflict while another is at work."""

        def rule(seen: KeyValue | None) -> list[Write]:
            other = _decode(seen, PowerWish) if seen is not None else None
            if other is not None and other.operation != wish.operation:
                _check_over(sn, other, now)
            return [PutRequest(wish_key(idc, sn), msgspec.json.encode(wish))]

        await change(self._store, wish_key(idc, sn), rule, may_repeat=True)

    async def end(self, idc: str, sn: str, operation: str) -> None:
        """Give the machine free, when the order is still this one."""

        def rule(seen: KeyValue | None) -> list[Write]:
            is_ours = seen is not None and _decode(seen, PowerWish).operation == operation
            return [DeleteRequest(wish_key(idc, sn))] if is_ours else []

        await change(self._store, wish_key(idc, sn), rule, may_repeat=True)

    # --- what others wrote ----------------------------------------------------------------------------------------
    async def machine(self, idc: str, sn: str) -> Machine | None:
        """Return what the machine has reported."""
        return await self._read(MachineKeys(idc, sn).meta, Machine)

    async def task(self, idc: str, sn: str) -> Task | None:
        """Return its installation."""
        return await self._read(MachineKeys(idc, sn).task, Task)

    async def _read(self, key: bytes, kind: type[T]) -> T | None:
        answer = await self._store.range(RangeRequest(key))
        return _decode(answer.kvs[0], kind) if answer.kvs else None


def bmc_key(idc: str, sn: str) -> bytes:
    """Return where the way to a BMC lies. Raises Invalid."""
    return f"/os/global/bmc/{check_idc(idc)}/{check_sn(sn)}".encode()


def wish_key(idc: str, sn: str) -> bytes:
    """Return where the order lies that is at work on a machine. Raises Invalid."""
    return f"/os/global/power/{check_idc(idc)}/{check_sn(sn)}".encode()


def _check_over(sn: str, other: PowerWish, now: datetime) -> None:
    if other.until > now:
        raise Conflict(
            f"{sn} is being ordered to {other.action} by {other.by}; wait for its end, or cancel that operation",
            reason="power_busy",
            action=other.action.value,
        )


def _decode(kv: KeyValue, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(kv.value, type=kind)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"{kv.key.decode(errors='replace')} in the store cannot be read: {error}") from error

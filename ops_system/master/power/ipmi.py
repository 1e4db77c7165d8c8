"""A BMC that speaks IPMI 2.0 over LAN (RMCP+), by `pyghmi`. Blocking: each call is one session in a thread.

The library keeps its sessions in globals of one process; so one thread makes all calls, one after the other. It is
imported late: few installations have IPMI.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from ops_system.master.outbound.client import Outbound
from ops_system.master.power.base import strange_answer, wrong_login
from ops_system.master.power.rules import Identity, PowerState, Way, split_host
from ops_system.model.errors import Invalid, OpsError, Unavailable

if TYPE_CHECKING:
    from pyghmi.ipmi.command import Command

T = TypeVar("T")

_log = logging.getLogger(__name__)

_ADMINISTRATOR = 4
_APP, _GET_SYSTEM_GUID = 0x06, 0x37  # IPMI 2.0, 22.14
_GUID_BYTES = 16
_WRONG_LOGIN = ("password", "credential", "unauthorized", "username", "privilege", "rakp")
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="ipmi")


class Ipmi:
    """One machine behind one BMC."""

    def __init__(self, outbound: Outbound, way: Way) -> None:
        self._outbound = outbound
        self._way = way

    async def identify(self) -> Identity:
        """Tell the serials of the FRU and the system's GUID in each order of bytes it may stand in."""
        return await self._call(_identify)

    async def state(self) -> PowerState:
        """Tell what Get Chassis Status says."""
        told = await self._call(lambda command: command.get_power())
        match told.get("powerstate"):
            case "on":
                return "on"
            case "off":
                return "off"
            case _:
                return "unknown"

    async def on(self) -> None:
        """Chassis Control: power up."""
        await self._call(lambda command: command.set_power("on"))

    async def off(self) -> None:
        """Chassis Control: power down."""
        await self._call(lambda command: command.set_power("off"))

    async def cycle(self) -> None:
        """Chassis Control: hard reset."""
        await self._call(lambda command: command.set_power("reset"))

    async def netboot_once(self, *, uefi: bool | None) -> None:
        """Set System Boot Options: force PXE, valid for the next boot only."""
        await self._call(lambda command: command.set_bootdev("network", persist=False, uefiboot=bool(uefi)))

    async def _call(self, act: "Callable[[Command], T]") -> T:
        """Open a session, act, close it. Raises OpsError."""
        parts = split_host(self._way.address)
        if parts is None:
            raise Invalid("$.address: write HOST or HOST:PORT")
        address = await self._outbound.address_of(*parts)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_THREAD, self._run, address, parts[1], act)

    def _run(self, address: str, port: int, act: "Callable[[Command], T]") -> T:
        """Blocking; bounded by the library's own retries (about 10 s for a BMC that does not answer)."""
        from pyghmi.exceptions import IpmiException
        from pyghmi.ipmi.command import Command

        command: Command | None = None
        try:
            command = Command(
                bmc=address,
                userid=self._way.username.encode(),  # as bytes: of text the library forgets that the session is over
                password=self._way.password.encode(),
                port=port,
                privlevel=_ADMINISTRATOR,
            )
            return act(command)
        except IpmiException as error:
            raise self._explain(error) from error
        except Exception as error:  # the library breaks in its own ways on bytes that are no IPMI
            raise strange_answer(self._way.address, f"its answer is no IPMI ({type(error).__name__})") from error
        finally:
            if command is not None:
                command.ipmi_session.logout()

    def _explain(self, error: Exception) -> OpsError:
        words = str(error)
        if any(mark in words.lower() for mark in _WRONG_LOGIN):
            return wrong_login(self._way.address)
        if "timeout" in words.lower() or "timed out" in words.lower():
            return Unavailable(f"the BMC {self._way.address} gives no answer on UDP", reason="unreachable")
        return strange_answer(self._way.address, words[:200])


def _identify(command: "Command") -> Identity:
    told: dict[str, Any] = command.raw_command(netfn=_APP, command=_GET_SYSTEM_GUID)
    data = bytes(told.get("data", b""))
    uuids = readings(data) if "error" not in told and len(data) == _GUID_BYTES else ()
    fru = _read_fru(command)
    serials = [fru.get(name) for name in ("Serial Number", "Chassis serial number", "Board serial number")]
    return Identity(
        serials=tuple(text.strip() for text in serials if isinstance(text, str) and text.strip()),
        uuids=uuids,
        vendor=str(fru.get("Manufacturer") or ""),
        product=str(fru.get("Product name") or ""),
    )


def _read_fru(command: "Command") -> dict[str, Any]:
    """Return what the inventory area 0 holds; nothing where the BMC has none."""
    from pyghmi.ipmi.fru import FRU

    try:
        return dict(FRU(ipmicmd=command, fruid=0).info or {})
    except Exception as error:  # noqa: BLE001 - an area that cannot be read is one that tells nothing
        _log.debug("the FRU of a BMC cannot be read: %r", error)
        return {}


def readings(data: bytes) -> tuple[str, ...]:
    """Return a GUID of 16 bytes as SMBIOS lays it, as RFC 4122 does, and with the last byte first (IPMI 2.0, 20.8)."""
    found = (uuid.UUID(bytes_le=data), uuid.UUID(bytes=data), uuid.UUID(bytes=data[::-1]))
    return tuple(dict.fromkeys(map(str, found)))

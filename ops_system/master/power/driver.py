"""Brings one machine into the wished state of power: identify, order, look, order again. Bounded by its caller."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ops_system.master.power.base import BmcLine
from ops_system.master.power.rules import (
    POLL_S,
    REORDER_S,
    STEPS,
    Identity,
    PowerAction,
    fits,
    may_repeat,
    wished_state,
)
from ops_system.model.errors import NotAllowed, TimedOut, Unavailable
from ops_system.model.machines import Machine
from ops_system.runtime.clock import Clock

T = TypeVar("T")

Tell = Callable[[str], None]

_IDENTIFY, _ORDER, _CONFIRM = STEPS


class Driver:
    """One order on one machine. `tell` hears each step as it begins."""

    def __init__(self, line: BmcLine, sn: str, machine: Machine | None, clock: Clock, tell: Tell) -> None:
        self._line = line
        self._sn = sn
        self._machine = machine
        self._clock = clock
        self._tell = tell
        self.last_trouble = ""  # what was in the way of the last try, for who gives up waiting

    async def carry_out(self, action: PowerAction) -> None:
        """Return when the machine is as wished. Tries for ever where another try may help: the caller ends it.

        Raises NotAllowed (`bmc_identity`, before anything was changed; a refused login; what a BMC cannot do).
        """
        self._tell(_IDENTIFY)
        check_identity(await self._again(self._line.identify), self._sn, self._machine)
        self._tell(_ORDER)
        await self._order(action)
        self._tell(_CONFIRM)
        await self._confirm(action)

    async def _order(self, action: PowerAction) -> None:
        match action:
            case PowerAction.ON | PowerAction.OFF:
                await self._switch(action)
            case PowerAction.CYCLE:
                await self._restart()
            case PowerAction.NETBOOT:
                await self._again(self._choose_network)
                await self._restart()

    async def _switch(self, action: PowerAction) -> None:
        """Order on or off, unless it is so: some BMCs take it for an error then."""
        if await self._again(self._line.state) != wished_state(action):
            await self._again(self._line.on if action is PowerAction.ON else self._line.off)

    async def _choose_network(self) -> None:
        hardware = self._machine.hardware if self._machine is not None else None
        await self._line.netboot_once(uefi=None if hardware is None else hardware.firmware == "uefi")

    async def _restart(self) -> None:
        """Restart the machine, or switch it on when it is off. A restart nobody answered for is not repeated."""
        if await self._again(self._line.state) == "off":
            await self._again(self._line.on)
            return
        try:
            await self._line.cycle()
        except TimedOut as problem:
            self.last_trouble = problem.message

    async def _confirm(self, action: PowerAction) -> None:
        ordered_s = self._clock.monotonic_s()
        while await self._again(self._line.state) != wished_state(action):
            await asyncio.sleep(POLL_S)
            if self._clock.monotonic_s() - ordered_s > REORDER_S and may_repeat(action):
                await self._order(action)
                ordered_s = self._clock.monotonic_s()

    async def _again(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer."""
        while True:
            try:
                return await ask()
            except (Unavailable, TimedOut) as problem:
                self.last_trouble = problem.message
            await asyncio.sleep(POLL_S)


def check_identity(identity: Identity, sn: str, machine: Machine | None) -> None:
    """Raise NotAllowed unless the BMC is that of this machine."""
    if fits(identity, sn, machine):
        return
    serials, uuids = ", ".join(identity.serials) or "none", ", ".join(identity.uuids[:1]) or "none"
    raise NotAllowed(
        f"this BMC is in another machine: it tells serial {serials} and UUID {uuids}, wanted is {sn}; nothing was done",
        reason="bmc_identity",
        serials=serials,
        uuids=uuids,
    )

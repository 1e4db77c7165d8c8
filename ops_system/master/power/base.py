"""What every way to a BMC can do. Each call raises OpsError: Unavailable and TimedOut are worth another try."""

from typing import Protocol

from ops_system.master.power.rules import Identity, PowerState
from ops_system.model.errors import NotAllowed, Unavailable


class BmcLine(Protocol):
    """A BMC under orders. What `on` to `netboot_once` change is only begun when they return: `state` tells the end."""

    async def identify(self) -> Identity:
        """Tell which machine this is. Changes nothing."""
        ...

    async def state(self) -> PowerState:
        """Tell whether the machine has power; `unknown` while it changes. Changes nothing."""
        ...

    async def on(self) -> None:
        """Give it power."""
        ...

    async def off(self) -> None:
        """Take its power away at once."""
        ...

    async def cycle(self) -> None:
        """Restart it at once."""
        ...

    async def netboot_once(self, *, uefi: bool | None) -> None:
        """Let its next start, and that one only, be from the network. `uefi` None: nobody knows its firmware yet."""
        ...


def wrong_login(where: str) -> NotAllowed:
    """Say that the BMC does not take user and password."""
    return NotAllowed(f"the BMC {where} refuses user name or password: set them again", reason="bmc_credentials")


def strange_answer(where: str, what: str) -> Unavailable:
    """Say that the BMC answered what cannot be understood."""
    return Unavailable(f"the BMC {where}: {what}", reason="bmc_answer")

"""A machine without a BMC: people walk there. Nothing can be asked or ordered."""

from ops_system.master.power.rules import Identity, PowerState
from ops_system.model.errors import NotAllowed


class Manual:
    """Knows nothing and refuses everything, in words that tell a person what to do."""

    async def identify(self) -> Identity:
        """Tell nothing."""
        return Identity()

    async def state(self) -> PowerState:
        """Nobody knows."""
        return "unknown"

    async def on(self) -> None:
        """Refuse."""
        raise by_hand()

    async def off(self) -> None:
        """Refuse."""
        raise by_hand()

    async def cycle(self) -> None:
        """Refuse."""
        raise by_hand()

    async def netboot_once(self, *, uefi: bool | None) -> None:  # noqa: ARG002 - the Protocol's
        """Refuse."""
        raise by_hand()


def by_hand() -> NotAllowed:
    """Say who has to do it."""
    return NotAllowed(
        "this machine is powered by hand: go there, choose network boot once and switch it on", reason="power_manual"
    )

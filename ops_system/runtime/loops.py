"""Which event loop a role runs on. Used by the roles that serve thousands of connections: master, regional client."""

import asyncio
import sys


def fast_loop() -> type[asyncio.AbstractEventLoop] | None:
    """Return uvloop (winloop on Windows), which halves the cost of a small message, or None where it is absent."""
    try:
        if sys.platform == "win32":
            import winloop as fast
        else:
            import uvloop as fast
    except ImportError:
        return None
    loop: type[asyncio.AbstractEventLoop] = fast.Loop
    return loop

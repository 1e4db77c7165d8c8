"""Entry of the frozen `worker`, which is also its own keeper: that one needs none of the rest."""

import contextlib
import sys

from ops_system.processes import keeper
from ops_system.runtime.unpacked import hold


def start() -> int:
    """Be the keeper where told so, else the worker."""
    if sys.argv[1:2] == [keeper.ARGUMENT]:
        return keeper.main(sys.argv[2])
    from ops_system.worker.main import main

    return main()


with hold() or contextlib.nullcontext():
    code = start()
sys.exit(code)

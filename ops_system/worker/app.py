"""The worker's composition root: builds every part, wires them, and runs them until a signal. Called by `main`.

    lock → status port → identity (enrol when there is none) → parts → one TaskGroup

A stop ends the parts and never the services: they belong to themselves (R1).
"""

import logging
from pathlib import Path

_log = logging.getLogger(__name__)

SWEEP_EVERY_S = 3600.0
ROTATE_EVERY_S = 2.0
LOCK_FILE = "lock"
DESIRED = Path("state") / "desired"
JOURNAL = Path("state") / "processes"

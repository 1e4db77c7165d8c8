"""Entry of the frozen `master`."""

import contextlib
import sys

from ops_system.master.main import main
from ops_system.runtime.unpacked import hold

with hold() or contextlib.nullcontext():
    code = main()
sys.exit(code)

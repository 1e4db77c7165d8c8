"""Entry of the frozen `regional-client`."""

import contextlib
import sys

from ops_system.regional.main import main
from ops_system.runtime.unpacked import hold

with hold() or contextlib.nullcontext():
    code = main()
sys.exit(code)

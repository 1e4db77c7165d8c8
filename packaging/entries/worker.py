"""Entry of the frozen `worker`."""

import sys

from ops_system.worker.main import main

sys.exit(main())

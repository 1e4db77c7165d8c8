"""Entry of the frozen `master`."""

import sys

from ops_system.master.main import main

sys.exit(main())

"""Entry of the frozen `install-agent`."""

import sys

from ops_system.installer.main import main

sys.exit(main())

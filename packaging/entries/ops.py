"""Entry of the frozen `ops`."""

import sys

from ops_system.client.main import main

sys.exit(main())

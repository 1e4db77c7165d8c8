"""Entry of the frozen `pack-tool`."""

import sys

from ops_system.packtool.cli import main

sys.exit(main())

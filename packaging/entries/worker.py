"""Entry of the frozen `worker`, which is also its own keeper: that one needs none of the rest."""

import sys

from ops_system.processes import keeper

if sys.argv[1:2] == [keeper.ARGUMENT]:
    sys.exit(keeper.main(sys.argv[2]))

from ops_system.worker.main import main

sys.exit(main())

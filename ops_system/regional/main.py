"""The command line of `ops-regional`: run the regional client of one data centre.

regional-client --idc dc1 --store URL[,URL] [--token T|@FILE] [--master URL] [--dhcp off|proxy|full] [--tftp on|off] …
"""

import os
import sys

from ops_system.cli import EXIT_FINE, Command, Program, parse, run_role
from ops_system.regional.config import RUN_FLAGS, SCHEMA
from ops_system.regional.helpwords import CHINESE
from ops_system.runtime import config as settings
from ops_system.runtime import logs
from ops_system.runtime.argv import hide_in_argv
from ops_system.runtime.collector import MANY, calm_the_collector, collect_rarely
from ops_system.runtime.loops import fast_loop
from ops_system.runtime.tasks import run_role as run_loop

NAME = "ops-regional"
_SECRETS = ("store.token", "store.password")

PROGRAM = Program(
    NAME,
    "boots the machines of one data centre over the network",
    (Command((), "run the regional client until a signal", flags=RUN_FLAGS),),
    CHINESE,
)


def main() -> int:
    """Run the command line and return its exit code."""
    return run_role(NAME, run)


def run(argv: list[str]) -> int:
    """Run until a signal."""
    config = settings.load(SCHEMA, parse(PROGRAM, argv))
    config.check()
    for secret in (config.store.token, config.store.password):
        hide_in_argv(secret.reveal())
    for key in _SECRETS:
        os.environ.pop(settings.environment_name(SCHEMA, key), None)
    collect_rarely(MANY)
    logs.set_up(config.log)
    from ops_system.regional.app import run_app

    run_loop(run_app(config, on_ready=lambda _app: calm_the_collector()), loop_factory=fast_loop())
    return EXIT_FINE


if __name__ == "__main__":
    sys.exit(main())

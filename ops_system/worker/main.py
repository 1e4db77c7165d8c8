"""The command line of `ops-worker`: run the worker, `status`, `leave`.

worker [-config worker.yaml] [-master URL] [-token JOINTOKEN|@FILE|-] …
worker status [-json 1]      worker leave [-stop 1|-keep 1]
"""

import os
import sys

import msgspec

from ops_system.cli import EXIT_FAILED, EXIT_FINE, EXIT_USAGE, Command, Flag, Parsed, Program, parse, run_role
from ops_system.model.errors import UsageError
from ops_system.model.kinds import BOOL
from ops_system.runtime import config as settings
from ops_system.runtime import logs
from ops_system.runtime.argv import hide_in_argv
from ops_system.runtime.collector import FEW, calm_the_collector, collect_rarely
from ops_system.runtime.tasks import StopRequest, running
from ops_system.runtime.tasks import run_role as run_loop
from ops_system.service.autostart import make_unit
from ops_system.service.local import local_services
from ops_system.service.manager import Manager, with_manager
from ops_system.service.words import tell_change
from ops_system.storage.lock import is_held
from ops_system.worker.config import DATA_FLAGS, LEAVE_FLAGS, RUN_FLAGS, SCHEMA, WorkerConfig
from ops_system.worker.helpwords import CHINESE
from ops_system.worker.identity import LOCK_FILE, load_identity
from ops_system.worker.switch import Seat, become_chosen, return_from_failed_start, take_seat
from ops_system.worker.words import say

NAME = "ops-worker"
_TOKEN_VARIABLE = settings.environment_name(SCHEMA, "connect.token")

PROGRAM = Program(
    NAME,
    "runs services on this node for a master",
    (
        Command((), "run the worker, joining with -token the first time", flags=RUN_FLAGS),
        Command(
            ("status",),
            "say how this node and its services are",
            flags=(*DATA_FLAGS, Flag("json", BOOL, "1 prints JSON", "0")),
        ),
        Command(
            ("leave",),
            "undo it all: boot service, identity, keys, state; the master is told",
            flags=(
                *LEAVE_FLAGS,
                Flag("stop", BOOL, "1 stops and removes the services first", "0"),
                Flag("keep", BOOL, "1 lets running services go on without care", "0"),
            ),
        ),
    ),
    CHINESE,
)


def main() -> int:
    """Run the command line and return its exit code. A new program that cannot start makes way for the old one."""
    seat = take_seat(os.environ, sys.argv[1:])
    try:
        code = run_role(NAME, lambda argv: run(argv, seat))
    except Exception as problem:
        return_from_failed_start(seat, repr(problem))
        raise
    if code != EXIT_FINE:
        return_from_failed_start(seat, f"exit {code}; its log says why")
    return code


def run(argv: list[str], seat: Seat | None = None) -> int:
    """Do what the words ask for. `seat`: where this program may be followed by another."""
    parsed = parse(PROGRAM, argv)
    match parsed.command:
        case ("status",):
            return show_status(_load(parsed), as_json=parsed.switch("json"))
        case ("leave",):
            return leave(_load(parsed), may_stop=parsed.switch("stop"), may_keep=parsed.switch("keep"))
        case _:
            return run_worker(parsed, seat)


def run_worker(parsed: Parsed, seat: Seat | None = None) -> int:
    """Run until a signal; without identity and token say how to join."""
    if parsed.has("autostart") and not parsed.switch("autostart"):
        return remove_boot_service()
    config = _load(parsed)
    if parsed.has("autostart"):
        return install_boot_service(parsed, config)
    if load_identity(config.work_dir()) is None and not config.connect.token:
        return _say_how_to_join(config)
    hide_in_argv(config.connect.token.reveal())
    os.environ.pop(_TOKEN_VARIABLE, None)
    collect_rarely(FEW)
    logs.set_up(config.log)
    if seat is not None and not is_held(config.work_dir() / LOCK_FILE):
        become_chosen(seat, config.work_dir())
    is_handover = False

    def run_managed(manager: Manager) -> int:
        nonlocal is_handover
        is_handover = run_loop(_serve(config, manager, seat))
        return EXIT_FINE

    code = with_manager(run_managed)
    if is_handover and seat is not None:
        seat.start_again()
    return code


async def _serve(config: WorkerConfig, manager: Manager, seat: Seat | None) -> bool:
    """Run until a stop; return whether another program is to go on in this process."""
    from ops_system.worker.app import run_app

    def on_ready() -> None:
        calm_the_collector()
        manager.tell_ready()

    stop = StopRequest()
    async with running(manager.run(stop), "service manager"):
        await run_app(config, stop, on_ready=on_ready, seat=seat)
    return stop.is_handover


def _say_how_to_join(config: WorkerConfig) -> int:
    sys.stderr.write(f"{NAME}: {say('join_how', master=config.connect.master_url, work_dir=config.work_dir())}\n")
    return EXIT_USAGE


def install_boot_service(parsed: Parsed, config: WorkerConfig) -> int:
    """Install the boot service, joining first by the token: it is used once and does not go into the unit."""
    work_dir = config.work_dir().absolute()
    unit = make_unit(
        "worker",
        SCHEMA,
        parsed,
        os.environ,
        folders={"work_dir": work_dir},
        used_once=("token",),
        log_file="" if config.log.file else str(work_dir / "worker.log"),
    )
    if load_identity(work_dir) is None:
        if not config.connect.token:
            return _say_how_to_join(config)
        local_services().check()
        hide_in_argv(config.connect.token.reveal())
        from ops_system.worker.app import join_once

        joined = run_loop(join_once(config))
        print(say("joined", name=joined.node_name, id=joined.node_id, master=joined.master_url))
    change = local_services().install(unit, may_start=not is_held(work_dir / LOCK_FILE))
    print(tell_change(change))
    return EXIT_FINE


def remove_boot_service() -> int:
    """Stop the boot service and remove it; the services it started go on."""
    print(tell_change(local_services().remove("worker")))
    return EXIT_FINE


def _load(parsed: Parsed) -> WorkerConfig:
    """Read the configuration. An enrolled worker does not look at its token: the file it stood in may be gone."""
    texts = {name: text for name, text in parsed.texts.items() if name != "token"}
    environ = {name: text for name, text in os.environ.items() if name != _TOKEN_VARIABLE}
    without = settings.load(SCHEMA, Parsed(parsed.command, parsed.arguments, texts), environ)
    if parsed.command or (without.work_dir() / "node.json").exists():
        return without
    return settings.load(SCHEMA, parsed)


def show_status(config: WorkerConfig, *, as_json: bool) -> int:
    """Print how the node is: from the running worker, else from its disk. 1 when it never joined."""
    from ops_system.worker.picture import read_picture

    picture = read_picture(config.work_dir(), config.server.port)
    if picture is None:
        sys.stderr.write(f"{NAME}: {say('not_joined')}\n")
        return EXIT_FAILED
    print(msgspec.json.encode(picture).decode() if as_json else picture.text())
    return EXIT_FINE


def leave(config: WorkerConfig, *, may_stop: bool, may_keep: bool) -> int:
    """Undo what joining made. Refused (1) while services run and nothing says what becomes of them."""
    if may_stop and may_keep:
        raise UsageError("-stop 1 and -keep 1: say one of them")
    from ops_system.worker.leave import leave as leave_master
    from ops_system.worker.picture import read_picture

    picture = read_picture(config.work_dir(), config.server.port)
    if picture is None:
        sys.stderr.write(f"{NAME}: {say('not_joined')}\n")
        return EXIT_FAILED
    names = ", ".join(item.name for item in picture.instances if item.pid is not None)
    if names and not (may_stop or may_keep):
        sys.stderr.write(f"{NAME}: {say('still_running', names=names)}\n")
        return EXIT_FAILED
    left = leave_master(config, picture, may_stop=may_stop)
    if left.boot_service is not None:
        print(tell_change(left.boot_service))
    if names:
        print(say("stopped" if may_stop else "unattended", names=names))
    print(say("left", master=picture.master_url, work_dir=config.work_dir()))
    print(say("not_told" if left.untold else "told", why=left.untold, name=picture.node_name))
    return EXIT_FINE


if __name__ == "__main__":
    sys.exit(main())

"""The command line of `ops-master`: run the master, and the commands that work on its data folder.

master [-config config.yaml] [-port 8080] [-data_dir DIR] …
master user create NAME --role admin --password-stdin      master token create NAME --role operator [--ttl 90d]
       … both take [--grants exec,terminal] [--scope k=v,…]
master join-token create [--uses 1] [--ttl 1h] [--labels k=v,…]      master audit verify      master doctor
master storage migrate --to local|minio [--remove 1]      master provision migrate --to http://HOST:2379|embedded
master backup create [FILE] · backup list · backup restore FILE|s3:NAME|s3:latest
       … create and restore take [--passphrase-file FILE] [--artefacts 0]
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from ops_system.cli import EXIT_FAILED, EXIT_FINE, Argument, Command, Flag, Parsed, Program, parse, run_role
from ops_system.master.auth.rules import GRANTS
from ops_system.master.config import DATA_FLAGS, RUN_FLAGS, SCHEMA, STORE_FLAGS, MasterConfig
from ops_system.master.helpwords import CHINESE
from ops_system.master.web.route import Role
from ops_system.model.errors import UsageError
from ops_system.model.kinds import BOOL, LABELS, SWITCH, TEXT, Kind, choice, choices, duration, integer
from ops_system.runtime import config as settings
from ops_system.runtime import logs, tasks
from ops_system.runtime.collector import MANY, calm_the_collector, collect_rarely
from ops_system.runtime.loops import fast_loop
from ops_system.service.autostart import make_unit
from ops_system.service.local import local_services
from ops_system.service.manager import Manager, with_manager
from ops_system.service.words import tell_change
from ops_system.storage.lock import is_held

NAME = "ops-master"
_USER_ROLES = choice("admin", "operator", "viewer")
_TOKEN_ROLES = choice("admin", "operator", "viewer", "regional")
_GRANTS = choices(*sorted(GRANTS))
_LIFE = duration(1.0)
_USES = integer(1, 100_000)

_THREAD_TURN_S = 0.0005  # a thread at work makes the loop wait for so long each time; by default ten times that
_OTHER_KIND = "the command line read another kind than it was told"

_REACH = (
    Flag(
        "grants",
        _GRANTS,
        f"what it may do beyond the role: {', '.join(sorted(GRANTS))}",
        "a token with role admin: all",
    ),
    Flag("scope", LABELS, "limits it to the nodes with these labels"),
)
_USER_CREATE = Command(
    ("user", "create"),
    "make a user; a running master knows it at once",
    (Argument("NAME"),),
    (
        Flag("role", _USER_ROLES, "what the user or token may do"),
        Flag("password-stdin", SWITCH, "read the password from standard input"),
        *_REACH,
        *DATA_FLAGS,
    ),
)
_TOKEN_CREATE = Command(
    ("token", "create"),
    "make an API token; it alone is printed, once",
    (Argument("NAME"),),
    (
        Flag("role", _TOKEN_ROLES, "what the user or token may do"),
        *_REACH,
        Flag("idc", TEXT, "the data centre of a regional client"),
        Flag("ttl", _LIFE, "how long a token is good", "an API token for ever, a join token 1h"),
        *DATA_FLAGS,
    ),
)
_JOIN_TOKEN_CREATE = Command(
    ("join-token", "create"),
    "make a token by which a worker joins; it alone is printed, once",
    (),
    (
        Flag("uses", _USES, "how many workers may join with it", "1"),
        Flag("ttl", _LIFE, "how long a token is good", "an API token for ever, a join token 1h"),
        Flag("labels", LABELS, "labels the joining nodes get"),
        *DATA_FLAGS,
    ),
)
_AUDIT_VERIFY = Command(("audit", "verify"), "follow the hash chain of the audit log", (), DATA_FLAGS)
_STORE_KIND = choice("local", "minio")
_STORAGE_MIGRATE = Command(
    ("storage", "migrate"),
    "copy every package to the other store, verified; goes on where it was broken off",
    (),
    (
        Flag("to", _STORE_KIND, "where the packages shall be"),
        Flag("remove", BOOL, "1 removes them from the other store once they are verified; storage.type must be --to"),
        *DATA_FLAGS,
        *STORE_FLAGS,
    ),
)
_BACKUP_FLAGS = (
    Flag("artefacts", BOOL, "0 leaves the packages out", "1"),
    Flag("passphrase-file", TEXT, "a file whose first line is the passphrase of an encrypted backup"),
    *DATA_FLAGS,
    *STORE_FLAGS,
)
_BACKUP_CREATE = Command(
    ("backup", "create"),
    "back up database, keys and packages, the master running or not",
    (Argument("FILE", is_optional=True),),
    (Flag("note", TEXT, "a line that lists show"), *_BACKUP_FLAGS),
)
_BACKUP_LIST = Command(("backup", "list"), "list the backups here and on S3", (), (*DATA_FLAGS, *STORE_FLAGS))
_BACKUP_RESTORE = Command(
    ("backup", "restore"),
    "put the data of a backup in place of the present data; the master must be stopped",
    (Argument("FILE"),),
    _BACKUP_FLAGS,
)
_PROVISION_MIGRATE = Command(
    ("provision", "migrate"),
    "copy the state of installations to an etcd, or back; the master must be stopped",
    (),
    (
        Flag("to", TEXT, "http://HOST:2379[,…] of the etcd, or embedded (then from provision.etcd)"),
        *DATA_FLAGS,
        *SCHEMA.flags("provision.etcd"),
    ),
)
_DOCTOR = Command(("doctor",), "look at data folder, database, keys and ports", (), DATA_FLAGS)
PROGRAM = Program(
    NAME,
    "console, API and control plane",
    (
        Command((), "run the master", flags=RUN_FLAGS),
        _USER_CREATE,
        _TOKEN_CREATE,
        _JOIN_TOKEN_CREATE,
        _AUDIT_VERIFY,
        _STORAGE_MIGRATE,
        _BACKUP_CREATE,
        _BACKUP_LIST,
        _BACKUP_RESTORE,
        _PROVISION_MIGRATE,
        _DOCTOR,
    ),
    CHINESE,
)


def main() -> int:
    """Run the command line and return its exit code."""
    return run_role(NAME, run)


def run(argv: list[str]) -> int:
    """Do what the words ask for."""
    parsed = parse(PROGRAM, argv)
    work = _COMMANDS.get(parsed.command)
    return run_master(parsed) if work is None else work(parsed, settings.load(SCHEMA, parsed))


def run_master(parsed: Parsed) -> int:
    """Serve until a signal."""
    if parsed.has("autostart") and not parsed.switch("autostart"):
        return remove_boot_service()
    config = settings.load(SCHEMA, parsed)
    if parsed.has("autostart"):
        return install_boot_service(parsed, config)
    collect_rarely(MANY)
    sys.setswitchinterval(_THREAD_TURN_S)
    logs.set_up(config.log)
    from ops_system.master.welcome import has_desktop

    shows_browser = parsed.switch("open_browser", default=has_desktop(os.environ, sys.platform))

    def run_managed(manager: Manager) -> int:
        is_again = tasks.run_role(_serve(config, manager, shows_browser=shows_browser), loop_factory=fast_loop())
        while is_again:  # a backup was put in place: the same process serves the restored data
            is_again = tasks.run_role(_serve(config, manager, shows_browser=False), loop_factory=fast_loop())
        return EXIT_FINE

    return with_manager(run_managed)


def install_boot_service(parsed: Parsed, config: MasterConfig) -> int:
    """Install the boot service that starts the master as this command line would."""
    folder = config.folder()
    unit = make_unit(
        "master",
        SCHEMA,
        parsed,
        os.environ,
        folders={"data_dir": config.data_dir().absolute()},
        path_flags=("db_path", "upload_dir"),
        used_once=("open_browser",),
        log_file="" if config.log.file else str(config.data_dir().absolute() / "master.log"),
    )
    print(tell_change(local_services().install(unit, may_start=not is_held(folder.lock))))
    return EXIT_FINE


def remove_boot_service() -> int:
    """Stop the boot service and remove it; data stays."""
    print(tell_change(local_services().remove("master")))
    return EXIT_FINE


async def _serve(config: MasterConfig, manager: Manager, *, shows_browser: bool) -> bool:
    """Run until a stop; return whether the master is to start again, on the data of a backup."""
    from ops_system.master.app import Opened, open_master
    from ops_system.master.welcome import Welcome

    welcome = Welcome(str(config.data_dir().absolute()), shows_browser=shows_browser)

    def on_ready(opened: Opened) -> None:
        welcome.greet(f"http://127.0.0.1:{opened.port}", opened.network_url, opened.setup_code)
        calm_the_collector()
        manager.tell_ready()

    stop = tasks.StopRequest()
    async with (
        tasks.running(manager.run(stop), "service manager"),
        open_master(config, on_code=welcome.tell_code) as master,
    ):
        await master.run(on_ready, stop)
    return master.ground.turnover.is_done


def create_user(parsed: Parsed, config: MasterConfig) -> int:
    """Make a user on the data folder; a running master knows it at once."""
    from ops_system.master.auth import offline

    role = _role(parsed, _USER_ROLES)
    if not parsed.switch("password-stdin"):
        raise UsageError(
            "{program} user create: give the password by standard input and say --password-stdin", program=NAME
        )
    password = sys.stdin.readline().rstrip("\r\n")
    name, grants, scope = parsed.arguments["NAME"], _grants(parsed), _labels(parsed, "scope")
    user = offline.create_user(config.folder(), name, role, password, grants=grants or (), scope=scope)
    print(f"created {user.role} {user.username}")
    return EXIT_FINE


def create_token(parsed: Parsed, config: MasterConfig) -> int:
    """Print a new API token, alone on standard output."""
    from ops_system.master.auth import offline

    role = _role(parsed, _TOKEN_ROLES)
    ttl_s = _seconds(parsed) if parsed.has("ttl") else None
    name, idc = parsed.arguments["NAME"], parsed.text("idc") or None
    grants, scope = _grants(parsed), _labels(parsed, "scope")
    print(offline.create_token(config.folder(), name, role, grants=grants, scope=scope, idc=idc, ttl_s=ttl_s))
    return EXIT_FINE


def create_join_token(parsed: Parsed, config: MasterConfig) -> int:
    """Print a new join token, alone on standard output."""
    from ops_system.master.auth import offline

    uses = parsed.read("uses", _USES, "1")
    if not isinstance(uses, int):
        raise TypeError(_OTHER_KIND)
    labels = _labels(parsed, "labels")
    print(offline.create_join_token(config.folder(), uses=uses, ttl_s=_seconds(parsed), labels=labels))
    return EXIT_FINE


def _grants(parsed: Parsed) -> tuple[str, ...] | None:
    """Return the named grants; None where none were asked for."""
    if not parsed.has("grants"):
        return None
    grants = parsed.read("grants", _GRANTS, "")
    if not isinstance(grants, tuple):
        raise TypeError(_OTHER_KIND)
    return grants


def _labels(parsed: Parsed, flag: str) -> dict[str, str]:
    labels = parsed.read(flag, LABELS, "")
    if not isinstance(labels, dict):
        raise TypeError(_OTHER_KIND)
    return labels


def _seconds(parsed: Parsed) -> float:
    ttl_s = parsed.read("ttl", _LIFE, "1h")
    if not isinstance(ttl_s, float):
        raise TypeError(_OTHER_KIND)
    return ttl_s


def _role(parsed: Parsed, kind: Kind) -> Role:
    if not parsed.has("role"):
        raise UsageError(
            "{program} {command}: -role is missing; write --role {metavar}",
            program=NAME,
            command=" ".join(parsed.command),
            metavar=kind.metavar,
        )
    return Role(str(parsed.read("role", kind, "")))


def verify_audit(_parsed: Parsed, config: MasterConfig) -> int:
    """Print whether the chain of the audit log holds; 1 when it does not."""
    from ops_system.master.audit import offline

    verdict = offline.verify(config.folder())
    print(offline.render(verdict))
    return EXIT_FINE if verdict.ok else EXIT_FAILED


def migrate_storage(parsed: Parsed, config: MasterConfig) -> int:
    """Copy packages from one store to the other and say how far it is."""
    from ops_system.master.artefacts import offline

    if not parsed.has("to"):
        raise UsageError(
            "{program} storage migrate: -to is missing; write --to {metavar}", program=NAME, metavar=_STORE_KIND.metavar
        )
    to = str(parsed.read("to", _STORE_KIND, ""))
    offline.migrate(config, to, may_remove=parsed.switch("remove"), say=lambda line: print(line, flush=True))
    return EXIT_FINE


def create_backup(parsed: Parsed, config: MasterConfig) -> int:
    """Print where the new backup lies."""
    from ops_system.master.backups import offline

    file = parsed.arguments.get("FILE")
    order = offline.CreateOrder(
        Path(file) if file else None,
        has_artefacts=parsed.switch("artefacts", default=True),
        passphrase=_passphrase(parsed),
        note=parsed.text("note"),
    )
    print(offline.create(config, order, _say_aside))
    return EXIT_FINE


def list_backups(_parsed: Parsed, config: MasterConfig) -> int:
    """Print one line a backup, the newest first."""
    from ops_system.master.backups import offline

    for backup in offline.list_all(config):
        kind = "sealed" if backup.is_encrypted else "plain"
        held = "with packages" if backup.has_artefacts else "without packages"
        place = "s3:" if backup.place == "s3" else ""
        problem = f", DAMAGED: {backup.problem}" if backup.problem else ""
        print(f"{place}{backup.name}  {backup.size_bytes} bytes, {kind}, {held}{problem}")
    return EXIT_FINE


def restore_backup(parsed: Parsed, config: MasterConfig) -> int:
    """Say what was put in place and what follows."""
    from ops_system.master.backups import offline

    name, has_artefacts = parsed.arguments["FILE"], parsed.switch("artefacts", default=True)
    staged = offline.restore(config, name, _passphrase(parsed), has_artefacts=has_artefacts, say=_say_aside)
    print(
        f"restored the data of {staged.created_at:%Y-%m-%d %H:%M} UTC, epoch {staged.epoch}; what was there before is"
        " kept beside it as *.before-restore-*. Start the master: workers come back by themselves, people log in again"
    )
    return EXIT_FINE


def _passphrase(parsed: Parsed) -> str:
    """Read the passphrase from its file; never from the command line, which others can see."""
    path = parsed.text("passphrase-file")
    if not path:
        return ""
    try:
        with Path(path).open(encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("passphrase-file: {path} cannot be read ({error})", path=path, error=error) from error


def _say_aside(line: str) -> None:
    """Tell progress where it does not mix with the answer."""
    sys.stderr.write(f"{line}\n")


def migrate_provision(parsed: Parsed, config: MasterConfig) -> int:
    """Copy the state of installations to the other store and say how far it is."""
    from ops_system.master.provision_store import offline

    if not parsed.has("to"):
        raise UsageError(
            "{program} provision migrate: -to is missing; write --to http://HOST:2379 or --to embedded", program=NAME
        )
    offline.migrate(config, parsed.text("to"), say=lambda line: print(line, flush=True))
    return EXIT_FINE


def examine(_parsed: Parsed, config: MasterConfig) -> int:
    """Print what was found; 1 when something is wrong."""
    from ops_system.master import doctor

    findings = doctor.examine(config, config.folder())
    print(doctor.render(findings))
    return EXIT_FINE if all(finding.is_well for finding in findings) else EXIT_FAILED


_COMMANDS: dict[tuple[str, ...], Callable[[Parsed, MasterConfig], int]] = {
    ("user", "create"): create_user,
    ("token", "create"): create_token,
    ("join-token", "create"): create_join_token,
    ("audit", "verify"): verify_audit,
    ("storage", "migrate"): migrate_storage,
    ("backup", "create"): create_backup,
    ("backup", "list"): list_backups,
    ("backup", "restore"): restore_backup,
    ("provision", "migrate"): migrate_provision,
    ("doctor",): examine,
}
"""What works on the data folder, whether a master runs there or not."""


if __name__ == "__main__":
    sys.exit(main())

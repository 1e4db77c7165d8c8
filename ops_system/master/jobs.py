"""The kinds of work that can be scheduled: each ties a feature to the clock. Built in `features`."""

from typing import Any, TypeVar

import msgspec

from ops_system.master.backups.rules import NewBackup
from ops_system.master.backups.service import Backups
from ops_system.master.commands.library import Library
from ops_system.master.commands.rules import MANY_TIMEOUT_S, ManyCommand, check_command
from ops_system.master.commands.service import Commands
from ops_system.master.instances.rules import Action
from ops_system.master.instances.service import Instances
from ops_system.master.instances.views import InstanceQuery
from ops_system.master.packages.retention import NOTHING_TO_REMOVE, Retention
from ops_system.master.rollouts.rules import SystemAction
from ops_system.master.rollouts.service import Rollouts
from ops_system.master.systems.service import Systems
from ops_system.master.web.route import Permission, Principal
from ops_system.model.errors import Invalid, NotAllowed
from ops_system.model.operations import Operation

T = TypeVar("T")

_MAX_INSTANCES = 500


class ExecParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A command on nodes: one from the library (`saved_id`, as it is when it runs), or one written here."""

    saved_id: str = ""
    argv: list[str] = []
    command: str = ""
    timeout_s: float = 60.0
    user: str = ""
    node_ids: list[str] = []
    labels: dict[str, str] = {}


class RestartParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is restarted: exactly one of them."""

    instance_id: str = ""
    module_id: str = ""
    system_id: str = ""


class BackupParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is backed up where; what is left out is as the settings of backups say, also the passphrase."""

    place: str = ""
    artefacts: bool | None = None


class NoParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to choose."""


def read_params(params: dict[str, Any], kind: type[T]) -> T:
    """Return parameters as what they are. Raises Invalid with the path of the fault."""
    try:
        return msgspec.convert(params, kind)
    except msgspec.ValidationError as error:
        problem = f"$.params: {error}"
        raise Invalid(problem, problems=[problem]) from error


def refuse(words: str) -> Invalid:
    """Return the error for parameters that do not fit together."""
    return Invalid(f"$.params: {words}", problems=[f"$.params: {words}"])


class ExecJob:
    """Commands on nodes."""

    kind = "exec"
    permission = Permission.EXEC

    def __init__(self, commands: Commands, library: Library) -> None:
        self._commands = commands
        self._library = library

    async def check(self, params: dict[str, Any], actor: Principal) -> dict[str, Any]:
        """A command and where it runs."""
        del actor
        wanted = read_params(params, ExecParams)
        if bool(wanted.node_ids) == bool(wanted.labels):
            raise refuse("give either node_ids or labels")
        check_command(await self._order(wanted), MANY_TIMEOUT_S)
        return msgspec.structs.asdict(wanted)

    async def start(self, params: dict[str, Any], actor: Principal) -> list[Operation]:
        """Run it."""
        return [await self._commands.run_many(await self._order(read_params(params, ExecParams)), actor)]

    async def _order(self, wanted: ExecParams) -> ManyCommand:
        where = {"node_ids": wanted.node_ids, "labels": wanted.labels}
        if not wanted.saved_id:
            own = {"argv": wanted.argv, "command": wanted.command, "timeout_s": wanted.timeout_s, "user": wanted.user}
            return ManyCommand(**own, **where)  # type: ignore[arg-type]  # the two dicts are spelled above
        if wanted.argv or wanted.command:
            raise refuse("give either saved_id or a command of its own")
        saved = await self._library.get(wanted.saved_id)
        return ManyCommand(
            argv=saved.argv,
            command=saved.command,
            timeout_s=saved.timeout_s,
            user=saved.user,
            node_ids=wanted.node_ids,
            labels=wanted.labels,
        )


class BackupJob:
    """Backups by the settings."""

    kind = "backup"
    permission = Permission.ADMIN

    def __init__(self, backups: Backups) -> None:
        self._backups = backups

    async def check(self, params: dict[str, Any], actor: Principal) -> dict[str, Any]:
        """A place there is; sealed where it must be."""
        wanted = read_params(params, BackupParams)
        await self._backups.check_order(_new_backup(wanted), actor)
        return msgspec.structs.asdict(wanted)

    async def start(self, params: dict[str, Any], actor: Principal) -> list[Operation]:
        """Make one."""
        return [await self._backups.create(_new_backup(read_params(params, BackupParams)), actor)]


def _new_backup(wanted: BackupParams) -> NewBackup:
    if wanted.place not in {"", "local", "s3"}:
        raise refuse("place: local or s3, or empty for the settings'")
    return msgspec.convert({"place": wanted.place or None, "artefacts": wanted.artefacts, "note": ""}, NewBackup)


class RestartJob:
    """Restarts of an instance, of all instances of a module, or of a system in its order."""

    kind = "restart"
    permission = Permission.OPERATE

    def __init__(self, instances: Instances, systems: Systems, rollouts: Rollouts) -> None:
        self._instances = instances
        self._systems = systems
        self._rollouts = rollouts

    async def check(self, params: dict[str, Any], actor: Principal) -> dict[str, Any]:
        """Exactly one thing there is."""
        wanted = read_params(params, RestartParams)
        match (wanted.instance_id, wanted.module_id, wanted.system_id):
            case (instance_id, "", "") if instance_id:
                await self._instances.get(instance_id, actor)
            case ("", module_id, "") if module_id:
                await self._systems.get_module(module_id, principal=actor)
            case ("", "", system_id) if system_id:
                await self._systems.get_system(system_id, principal=actor)
            case _:
                raise refuse("give exactly one of instance_id, module_id and system_id")
        return msgspec.structs.asdict(wanted)

    async def start(self, params: dict[str, Any], actor: Principal) -> list[Operation]:
        """Restart it."""
        wanted = read_params(params, RestartParams)
        if wanted.system_id:
            return [await self._rollouts.act(wanted.system_id, SystemAction.RESTART, actor)]
        ids = [wanted.instance_id] if wanted.instance_id else await self._ids_of(wanted.module_id, actor)
        return [(await self._instances.act(instance_id, Action.RESTART, actor))[1] for instance_id in ids]

    async def _ids_of(self, module_id: str, actor: Principal) -> list[str]:
        page = await self._instances.list_page(InstanceQuery(module_id=module_id, limit=_MAX_INSTANCES), actor)
        if not page.items:
            raise NotAllowed(f"module {module_id} has no instances to restart", reason="nothing_to_restart")
        return [instance.id for instance in page.items]


class RetentionJob:
    """Removal of package versions that the retention policy does not keep."""

    kind = "retention"
    permission = Permission.OPERATE

    def __init__(self, retention: Retention) -> None:
        self._retention = retention

    async def check(self, params: dict[str, Any], actor: Principal) -> dict[str, Any]:
        """The policy stands with the packages."""
        del actor
        return msgspec.structs.asdict(read_params(params, NoParams))

    async def start(self, params: dict[str, Any], actor: Principal) -> list[Operation]:
        """Remove what the policy does not keep; that there is nothing to remove is no failure."""
        read_params(params, NoParams)
        try:
            return [await self._retention.begin(actor)]
        except NotAllowed as refused:
            if refused.details.get("reason") != NOTHING_TO_REMOVE:
                raise
            return []

"""What every instance in care shares, and how its commands and starts are put together. Used by `care`."""

import asyncio
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ops_system.model.crashes import Crash
from ops_system.model.errors import Invalid, OpsError, TimedOut
from ops_system.model.ids import InstanceId
from ops_system.model.instances import InstanceEvent, InstanceReport
from ops_system.model.reasons import Reason
from ops_system.processes.adopt import Guard
from ops_system.processes.base import ADOPTED_MARKER, MARKER, Launch, Platform, child_env
from ops_system.processes.commands import CommandResult, run_command
from ops_system.processes.journal import RunStore
from ops_system.processes.spec import PreparedInstance, Preparer, Progress, RunSpec

STDOUT_NAME = "stdout.log"
STDERR_NAME = "stderr.log"
HOOK_TIMEOUT_S = 60.0

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Surroundings(msgspec.Struct, frozen=True):
    """What all instances of one supervisor share."""

    platform: Platform
    store: RunStore
    preparer: Preparer
    on_report: Callable[[InstanceReport], None]
    on_event: Callable[[InstanceEvent], None]  # numbered by whoever takes it
    on_progress: Progress
    dice: Callable[[], float]
    clock: Clock
    inherited_env: Mapping[str, str]
    group: asyncio.TaskGroup
    guard: Callable[[InstanceId | None], Guard]  # what may not be taken over, but for this instance
    on_crash: Callable[[InstanceId, Crash], None]


class EntrypointMissing(OSError):
    """The entrypoint is not there or not executable."""

    def __init__(self, path: str) -> None:
        super().__init__(f"entrypoint {path} is missing or not executable; check the package")


def make_env(spec: RunSpec, prepared: PreparedInstance, inherited_env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the instance's commands."""
    env = child_env(prepared.env, dict(inherited_env), spec.instance_id)
    if spec.takeover is not None:
        env[ADOPTED_MARKER] = env.pop(MARKER)
    return env


async def run_hook(
    name: str,
    argv: tuple[str, ...],
    prepared: PreparedInstance,
    env: dict[str, str],
    prefix: Callable[[], tuple[str, ...]],
) -> Reason | None:
    """Run a command in the instance's directory, its output appended to stdout.log; None: it went well.

    `prefix` gives what goes before the command to run it as the instance's user.
    """
    try:
        log_path = str(Path(prepared.log_dir, STDOUT_NAME))
        async with asyncio.timeout(HOOK_TIMEOUT_S):
            result = await run_command((*prefix(), *argv), prepared.dir, env, log_path)
    except TimeoutError:
        return Reason("hook_failed", f"{name} did not end within {HOOK_TIMEOUT_S:.0f} s", {"hook": name})
    except (OSError, ValueError, OpsError) as error:
        return Reason("hook_failed", f"{name} cannot be run: {error}", {"hook": name})
    if result.code == 0:
        return None
    params: dict[str, str | int | float] = {"hook": name, "exit_code": result.code}
    return Reason("hook_failed", f"{name} ended with code {result.code}; its output is in {STDOUT_NAME}", params)


async def run_within_limit(argv: tuple[str, ...], prepared: PreparedInstance, env: dict[str, str]) -> CommandResult:
    """Run a command in the instance's directory, within `HOOK_TIMEOUT_S`. Raises TimedOut, Invalid."""
    try:
        async with asyncio.timeout(HOOK_TIMEOUT_S):
            return await run_command(argv, prepared.dir, env)
    except TimeoutError:
        raise TimedOut(f"{argv[0]} did not end within {HOOK_TIMEOUT_S:.0f} s and was killed") from None
    except (OSError, ValueError) as problem:
        raise Invalid(f"{argv[0]} cannot be run: {problem}") from None


def make_launch(spec: RunSpec, prepared: PreparedInstance, number: int, run_dir: Path, env: dict[str, str]) -> Launch:
    """Return what the platform needs to start. Raises EntrypointMissing."""
    if not os.access(prepared.argv[0], os.X_OK) or os.path.isdir(prepared.argv[0]):  # noqa: PTH112 - a hot path
        raise EntrypointMissing(prepared.argv[0])
    return Launch(
        instance_id=spec.instance_id,
        number=number,
        argv=prepared.argv,
        env=env,
        dir=prepared.dir,
        run_dir=str(run_dir),
        stdout_path=os.path.join(prepared.log_dir, STDOUT_NAME),  # noqa: PTH118 - a hot path
        stderr_path=os.path.join(prepared.log_dir, STDERR_NAME),  # noqa: PTH118 - a hot path
        limits=spec.limits,
        user=spec.user,
    )

"""Putting an instance's files in place and removing them, with every failure told as an event. Used by `care`."""

from ops_system.model.errors import OpsError
from ops_system.model.reasons import Reason
from ops_system.processes.spec import PreparedInstance, PrepareFailed, RunSpec, may_pass
from ops_system.processes.states import PrepareError, RemoveError
from ops_system.processes.surroundings import Surroundings


async def prepare(around: Surroundings, spec: RunSpec) -> PreparedInstance | PrepareError:
    """Put the files in place."""
    try:
        return await around.preparer.prepare(spec, around.on_progress)
    except PrepareFailed as error:
        return PrepareError(error.reason, error.retry)
    except OpsError as error:
        return PrepareError(Reason("prepare_failed", error.message, {"error": error.code}), retry=False)
    except OSError as error:
        return PrepareError(Reason("prepare_failed", f"preparing failed: {error}"), may_pass(error))


async def remove(around: Surroundings, spec: RunSpec) -> RemoveError | None:
    """Remove the files; None: they are gone."""
    try:
        await around.preparer.remove(spec)
    except (OSError, OpsError) as error:
        return RemoveError(Reason("remove_failed", f"the instance's files cannot be removed: {error}"))
    return None

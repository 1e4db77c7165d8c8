"""Carries a plan out, step by step: announced, done, closed (trust P3). The guard is asked before each.

check_step ──> operationBegin (destructive: the region must say yes) ──> the work ──> operationComplete
"""

from ops_system.installer.guard import Halt
from ops_system.installer.works import WORKS, Work
from ops_system.model.errors import Invalid, NotAllowed, OpsError, Unavailable
from ops_system.model.install_plan import Step, Wish, plan
from ops_system.protocol.agent import BeginCall, CompleteCall, Done, HardwareConfig, InstallConfig

_CANCEL = "cancel_asked"


def wish_of_config(config: InstallConfig, hardware: HardwareConfig) -> Wish:
    """Return what a region wants installed, as the plan takes it."""
    return Wish(
        method=config.install_method,
        task_id=config.task_id,
        os_type=config.os_type,
        os_version=config.os_version,
        disks=config.disks,
        image=config.image,
        disk_layout=config.disk_layout or hardware.raid,
        network=config.network,
        packages=config.packages,
        kernel_args=config.kernel_args,
        values=config.values,
        hardware_tests=config.hardware_tests or hardware.scripts,
        enrol=config.enrol and config.install_method not in {"hardware_test", "rescue"},
    )


def carry_out(work: Work) -> tuple[Step, ...]:
    """Do everything that is wished; return the steps that were done. Raises Halt."""
    try:
        steps = plan(work.wish, work.found.hardware, target=str(work.hands.target))
    except (NotAllowed, Invalid) as problem:
        raise Halt(str(problem.details.get("reason", "bad_plan")), problem.message) from problem
    for step in steps:
        do_step(work, step)
    return steps


def do_step(work: Work, step: Step) -> None:
    """Announce, do and close one step. Raises Halt."""
    work.guard.check_step()
    _begin(work, step)
    work.reporter.line(f"== {step.name}: {step.words}")
    work.reporter.progress(step.name, 0.0)
    try:
        said = WORKS[step.kind](work, step)
        work.guard.check()
    except Halt as halt:
        _complete(work, step, halt.message, is_success=False)
        raise
    except OSError as problem:
        words = f"{step.name}: {problem.strerror or problem} ({problem.filename or 'no file'})"
        _complete(work, step, words, is_success=False)
        raise Halt("io_error", words) from problem
    work.reporter.progress(step.name, 100.0, said)
    work.reporter.flush()
    _complete(work, step, said, is_success=True)


def _begin(work: Work, step: Step) -> None:
    """Return when the region has recorded the intent. A region that is away is asked again while the lease lasts."""
    call = BeginCall(
        work.found.sn, work.config.task_id, work.config.fence, step.name, step.disks, is_destructive=step.is_destructive
    )
    try:
        work.region.persist(
            lambda: work.region.call("/api/v1/device/operationBegin", call, Done), before_retry=work.guard.check_step
        )
    except OpsError as refusal:
        raise _halt_of(refusal) from refusal


def _complete(work: Work, step: Step, message: str, *, is_success: bool) -> None:
    """Close the intent, or hand the machine over. That a step failed may stay unsaid: an open intent says the same."""
    hands_over = is_success and step.kind == "start_installer"
    call = CompleteCall(
        work.found.sn, step.name, is_success, message[:500], fence=work.config.fence, hands_over=hands_over
    )

    def ask() -> Done:
        return work.region.call("/api/v1/device/operationComplete", call, Done)

    try:
        if is_success:
            work.region.persist(ask, before_retry=work.guard.check)
        else:
            ask()
    except Unavailable:
        return
    except OpsError as refusal:
        if is_success:
            raise _halt_of(refusal) from refusal


def _halt_of(refusal: OpsError) -> Halt:
    reason = str(refusal.details.get("reason") or refusal.code)
    if reason == _CANCEL:
        return Halt("cancelled", refusal.message, "cancelled")
    is_refused = isinstance(refusal, NotAllowed | Invalid)
    return Halt(reason, refusal.message, "failed" if is_refused else "needs_operator")

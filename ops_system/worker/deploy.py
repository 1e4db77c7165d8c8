"""Puts an instance's files in place, from the master's word to an argv ready to start: the supervisor's `Preparer`.

    policy, system, architecture → package (fetch) → files in the instance's folder (placement) → config files → argv

Preparing again when nothing changed costs the check of a signature and of the entrypoint's hash. Reason codes:
`wrong_os wrong_arch policy_refused download_failed verify_failed unpack_failed unknown_placeholder entrypoint_missing
invalid_config`.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ops_system.model.errors import Invalid, NotAllowed, Unavailable
from ops_system.model.formats import find_fault
from ops_system.model.ids import InstanceId
from ops_system.model.instances import ConfigFile, InstanceSpec, PrepareProgress
from ops_system.model.placeholders import expand
from ops_system.model.reasons import Reason
from ops_system.processes.spec import PreparedInstance, PrepareFailed, Progress, RunSpec, may_pass, resolve
from ops_system.protocol.requests import FetchedPackage, FetchPackage
from ops_system.worker.fetch import PackageStore
from ops_system.worker.fingerprint.base import arch_name, os_name
from ops_system.worker.placement import Placement, inner_path
from ops_system.worker.policy import Policy
from ops_system.worker.transfer import Step

_TELL_EVERY_S = 0.1
_UNKNOWN = re.compile(r"placeholder \$\{([^}]*)\}")


class NodeFacts(msgspec.Struct, frozen=True):
    """What `${node.…}` stands for."""

    node_id: str
    node_name: str
    ip: str


class Deployer:
    """See the module. `facts` is asked each time: the master may rename a node."""

    def __init__(
        self,
        work_dir: Path,
        packages: PackageStore,
        policy: Policy,
        *,
        facts: Callable[[], NodeFacts],
        tell: Progress = lambda _progress: None,
    ) -> None:
        self._work_dir = work_dir
        self._packages = packages
        self._policy = policy
        self._facts = facts
        self._tell = tell
        self._unresolved: dict[InstanceId, Reason] = {}

    def resolve(self, spec: InstanceSpec) -> RunSpec:
        """Return the wish with placeholders expanded.

        One that cannot be expanded is carried along unexpanded: its preparation fails with the reason, so that the
        instance shows it like any other failure.
        """
        self._unresolved.pop(spec.instance_id, None)
        try:
            return resolve(spec, self.values(spec))
        except Invalid as problem:
            self._unresolved[spec.instance_id] = unresolved_reason(problem)
            return RunSpec(source=spec, entrypoint=spec.service.entrypoint)

    def values(self, spec: InstanceSpec) -> dict[str, str]:
        """Return what the placeholders of this instance stand for, but for `env.KEY`."""
        facts = self._facts()
        ports = {f"port.{name}": str(port) for name, port in spec.service.ports.items()}
        return {
            **ports,
            "instance.id": spec.instance_id,
            "instance.dir": str(self._placement(spec.instance_id).dir),
            "node.id": facts.node_id,
            "node.name": facts.node_name,
            "node.ip": facts.ip,
        }

    async def prepare(self, spec: RunSpec, progress: Progress) -> PreparedInstance:
        """Make everything ready for a start. Raises PrepareFailed."""
        step = _teller(spec.instance_id, spec.generation, progress)
        self._refuse_if_foreign(spec)
        if spec.source.takeover is not None or is_elsewhere(spec):
            return await asyncio.to_thread(self._prepare_elsewhere, spec)
        package = spec.source.package
        if package is None:
            raise PrepareFailed(Reason("download_failed", "the wish names no package"))
        placement = self._placement(spec.instance_id, spec.user)
        refusal = self._policy.refusal_of_package(package)
        if refusal is not None:
            raise PrepareFailed(refusal)
        folder = await self._packages.ensure(package, step)
        config = self._render(spec)
        try:
            return await asyncio.to_thread(_place, placement, spec, folder, config, step)
        except OSError as problem:
            raise _unplaced(placement, problem) from problem

    async def fetch(self, body: FetchPackage) -> FetchedPackage:
        """Answer `packages.fetch`. Raises NotAllowed (this node's policy), Unavailable, with the reason's code."""
        refusal = self._policy.refusal_of_package(body.package)
        if refusal is not None:
            raise NotAllowed(refusal.message, reason=refusal.code)
        try:
            await self._packages.ensure(body.package, _teller(body.instance_id, 0, self._tell))
        except PrepareFailed as failed:
            raise Unavailable(failed.reason.message, reason=failed.reason.code) from failed
        return FetchedPackage()

    async def rewrite(self, spec: InstanceSpec) -> None:
        """Write the config files of a wish anew beside what runs. Raises Invalid, Unavailable; nothing is written then.

        Several files are replaced one after the other: each is whole at any time.
        """
        run = resolve(spec, self.values(spec))
        try:
            files = self._render(run)
            await asyncio.to_thread(self._placement(spec.instance_id, run.user).write_config, files)
        except PrepareFailed as failed:
            raise Unavailable(failed.reason.message, reason=failed.reason.code) from failed
        except OSError as problem:
            raise Unavailable(f"the config files cannot be written: {problem}") from problem

    def _prepare_elsewhere(self, spec: RunSpec) -> PreparedInstance:
        """Make ready what lies on the node already: only our own folder for its output is new. Raises PrepareFailed."""
        placement, service, takeover = self._placement(spec.instance_id), spec.source.service, spec.takeover
        try:
            placement.make_folders()
        except OSError as problem:
            raise _unplaced(placement, problem) from problem
        start = (spec.entrypoint, *spec.args) if spec.entrypoint else ()
        stop = (spec.stop_entrypoint, *spec.stop_args) if spec.stop_entrypoint else ()
        home = takeover.work_dir if takeover is not None else service.external_work_dir
        if takeover is not None:
            start, stop = takeover.start_command, takeover.stop_command
        return PreparedInstance(
            dir=home if home and Path(home).is_dir() else "/" if takeover is not None else str(placement.dir),
            argv=start,
            env=spec.env,
            log_dir=str(placement.log_dir),
            stop_argv=stop,
            version=service.version,
        )

    async def remove(self, spec: RunSpec) -> None:
        """Remove the instance's files and the packages nobody needs any more."""
        self._unresolved.pop(spec.instance_id, None)
        await asyncio.to_thread(self._placement(spec.instance_id).remove)
        await self.sweep()

    async def sweep_rests(self) -> None:
        """Remove what a worker that was killed left half unpacked. Before the first `prepare`."""
        await asyncio.to_thread(self._packages.sweep_rests)

    async def sweep(self) -> None:
        """Remove packages and rests of downloads nobody needs."""
        await self._packages.sweep()

    def _placement(self, instance_id: InstanceId, owner: str = "") -> Placement:
        return Placement(self._work_dir, instance_id, owner)

    def _refuse_if_foreign(self, spec: RunSpec) -> None:
        service = spec.source.service
        if service.os not in {"any", os_name()}:
            words = f"the package is for {service.os}, this node runs {os_name()}"
            raise PrepareFailed(Reason("wrong_os", words, {"wanted": service.os, "here": os_name()}))
        if service.arch not in {"any", arch_name()}:
            words = f"the package is for {service.arch}, this node is {arch_name()}"
            raise PrepareFailed(Reason("wrong_arch", words, {"wanted": service.arch, "here": arch_name()}))
        is_watched_only = spec.is_watched_only and not spec.source.service.hooks.reload
        refusal = None if is_watched_only else self._policy.refusal_to_run_as(spec.user)
        refusal = refusal or self._unresolved.get(spec.instance_id)
        if spec.source.takeover is not None or (spec.takeover is not None and service.is_external):
            refusal = refusal or self._policy.refusal_of_takeover()
        if refusal is not None:
            raise PrepareFailed(refusal)

    def _render(self, spec: RunSpec) -> tuple[ConfigFile, ...]:
        """Return the config files with placeholders expanded."""
        values = {**self.values(spec.source), **{f"env.{key}": text for key, text in spec.env.items()}}
        return tuple(_expanded(file, values) for file in spec.source.config_files)


def is_elsewhere(spec: RunSpec) -> bool:
    """True for an external package whose programs are not in the zip: they are named by absolute paths, or by none."""
    service = spec.source.service
    return service.is_external and (not service.entrypoint or Path(service.entrypoint).is_absolute())


def _place(
    placement: Placement, spec: RunSpec, folder: Path, config: tuple[ConfigFile, ...], step: Step
) -> PreparedInstance:
    package = spec.source.package
    assert package is not None
    paths = frozenset(file.path for file in config)
    if not placement.is_current(package.sha256, spec.entrypoint, paths):
        step("activate", 0, 0)
        placement.activate(folder, package.sha256, spec.entrypoint)
    placement.make_folders()
    placement.write_config(config)
    return PreparedInstance(
        dir=str(placement.dir),
        argv=(_executable(placement, spec.entrypoint), *spec.args),
        env=spec.env,
        log_dir=str(placement.log_dir),
        stop_argv=(_executable(placement, spec.stop_entrypoint), *spec.stop_args) if spec.stop_entrypoint else (),
        version=package.version,
    )


def _unplaced(placement: Placement, problem: OSError) -> PrepareFailed:
    return PrepareFailed(Reason("unpack_failed", f"{placement.dir}: {problem}"), retry=may_pass(problem))


def _executable(placement: Placement, name: str) -> str:
    """Return the absolute path of a program of the package. Raises PrepareFailed."""
    inner = inner_path(name)
    path = placement.dir / inner
    if inner not in placement.placed().files or not path.is_file():
        raise PrepareFailed(Reason("entrypoint_missing", f'the package has no file "{name}"', {"entrypoint": name}))
    placement.make_executable(inner)
    return str(path)


def _expanded(file: ConfigFile, values: Mapping[str, str]) -> ConfigFile:
    try:
        content = expand(file.content, values)
    except Invalid as problem:
        raise PrepareFailed(unresolved_reason(problem, f"{file.path}: ")) from problem
    fault = find_fault(file.format, content)
    if fault is not None:
        words = f"{file.path} would be no {file.format}: {fault}"
        raise PrepareFailed(Reason("invalid_config", words, {"path": file.path, "line": fault.line}))
    return msgspec.structs.replace(file, content=content)


def unresolved_reason(problem: Invalid, where: str = "") -> Reason:
    """Return why a wish could not be resolved, naming the first unknown placeholder."""
    message = f"{where}{problem.message}"
    named = _UNKNOWN.search(message)
    if named is None:
        return Reason("invalid_service", message)
    return Reason("unknown_placeholder", message, {"name": named[1]})


def _teller(instance_id: InstanceId, generation: int, progress: Progress) -> Step:
    """Return a function that passes progress on: each new step at once, bytes at most ten times a second."""
    last_step, told_at_s = "", 0.0

    def tell(step: str, bytes_done: int, bytes_total: int) -> None:
        nonlocal last_step, told_at_s
        now_s = time.monotonic()
        if step == last_step and bytes_done < bytes_total and now_s - told_at_s < _TELL_EVERY_S:
            return
        last_step, told_at_s = step, now_s
        progress(PrepareProgress(instance_id, generation, step, bytes_done, bytes_total))

    return tell

"""Whether a module may become an instance on a node, and what its first wish is: pure. Called by the service."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ops_system.master.nodes.rules import Node
from ops_system.master.templates.rules import SECRET
from ops_system.model.errors import Conflict, Invalid, NotAllowed
from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.instances import ConfigFile, Desired, InstanceSpec, Origin
from ops_system.model.manifest import Manifest
from ops_system.model.nodes import NodeStatus
from ops_system.model.packages import PackageRef
from ops_system.model.placeholders import FIXED, find
from ops_system.model.systems import Module


class NodeFacts(msgspec.Struct, frozen=True):
    """What instances need to know of a node. Empty `os`: never enrolled. `hindrance`: why nothing may start there."""

    id: NodeId
    name: str
    os: str
    arch: str
    labels: Mapping[str, str]
    is_online: bool
    hindrance: str = ""
    ip: str = ""


def facts_of(node: Node) -> NodeFacts:
    """Return what matters here of a node on record."""
    hindrances = {
        "it is revoked": node.revoked,
        "it is quarantined": node.status is NodeStatus.QUARANTINED,
        "it is paused": node.paused,
        "it is draining": node.draining,
    }
    return NodeFacts(
        id=node.id,
        name=node.name,
        os=node.os,
        arch=node.arch,
        labels=node.labels,
        is_online=node.status in {NodeStatus.ONLINE, NodeStatus.SUSPECT},
        ip=node.ip,
        hindrance=next((words for words, is_so in hindrances.items() if is_so), ""),
    )


def check_takes_starts(node: NodeFacts) -> None:
    """Raise `NotAllowed` where nothing new may start: the node is paused, draining, revoked or quarantined."""
    if node.hindrance:
        raise NotAllowed(
            f"node {node.name} takes no new starts: {node.hindrance}", reason="node_not_ready", node=node.id
        )


def check_node(manifest: Manifest, node: NodeFacts) -> None:
    """Raise `NotAllowed` with a reason code unless the package can run on this node."""
    check_takes_starts(node)
    if not node.os:
        raise NotAllowed(f"node {node.name} has never enrolled; join it first", reason="node_not_ready", node=node.id)
    for code, word, wanted, actual in (
        ("wrong_os", "operating system", manifest.os, node.os),
        ("wrong_arch", "architecture", manifest.arch, node.arch),
    ):
        if wanted not in {"any", actual}:
            raise NotAllowed(
                f"package {manifest.name} {manifest.version} is for {word} {wanted}; node {node.name} has {actual}",
                reason=code,
                wanted=wanted,
                actual=actual,
                node=node.id,
            )


def check_ports(spec: InstanceSpec, neighbours: Iterable[InstanceSpec], node: NodeFacts) -> None:
    """Raise `Conflict` when another instance on the node declares one of our ports."""
    taken = {
        port: (other.name, label)
        for other in neighbours
        if other.instance_id != spec.instance_id and other.desired is not Desired.ABSENT
        for label, port in other.service.ports.items()
    }
    clashes = [
        f"port {port} ({label}) is declared by {taken[port][0]} ({taken[port][1]})"
        for label, port in spec.service.ports.items()
        if port in taken
    ]
    if clashes:
        raise Conflict(
            f"on node {node.name} {'; '.join(clashes)}: give the module another port", ports=clashes, node=node.id
        )


def check_placeholders(manifest: Manifest, files: Sequence[ConfigFile]) -> None:
    """Raise `Invalid` naming every placeholder that would have no value on the worker."""
    known = {*FIXED, *(f"port.{name}" for name in manifest.ports), *(f"env.{key}" for key in manifest.env)}
    texts = [(f"$.args[{index}]", text) for index, text in enumerate(manifest.args)]
    texts += [(f"$.env.{key}", text) for key, text in manifest.env.items()]
    texts += [("$.health.target", manifest.health.target)]
    mounted = [(f"$.config_mounts.{file.path}", file.content) for file in files]
    problems = []
    for where, text in [*texts, *mounted]:
        try:  # secrets in files were looked up when the file was made
            is_file = (where, text) in mounted
            unknown = [name for name in find(text) if name not in known and not (is_file and name.startswith(SECRET))]
        except Invalid as fault:
            problems.append(f"{where}: {fault.message}")
        else:
            problems += [f"{where}: unknown placeholder ${{{name}}}" for name in unknown]
    if problems:
        raise Invalid("; ".join(problems), problems=problems)


def build_spec(
    instance_id: InstanceId,
    module: Module,
    package: PackageRef,
    service: Manifest,
    depends_on: Iterable[InstanceId],
) -> InstanceSpec:
    """Return the definition of a new instance, without its files; generation 0: nothing is wished of it yet."""
    return InstanceSpec(
        instance_id=instance_id,
        generation=0,
        desired=Desired.STOPPED,
        system_id=module.system_id,
        module_id=module.id,
        name=module.name,
        package=package,
        service=service,
        origin=Origin.ADOPTED if service.is_external and service.pid_strategy != "spawn" else Origin.MANAGED,
        start_order=module.start_order,
        depends_on=tuple(depends_on),
        secret_env=module.env_secrets,
    )


def matches(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether a node with `labels` carries all that is wanted."""
    return all(labels.get(key) == value for key, value in wanted.items())

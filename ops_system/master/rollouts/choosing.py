"""On which nodes the instances of a module go, and why not on the others: pure.

A node counts when it is online, takes instances, carries the placement's labels and fits the package's system and
architecture. A node never has two instances of one module. Without `replicas` every such node gets one. With it, one
after the other goes to where the value of `spread_by` has the fewest, then to the emptiest node, then by name, until
the number is reached; a node where a port is taken does not count then.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ops_system.master.instances.placing import NodeFacts, matches
from ops_system.model.errors import NotAllowed
from ops_system.model.ids import NodeId
from ops_system.model.manifest import Manifest
from ops_system.model.systems import Module

SHOWN = 5  # reasons in a message; all are in the details
MAX_REASONS = 100

TakenPorts = Mapping[NodeId, Mapping[int, str]]
"""By node: each port that an instance declares, and the name of that instance."""


def choose_nodes(  # noqa: PLR0917 - what a choice is made of
    module: Module,
    manifest: Manifest,
    nodes: Iterable[NodeFacts],
    taken: Iterable[NodeId],
    load: Mapping[NodeId, int],
    ports: TakenPorts | None = None,
) -> list[NodeFacts]:
    """Return the nodes on which instances of the module are missing.

    Raises `NotAllowed` when nothing fits, or not enough, with the reason of every node in `details.nodes`.
    """
    has, everywhere = set(taken), list(nodes)
    others = [node for node in everywhere if node.id not in has]
    why = {node.id: misfit(module, manifest, node, ports or {}) for node in others}
    free = [node for node in others if not why[node.id]]
    missing = None if module.replicas is None else max(0, module.replicas - len(has))
    if (not free and not has) if missing is None else missing > len(free):
        reasons = [f"{node.name}: {why[node.id]}" for node in others if why[node.id]]
        raise _unplaceable(module, len(has) + len(free), reasons)
    if missing is None:
        return free
    key = module.placement.spread_by
    counts = Counter(node.labels.get(key, "") for node in everywhere if node.id in has)
    return _spread(sorted(free, key=lambda node: (load.get(node.id, 0), node.name)), key, counts, missing)


def _spread(free: Sequence[NodeFacts], key: str, counts: Counter[str], missing: int) -> list[NodeFacts]:
    """Return the nodes that get an instance, the best of `free` first; `counts`: instances by value of the label."""
    groups, ranks = dict[str, list[NodeFacts]](), dict[NodeId, int]()
    for place, node in enumerate(free):
        groups.setdefault(node.labels.get(key, ""), []).append(node)
        ranks[node.id] = place
    chosen = list[NodeFacts]()
    while len(chosen) < missing:
        value = min(groups, key=lambda value: (counts[value], ranks[groups[value][0].id]))
        chosen.append(groups[value].pop(0))
        counts[value] += 1
        if not groups[value]:
            del groups[value]
    return chosen


def misfit(module: Module, manifest: Manifest, node: NodeFacts, ports: TakenPorts) -> str:
    """Return why a node gets no instance of the module; empty when it may."""
    if not node.is_online:
        return "it is not online" if node.os else "it has never enrolled"
    if node.hindrance:
        return node.hindrance
    if manifest.os not in {"any", node.os}:
        return f"it runs {node.os}, the package is for {manifest.os}"
    if manifest.arch not in {"any", node.arch}:
        return f"it is {node.arch}, the package is for {manifest.arch}"
    return _label_fault(module, node) or _port_fault(module, manifest, ports.get(node.id, {}))


def _label_fault(module: Module, node: NodeFacts) -> str:
    if not matches(node.labels, module.placement.labels):
        lacks = [f"{key}={value}" for key, value in module.placement.labels.items() if node.labels.get(key) != value]
        return f"it lacks the label {', '.join(lacks)}"
    key = module.placement.spread_by
    return f"it has no label {key} to spread by" if key and key not in node.labels else ""


def _port_fault(module: Module, manifest: Manifest, taken: Mapping[int, str]) -> str:
    """Where every matching node gets one, a port that is taken refuses the whole; so it is no reason to pass by."""
    if module.replicas is None:
        return ""
    clashes = [
        f"port {port} ({label}) is taken by {taken[port]}" for label, port in manifest.ports.items() if port in taken
    ]
    return "; ".join(clashes)


def _unplaceable(module: Module, fitting: int, reasons: Sequence[str]) -> NotAllowed:
    wanted = "an instance is wanted" if module.replicas is None else f"{module.replicas} replicas are wanted"
    shown = "; ".join(reasons[:SHOWN]) + (f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else "")
    why = shown or "there are no other nodes"
    return NotAllowed(
        f"module {module.name} cannot be placed: {wanted}, {fitting} nodes fit ({why});"
        " label nodes or change the module",
        reason="unplaceable",
        module_id=module.id,
        nodes=list(reasons[:MAX_REASONS]),
    )

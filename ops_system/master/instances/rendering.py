"""Config files of an instance as its worker will write them, by the same expansion. Pure.

What only the node knows, its working folder, is spelled `/WORK_DIR`.
"""

import msgspec

from ops_system.master.instances.placing import NodeFacts
from ops_system.model.errors import Invalid
from ops_system.model.formats import find_fault
from ops_system.model.instances import ConfigFile, InstanceSpec
from ops_system.model.placeholders import expand
from ops_system.processes.spec import resolve

WORK_DIR = "/WORK_DIR"


def render_files(spec: InstanceSpec, node: NodeFacts) -> tuple[ConfigFile, ...]:
    """Return the files with every placeholder expanded. Raises `Invalid`."""
    values = {
        "instance.id": spec.instance_id,
        "instance.dir": f"{WORK_DIR}/instances/{spec.instance_id}",
        "node.id": node.id,
        "node.name": node.name,
        "node.ip": node.ip,
        **{f"port.{name}": str(port) for name, port in spec.service.ports.items()},
    }
    run = resolve(spec, values)
    values |= {f"env.{key}": text for key, text in run.env.items()}
    return tuple(msgspec.structs.replace(file, content=expand(file.content, values)) for file in spec.config_files)


def check_rendered(spec: InstanceSpec, node: NodeFacts) -> None:
    """Raise `Invalid` with the place of the fault for every file that is not of its format once it is rendered."""
    problems = []
    for file in render_files(spec, node):
        fault = find_fault(file.format, file.content)
        if fault is not None:
            problems.append(f"$.config_mounts.{file.path}: as rendered for {node.name}, {fault}")
    if problems:
        raise Invalid("; ".join(problems), problems=problems, node=node.id)

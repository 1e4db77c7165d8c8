"""A supervisor in a process of its own, to be killed: `python supervised.py ROOT SPEC_JSON_FILE`. Prints `ID PID STATE`."""

import sys
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))

from ops_system.processes.spec import RunSpec
from ops_system.runtime.tasks import run_role, serve
from tests.fakes.processes import Rig


class LoudRig(Rig):
    def _on_report(self, report):
        super()._on_report(report)
        print(report.instance_id, report.pid, report.state.value, flush=True)


async def main(root, specs):
    rig = LoudRig(root)

    async def apply():
        for spec in specs:
            await rig.supervisor.apply(spec)

    await serve({"supervisor": rig.supervisor.run, "apply": apply})


if __name__ == "__main__":
    run_role(main(Path(sys.argv[1]), msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=list[RunSpec])))

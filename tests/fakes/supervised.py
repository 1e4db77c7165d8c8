"""A supervisor in a process of its own, to be killed: `python supervised.py ROOT SPEC_JSON_FILE [HEARD]`.

Prints `ID PID STATE`. With HEARD it hears nothing from its keeper after so many starts, as if it were killed in the
moment it had asked for one more; with -1 it is killed the moment before.
"""

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


def hear_only(heard):
    """Be deaf from one start on. Where there are keepers: not on Windows."""
    from ops_system.processes.keepers import Keepers
    from ops_system.processes.posix import PosixPlatform

    on_frame, started = PosixPlatform._on_frame, 0

    def hear(self, fields):
        nonlocal started
        started += fields[0] == b"started"
        if started <= heard:
            on_frame(self, fields)

    PosixPlatform._on_frame = hear
    if heard < 0:
        Keepers.send = lambda _self, _frame: None


async def main(root, specs):
    rig = LoudRig(root)

    async def apply():
        for spec in specs:
            await rig.supervisor.apply(spec)

    await serve({"supervisor": rig.supervisor.run, "apply": apply})


if __name__ == "__main__":
    if sys.argv[3:]:
        hear_only(int(sys.argv[3]))
    run_role(main(Path(sys.argv[1]), msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=list[RunSpec])))

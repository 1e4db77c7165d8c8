"""Master and worker at rest with one node: memory and CPU over 60 s."""

import tempfile
from pathlib import Path

from tests.bench.measure import cpu_seconds, emit, family, memory_mb
from tests.fakes.fleet import Fleet

SETTLE_S, WINDOW_S = 10, 60


def main() -> None:
    """Measure both programs over the same minute."""
    import time

    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder)) as fleet:
        fleet.start_master()
        fleet.start_worker()
        time.sleep(SETTLE_S)
        programs = {name: family(program.pid) for name, program in fleet.programs.items()}
        before = {name: cpu_seconds(pids) for name, pids in programs.items()}
        time.sleep(WINDOW_S)
        for name, pids in programs.items():
            role = "master" if name == "master" else "worker"
            emit(f"{role} at rest, memory", memory_mb(pids), "MB RSS", pss_mb=round(memory_mb(pids, "Pss"), 1))
            emit(f"{role} at rest, CPU", 100 * (cpu_seconds(pids) - before[name]) / WINDOW_S, "% of a core")


if __name__ == "__main__":
    main()

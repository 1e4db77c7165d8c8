"""Master: exec to the first HTTP answer, from source and frozen, warm. Median of 7."""

import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from tests.bench.measure import emit, median
from tests.fakes.fleet import PROGRAMS, free_port

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 7


def first_answer_s(program: Path, data: Path) -> float:
    """Start once on an initialised data folder; return the seconds until /health answers."""
    port = free_port()
    command = [program, "-data_dir", data, "-port", str(port), "-tls_port", str(free_port()), "-open_browser", "0"]
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as master:
        try:
            while not answers(port):
                assert master.poll() is None
                time.sleep(0.005)
            return time.perf_counter() - started
        finally:
            master.terminate()
            master.wait(15)


def answers(port: int) -> bool:
    """Return whether the master answers yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def main() -> None:
    """Measure both."""
    for kind, program in (("source", PROGRAMS / "ops-master"), ("frozen", ROOT / "dist/master")):
        if not program.exists():
            continue
        with tempfile.TemporaryDirectory() as folder:
            first_answer_s(program, Path(folder) / "data")
            values = [first_answer_s(program, Path(folder) / "data") for _ in range(ROUNDS)]
        emit(f"master start, {kind}", median(values), "s")


if __name__ == "__main__":
    main()

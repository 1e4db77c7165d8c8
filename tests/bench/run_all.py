"""`make bench`: every benchmark in turn; results are JSON lines on stdout and in test-output/bench.jsonl."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "test-output" / "bench.jsonl"


def main() -> int:
    """Run those named on the command line, or all."""
    names = sys.argv[1:] or sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))
    OUTPUT.parent.mkdir(exist_ok=True)
    failed = []
    with OUTPUT.open("w", encoding="utf-8") as results:
        for name in names:
            print(f"# {name}", flush=True)
            command = [sys.executable, "-m", f"tests.bench.{name}"]
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as bench:
                assert bench.stdout is not None
                for line in bench.stdout:
                    print(line, end="", flush=True)
                    results.write(line)
            if bench.returncode:
                failed.append(name)
    if failed:
        print("failed:", " ".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""`make run`: a master and one worker on this machine, until Ctrl-C. Deployed services go on and are listed.

Everything lives in one data folder: the master's files, and the worker's in DATA/worker. The worker joins with a token
made here; a second start finds it enrolled and starts both at once.
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

PROGRAMS = Path(sys.executable).parent
READY_WITHIN_S = 30.0
STOP_WITHIN_S = 12.0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--tls-port", type=int, default=8443)
    parser.add_argument("--worker-port", type=int, default=8082)
    parser.add_argument("--etcd", default="", help="addresses of an etcd that keeps installations; empty: the master")
    return parser.parse_args()


def health(url: str) -> dict[str, Any] | None:
    """Return what `url`/health answers, None while it does not."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return dict(json.load(answer))
    except (OSError, ValueError):
        return None


def is_linked(answer: dict[str, Any]) -> bool:
    """Return whether the worker that gave this answer is connected to its master."""
    return bool(answer["link"]["state"] == "linked")


def wait_until(
    is_good: Callable[[dict[str, Any]], bool], url: str, program: "subprocess.Popen[bytes]", name: str
) -> None:
    """Wait for a good answer; exit with the program's own code when it ends before."""
    deadline = time.monotonic() + READY_WITHIN_S
    while (answer := health(url)) is None or not is_good(answer):
        code = program.poll()
        if code is not None:
            sys.exit(code or 1)
        if time.monotonic() > deadline:
            sys.exit(f"{name} is not ready on {url}/health within {READY_WITHIN_S:.0f} s; its last answer: {answer}")
        time.sleep(0.05)


def start_master(options: argparse.Namespace) -> "subprocess.Popen[bytes]":
    """Start the master; it prints its address and the setup code itself."""
    return subprocess.Popen(
        [
            PROGRAMS / "ops-master",
            "-data_dir", options.data,
            "-port", str(options.port),
            "-tls_port", str(options.tls_port),
            *(["-etcd", options.etcd] if options.etcd else []),
        ],
        process_group=0,  # Ctrl-C reaches this program alone, which then stops both in order
    )  # fmt: skip


def start_worker(options: argparse.Namespace) -> "subprocess.Popen[bytes]":
    """Start the worker, with a fresh join token on its standard input when it is not enrolled yet."""
    work_dir = options.data / "worker"
    command = [
        PROGRAMS / "ops-worker",
        "-master", f"http://127.0.0.1:{options.port}",
        "-work_dir", work_dir,
        "-port", str(options.worker_port),
    ]  # fmt: skip
    if (work_dir / "node.json").exists():
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    token = subprocess.run(
        [PROGRAMS / "ops-master", "join-token", "create", "-data_dir", options.data],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    worker = subprocess.Popen([*command, "-token", "-"], stdin=subprocess.PIPE, process_group=0)
    assert worker.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        worker.stdin.write(token)
        worker.stdin.close()
    return worker


def stop(program: "subprocess.Popen[bytes]") -> None:
    """Ask a role to stop and wait; it promises to be gone within 10 s."""
    if program.poll() is None:
        program.send_signal(signal.SIGTERM)
    try:
        program.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()


def list_services(options: argparse.Namespace) -> None:
    """Say which deployed services go on without the worker."""
    answer = subprocess.run(
        [PROGRAMS / "ops-worker", "status", "-work_dir", options.data / "worker", "-json", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    running = [item for item in json.loads(answer.stdout)["instances"] if item["pid"]] if answer.returncode == 0 else []
    if running:
        stop_them = "make stop" if options.data == Path("data") else f"make stop DATA={options.data}"
        print(f"\nThese services go on (`{stop_them}` ends them) / 下列服务继续运行（{stop_them} 可结束）:")
        for item in running:
            print(f"  {item['name']} {item['version']}  pid {item['pid']}  {item['instance_id']}")


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """End the run: Ctrl-C and SIGTERM alike, also where this was started with SIGINT ignored (a job of a script)."""
    raise KeyboardInterrupt


def main() -> int:
    """Run both until one ends or a signal comes."""
    options = parse_arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    programs: list[subprocess.Popen[bytes]] = []
    code = 0
    try:
        programs.append(start_master(options))
        wait_until(bool, f"http://127.0.0.1:{options.port}", programs[0], "the master")
        programs.append(start_worker(options))
        wait_until(is_linked, f"http://127.0.0.1:{options.worker_port}", programs[1], "the worker")
        print("One node is online / 一个节点已上线", flush=True)
        while all(program.poll() is None for program in programs):
            time.sleep(0.2)
        code = next(program.returncode for program in programs if program.returncode is not None) or 1
        print("a role ended by itself; stopping the other", file=sys.stderr)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    finally:
        for program in reversed(programs):
            stop(program)
        list_services(options)
    return code


if __name__ == "__main__":
    sys.exit(main())

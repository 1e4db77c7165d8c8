"""Start 200 small processes: our supervisor beside Supervisor (PyPI) and PM2 (npm), in one run, alternating.

Counted from the first wish to the birth of the last child, seen from outside: until /proc shows 200 processes that run
the program itself. One JSON line per result: {"bench", "peer", "count", "median_s", "runs_s"}; a peer that cannot be
installed here is left out with its reason. `python tests/bench/bench_start200.py [--count N] [--runs N] [--peers ...]`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import venv
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fakes.processes import make_spec, running_rig

ROOT = Path(__file__).parents[2]
SLEEPER = "/bin/sleep"
DEADLINE_S = 120.0
INSTALL_S = 600.0
END_S = 60.0

Run = Callable[[int, Path], float]


def born(mark: str) -> int:
    """How many living processes run the sleeper itself with this argument."""
    wanted = f"{SLEEPER}\0{mark}\0".encode()
    count = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                count += Path(entry.path, "cmdline").read_bytes() == wanted
    return count


def wait_for(count: int, mark: str, since_s: float) -> float:
    while (found := born(mark)) != count:
        if time.monotonic() - since_s > DEADLINE_S:
            raise TimeoutError(f"{found} of {count} after {DEADLINE_S} s")
        time.sleep(0.002)
    return time.monotonic() - since_s


def kill_all(mark: str) -> None:
    wanted = f"{SLEEPER}\0{mark}\0".encode()
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and Path(entry.path, "cmdline").read_bytes() == wanted:
                os.kill(int(entry.name), signal.SIGKILL)


def run_ours(count: int, root: Path) -> float:
    """The supervisor as the worker embeds it. The pids it reports tell the end; /proc then confirms all are born."""
    mark = str(100_000 + os.getpid())

    async def measure() -> float:
        async with running_rig(root) as rig:
            specs = [make_spec(f"b{os.getpid()}-{number}", argv=(SLEEPER, mark)) for number in range(count)]
            for spec in specs:  # their names are seen by the whole machine
                (root / "instances" / spec.instance_id / "logs").mkdir(parents=True)
            since_s = time.monotonic()
            for spec in specs:
                await rig.supervisor.apply(spec)
            await rig.until(lambda: sum(report.pid is not None for report in rig.latest.values()) == count, DEADLINE_S)
            return await asyncio.to_thread(wait_for, count, mark, since_s)

    return asyncio.run(measure())


def run_supervisord(count: int, root: Path) -> float:
    """Supervisor 4: the daemon is up before the clock runs; one call `startAllProcesses`, without waiting for startsecs."""
    mark = str(200_000 + os.getpid())
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = root / "supervisord.conf"
    config.write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={root}/log\npidfile={root}/pid\nchildlogdir={root}\nminfds=4096\n"
        f"[inet_http_server]\nport=127.0.0.1:{port}\n"
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        f"[program:s]\ncommand={SLEEPER} {mark}\nnumprocs={count}\nprocess_name=%(process_num)d\nautostart=false\n"
    )
    argv = [install_supervisor(), "-m", "supervisor.supervisord", "-c", str(config)]
    daemon = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        api = wait_for_api(f"http://127.0.0.1:{port}/RPC2")
        since_s = time.monotonic()
        asker = threading.Thread(target=api.supervisor.startAllProcesses, args=(False,), daemon=True)
        asker.start()
        seconds = wait_for(count, mark, since_s)
        asker.join(DEADLINE_S)
        return seconds
    finally:
        daemon.send_signal(signal.SIGTERM)
        end(daemon)
        kill_all(mark)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Wait for what was told to end; kill it when it does not."""
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for_api(url: str) -> xmlrpc.client.ServerProxy:
    api = xmlrpc.client.ServerProxy(url)
    for _ in range(500):
        with contextlib.suppress(OSError):
            api.supervisor.getState()
            return api
        time.sleep(0.02)
    raise OSError(f"{url} does not answer")


def run_pm2(count: int, root: Path) -> float:
    """PM2: the daemon is up before the clock runs; one ecosystem file with `count` applications."""
    mark = str(300_000 + os.getpid())
    pm2 = install_pm2()
    env = {**os.environ, "PM2_HOME": str(root / "pm2")}
    apps = [{"name": f"s{number}", "script": SLEEPER, "args": mark, "interpreter": "none"} for number in range(count)]
    ecosystem = root / "ecosystem.config.json"
    ecosystem.write_text(json.dumps({"apps": apps}))
    quiet = {"env": env, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*pm2, "ping"], check=True, timeout=60, **quiet)
    since_s = time.monotonic()
    client = subprocess.Popen([*pm2, "start", str(ecosystem)], **quiet)
    try:
        return wait_for(count, mark, since_s)
    finally:
        end(client)
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run([*pm2, "kill"], check=False, timeout=END_S, **quiet)
        kill_all(mark)


def install_supervisor() -> str:
    home = cache_dir() / "supervisor"
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        argv = [python, "-m", "pip", "install", "-q", "supervisor==4.3.0", "setuptools<81"]
        subprocess.run(argv, check=True, timeout=INSTALL_S)
    return str(python)


def install_pm2() -> list[str]:
    home = cache_dir() / "pm2"
    script = home / "node_modules" / "pm2" / "bin" / "pm2"
    node = find_node()
    if not script.exists():
        home.mkdir(parents=True, exist_ok=True)
        npm = Path(node).with_name("npm")
        path = f"{Path(node).parent}{os.pathsep}{os.environ['PATH']}"
        argv = [str(npm), "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home), "pm2@6.0.14"]
        subprocess.run(argv, check=True, env={**os.environ, "PATH": path}, timeout=INSTALL_S)
    return [node, str(script)]


def find_node() -> str:
    for candidate in (ROOT / ".venv" / "bin" / "node", shutil.which("node")):
        if candidate is not None and Path(candidate).exists():
            return str(candidate)
    raise FileNotFoundError("no node here; run `make install` first")


def cache_dir() -> Path:
    return Path(tempfile.gettempdir()) / f"ops-bench-peers-{os.getuid()}"


@contextlib.contextmanager
def fresh_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


PEERS: dict[str, Run] = {"ops": run_ours, "supervisor": run_supervisord, "pm2": run_pm2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peers", default=",".join(PEERS))
    options = parser.parse_args()
    runs: dict[str, list[float]] = {name: [] for name in options.peers.split(",")}
    missing: dict[str, str] = {}
    for _ in range(options.runs):
        for name, seconds in runs.items():
            if name not in missing:
                measure_once(name, options.count, seconds, missing)
    for name, seconds in runs.items():
        print(json.dumps(result(name, options.count, seconds, missing.get(name))), flush=True)


def measure_once(name: str, count: int, runs: list[float], missing: dict[str, str]) -> None:
    try:
        with fresh_dir() as root:
            runs.append(PEERS[name](count, root))
    except (OSError, subprocess.SubprocessError) as error:
        missing[name] = str(error)


def result(name: str, count: int, runs: list[float], missing: str | None) -> dict[str, object]:
    found: dict[str, object] = {"bench": "start200", "peer": name, "count": count}
    if missing is not None:
        return {**found, "missing": missing}
    rounded = [round(seconds, 4) for seconds in runs]
    return {**found, "median_s": round(statistics.median(runs), 4), "runs_s": rounded}


if __name__ == "__main__":
    main()

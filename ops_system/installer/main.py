"""The command line of `ops-agent`: the agent of this machine, or one that plays machines.

install-agent [--regional-url URL,…] [--sn SN] [--mac MAC] [--mode install|report|rescue|simulate]
Ends with 0 when the machine is to restart, with 10 when it is to be switched off.
"""

import logging
import signal
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType

from ops_system.cli import Command, Flag, Parsed, Program, parse, run_role
from ops_system.installer.agent import Agent
from ops_system.installer.hands import RealHands
from ops_system.installer.helpwords import CHINESE
from ops_system.installer.region import Region
from ops_system.installer.simulate import SimulatedHands
from ops_system.model.errors import UsageError
from ops_system.model.kinds import LIST, SIZE, TEXT, choice, integer
from ops_system.model.machines import check_sn, normal_mac

NAME = "install-agent"
DEFAULT_URL, DEFAULT_SN = "http://127.0.0.1:8081", "sn-001"
SCRATCH = Path("/run/ops-agent")
MAX_PLAYED = 200

PROGRAM = Program(
    NAME,
    "installs the machine it runs on, as its regional client says; or plays such a machine",
    (
        Command(
            (),
            "report this machine and do what its task says",
            flags=(
                Flag("regional-url", LIST, "the regional client, and those that stand by", DEFAULT_URL),
                Flag("sn", TEXT, "serial number, where the firmware has none"),
                Flag("mac", TEXT, "the card that counts, where there are several"),
                Flag("mode", choice("install", "report", "rescue", "simulate"), "simulate plays a machine", "install"),
                Flag("count", integer(1, MAX_PLAYED), "simulate: so many machines, numbered", "1"),
                Flag("disk-size", SIZE, "simulate: size of its disk, a sparse file", "8GiB"),
                Flag("work-dir", TEXT, "simulate: where the disks lie; empty: a temporary folder"),
            ),
        ),
    ),
    CHINESE,
)


def main() -> int:
    """Run the command line and return its exit code."""
    return run_role(NAME, run)


def run(argv: list[str]) -> int:
    """Be the agent. Raises UsageError, or Invalid on a machine without identity."""
    parsed = parse(PROGRAM, argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname).1s %(threadName)s: %(message)s")
    urls = parsed.read("regional-url", LIST, DEFAULT_URL)
    assert isinstance(urls, tuple)
    sn = check_sn(parsed.text("sn")) if parsed.text("sn") else ""
    mac = normal_mac(parsed.text("mac")) if parsed.text("mac") else ""
    if parsed.text("mode") == "simulate":
        return _play(parsed, urls, sn or DEFAULT_SN, mac)
    for name in ("count", "disk-size", "work-dir"):
        if parsed.has(name):
            raise UsageError("-{name} belongs to --mode simulate", name=name)
    return Agent(Region(*urls), RealHands(sn=sn, mac=mac), SCRATCH).run()


def _interrupt(number: int, _frame: FrameType | None) -> None:
    """End as Ctrl-C does."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def _play(parsed: Parsed, urls: tuple[str, ...], sn: str, mac: str) -> int:
    """Play machines until each has restarted, or a signal switches all of them off at once."""
    count, size = int(parsed.text("count", "1")), parsed.read("disk-size", SIZE, "8GiB")
    if count > 1 and mac:
        raise UsageError("-mac names one machine; leave it out with -count")
    assert isinstance(size, int)
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix="ops-agent-", ignore_cleanup_errors=True) as made:
        folder = Path(parsed.text("work-dir") or made)
        names = [sn] if count == 1 else [f"{sn}-{number:03d}" for number in range(1, count + 1)]
        hands = [SimulatedHands(name, folder / name, mac=mac, disk_bytes=size) for name in names]
        agents = [
            Agent(Region(*urls), hand, folder / name / "scratch") for name, hand in zip(names, hands, strict=True)
        ]
        threads = [
            threading.Thread(target=agent.run, name=name, daemon=True)
            for agent, name in zip(agents, names, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return 0

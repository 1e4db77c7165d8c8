"""`make run-etcd`: one member of Debian's etcd on this machine until Ctrl-C, its data in DATA/etcd.

Then: `make run ETCD=http://127.0.0.1:2379`, `make run-regional STORE=http://127.0.0.1:2379`.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = "etcd-server"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--port", type=int, default=2379)
    parser.add_argument("--peer-port", type=int, default=2380)
    return parser.parse_args()


def program() -> str:
    """Return etcd's path; where root may, Debian's package is installed. Exits when there is none."""
    found = shutil.which("etcd")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", PACKAGE],
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"},
        )
        found = shutil.which("etcd")
    if found is None:
        sys.exit(f"etcd is not installed: apt-get install {PACKAGE}")
    return found


def main() -> None:
    """Become etcd."""
    options = parse_arguments()
    folder = options.data / "etcd"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    url, peer = f"http://127.0.0.1:{options.port}", f"http://127.0.0.1:{options.peer_port}"
    command = [
        program(),
        "--data-dir", str(folder),
        "--listen-client-urls", url,
        "--advertise-client-urls", url,
        "--listen-peer-urls", peer,
        "--initial-advertise-peer-urls", peer,
        "--initial-cluster", f"default={peer}",
        "--auto-compaction-retention", "1",
    ]  # fmt: skip
    print(f"etcd on {url}; a master uses it by: make run ETCD={url}", flush=True)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()

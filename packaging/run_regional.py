"""`make run-regional IDC=dc1 PORT=8081`: a regional client on this machine until Ctrl-C, beside `make run`.

Its token is made on the master's data folder at the first start and kept in DATA/regional/IDC.token. With `--store` an
etcd takes the master's place; then no token is needed.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

PROGRAMS = Path(sys.executable).parent


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--idc", default="dc1")
    parser.add_argument("--port", type=int, default=8081)
    parser.add_argument("--master-port", type=int, default=8080)
    parser.add_argument("--listen", default="127.0.0.1")
    parser.add_argument("--store", default="", help="addresses of an etcd; empty: the master")
    return parser.parse_args()


def make_token(data: Path, idc: str) -> Path:
    """Return the file with the token of a data centre, making it when there is none. Exits when that fails."""
    path = data / "regional" / f"{idc}.token"
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = ["token", "create", f"regional-{idc}", "--role", "regional", "--idc", idc, "-data_dir", str(data)]
        made = subprocess.run([PROGRAMS / "ops-master", *command], stdout=subprocess.PIPE, check=False)
        if made.returncode:
            sys.exit(made.returncode)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(made.stdout)
    return path


def command_of(options: argparse.Namespace) -> list[str]:
    """Return the regional client's command line."""
    master = f"http://127.0.0.1:{options.master_port}"
    command = [
        str(PROGRAMS / "ops-regional"),
        f"--idc={options.idc}",
        f"--api-port={options.port}",
        "--listen", options.listen,
        "--data_dir", str(options.data / "regional" / options.idc),
        "--store", options.store or master,
    ]  # fmt: skip
    if not options.store:
        command += ["--token", f"@{make_token(options.data, options.idc)}"]
    if options.listen.startswith("127."):
        command += ["--api-url", f"http://{options.listen}:{options.port}"]
    return command


def main() -> None:
    """Become the regional client."""
    command = command_of(parse_arguments())
    os.execv(command[0], command)


if __name__ == "__main__":
    main()

"""Packages against the plain tools: handing 200 MB to twelve at once (nginx with TLS, the same curl), an upload of 500 MB
by the pack tool (curl to nginx's dav), unpacking and verifying (unzip and sha256sum). Alternating rounds, medians, ratios.
"""

import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from ops_system.runtime.archives import install_archive
from tests.bench.measure import cpu_seconds, emit, median, memory_mb
from tests.fakes import debian
from tests.fakes.fleet import PASSWORD, Fleet, free_port, until
from tests.fakes.package_master import make_certificates

ROUNDS = 3
CLIENTS = 12
MB = 1_000_000
SERVED_BYTES = 200 * MB
UPLOADED_BYTES = 500 * MB
PACK_TOOL = Path(sys.executable).with_name("pack-tool")

NGINX = """daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  sendfile on;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{plain}; root {folder}/www; location / {{ dav_methods PUT; }} }}
  server {{
    listen 127.0.0.1:{tls} ssl;
    ssl_certificate {folder}/leaf.pem;
    ssl_certificate_key {folder}/leaf.key;
    root {folder}/www;
  }}
}}
"""


class Nginx:
    """Debian's nginx over one folder, plain and with TLS. One process, as the master is one."""

    def __init__(self, scratch: Path) -> None:
        self.program = debian.nginx_folder(scratch, port=free_port())
        self.folder = scratch / "nginx-run"
        self.www = self.folder / "www"
        self.www.mkdir(parents=True)
        make_certificates(self.folder)
        self.plain, self.tls = free_port(), free_port()
        text = NGINX.format(folder=self.folder, plain=self.plain, tls=self.tls)
        (self.folder / "nginx.conf").write_text(text if os.geteuid() else "user root;\n" + text)

    @contextlib.contextmanager
    def run(self) -> Iterator[None]:
        """Serve until the block ends."""
        command = [self.program / "bin/nginx", "-p", self.folder, "-c", self.folder / "nginx.conf", "-e", "error.log"]
        environment = {**os.environ, "LD_LIBRARY_PATH": str(self.program / "lib")}
        with subprocess.Popen(command, env=environment) as process:
            try:
                until(lambda: _is_open(self.plain), "nginx")
                yield
            finally:
                process.terminate()


def _is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def make_package(path: Path, name: str, size_bytes: int, *, is_packed: bool) -> None:
    """Write a package of about `size_bytes`: random bytes as they are, or text that packs three to one."""
    dice = random.Random(1)
    words = [dice.randbytes(6).hex() for _ in range(4000)]
    how = zipfile.ZIP_DEFLATED if is_packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("service.json", json.dumps({"name": name, "version": "1", "entrypoint": "f0"}))
        count = 20
        for number in range(count):
            if is_packed:
                data = " ".join(dice.choices(words, k=size_bytes // count // 13)).encode()
            else:
                data = os.urandom(size_bytes // count)
            archive.writestr(f"f{number}", data)


def timed(act: Callable[[], None]) -> float:
    """Return the seconds `act` takes."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def fetch_all(arguments: list[str]) -> None:
    """Let CLIENTS curls fetch the same at once."""
    command = ["curl", "-sS", "--fail", "-o", "/dev/null", *arguments]
    running = [subprocess.Popen(command) for _ in range(CLIENTS)]
    codes = [process.wait(120) for process in running]
    assert codes == [0] * CLIENTS, codes


class Peak:
    """The highest RSS of processes while the block runs."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()
        self.peak_mb = self.before_mb = memory_mb([pid])

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._done.wait(0.05):
            self.peak_mb = max(self.peak_mb, memory_mb([self._pid]))

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def compare(what: str, ours: Callable[[], None], theirs: Callable[[], None], moved_bytes: int, target: float) -> None:
    """Alternate, and tell medians and the ratio of speeds (1: as quick as the peer)."""
    own_s, peer_s = [], []
    for _ in range(ROUNDS):
        peer_s.append(timed(theirs))
        own_s.append(timed(ours))
    ratio = median(peer_s) / median(own_s)
    speeds = {"peer_mb_per_s": round(moved_bytes / MB / median(peer_s)), "ratio": round(ratio, 3), "target": target}
    emit(what, moved_bytes / MB / median(own_s), "MB/s", **speeds)


def bench_serving(fleet: Fleet, nginx: Nginx, scratch: Path) -> None:
    """200 MB to twelve at once, with TLS and without."""
    path = scratch / "served.zip"
    make_package(path, "served", SERVED_BYTES, is_packed=False)
    fleet.call("POST", "/packages", path.read_bytes(), media="application/zip", timeout_s=120)
    shutil.copy(path, nginx.www / "served.zip")
    path.unlink()
    with urllib.request.urlopen(f"{fleet.url}/api/v1/worker/ca") as answer:
        (scratch / "ca.pem").write_text(json.loads(answer.read())["ca_pem"])
    where = "/api/v1/packages/served/1/download"
    token = ["-H", f"Authorization: Bearer {fleet.token}"]
    secure = [*token, "--cacert", str(scratch / "ca.pem"), f"https://127.0.0.1:{fleet.tls_port}{where}"]
    peer = ["--cacert", str(nginx.folder / "ca.pem"), f"https://127.0.0.1:{nginx.tls}/served.zip"]
    moved_bytes = CLIENTS * SERVED_BYTES
    with Peak(fleet.programs["master"].pid) as peak:
        compare("200 MB to 12 with TLS", lambda: fetch_all(secure), lambda: fetch_all(peer), moved_bytes, 0.5)
    emit("memory of the master meanwhile", peak.peak_mb - peak.before_mb, "MB", target=60)
    plain, peer_plain = [*token, f"{fleet.url}{where}"], [f"http://127.0.0.1:{nginx.plain}/served.zip"]
    compare("200 MB to 12, plain", lambda: fetch_all(plain), lambda: fetch_all(peer_plain), moved_bytes, 0.5)


def bench_upload(fleet: Fleet, nginx: Nginx, scratch: Path) -> None:
    """500 MB by the pack tool, its own checks included, and by curl."""
    path = scratch / "uploaded.zip"
    make_package(path, "uploaded", UPLOADED_BYTES, is_packed=False)
    token = scratch / "token"
    token.write_text(fleet.token)

    def push() -> None:
        command = [PACK_TOOL, "push", path, "--master", fleet.url, "--token", f"@{token}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        fleet.call("DELETE", "/packages/uploaded/1")

    def put() -> None:
        subprocess.run(["curl", "-sS", "--fail", "-T", path, f"http://127.0.0.1:{nginx.plain}/up.zip"], check=True)
        (nginx.www / "up.zip").unlink()

    master = [fleet.programs["master"].pid]
    own_s, before = cpu_seconds(master), resource.getrusage(resource.RUSAGE_CHILDREN)
    push()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    sender_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    emit("CPU of a push, the pack tool", sender_s / UPLOADED_BYTES * 1000 * MB, "s/GB")
    emit("CPU of a push, the master", (cpu_seconds(master) - own_s) / UPLOADED_BYTES * 1000 * MB, "s/GB")
    compare("500 MB pushed", push, put, UPLOADED_BYTES, 0.6)
    path.unlink()


def bench_unpack(scratch: Path) -> None:
    """What a worker does with a package that has arrived, and what a person would do."""
    path = scratch / "packed.zip"
    make_package(path, "packed", 600 * MB, is_packed=True)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    ours, theirs = scratch / "ours", scratch / "theirs"

    def install() -> None:
        install_archive(path, sha256, ours)
        shutil.rmtree(ours)

    def unzip() -> None:
        subprocess.run(["sha256sum", path], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["unzip", "-q", path, "-d", theirs], check=True)
        shutil.rmtree(theirs)

    compare("unpack and verify", install, unzip, 600 * MB, 0.8)


def main() -> None:
    """Run all three, or those named on the command line: unpack, serve, upload."""
    wanted = set(sys.argv[1:]) or {"unpack", "serve", "upload"}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if "unpack" in wanted:
            bench_unpack(scratch)
        nginx = Nginx(scratch)
        with nginx.run(), Fleet(scratch / "fleet") as fleet:
            fleet.folder.mkdir()
            fleet.start_master()
            fleet.master_command("user", "create", "admin", "--role", "admin", "--password-stdin", stdin=PASSWORD)
            until(lambda: _is_open(fleet.tls_port), "the TLS door")
            if "serve" in wanted:
                bench_serving(fleet, nginx, scratch)
            if "upload" in wanted:
                bench_upload(fleet, nginx, scratch)


if __name__ == "__main__":
    main()

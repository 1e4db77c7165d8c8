"""Software nobody here wrote, as folders the pack tool can zip: Debian's redis and nginx with the libraries they need.

The packages are downloaded and unpacked, not installed; the C library itself is the machine's.
"""

import json
import os
import pwd
import shutil
import subprocess
from pathlib import Path

REDIS = ("redis-server", "redis-tools")
REDIS_LIBRARIES = (
    "libatomic1", "libjemalloc2", "liblzf1", "libssl3", "libsystemd0", "libcap2",
    "libgcrypt20", "liblzma5", "libzstd1", "liblz4-1", "libgpg-error0",
)  # fmt: skip
NGINX = ("nginx",)
NGINX_LIBRARIES = ("libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g")

REDIS_SERVICE = {
    "schema": 1,
    "name": "redis",
    "version": "7.0.15",
    "description": "Debian's redis",
    "os": "linux",
    "arch": "amd64",
    "entrypoint": "bin/redis-server",
    "args": ["--port", "${port.redis}", "--bind", "127.0.0.1", "--dir", "${instance.dir}", "--save", ""],
    "env": {"LD_LIBRARY_PATH": "${instance.dir}/lib"},
    "ports": {"redis": 6379},
    "health": {
        "type": "tcp",
        "target": "127.0.0.1:${port.redis}",
        "interval": "2s",
        "timeout": "1s",
        "start_timeout": "20s",
    },
}
NGINX_SERVICE = {
    "schema": 1,
    "name": "nginx",
    "version": "1.22.1",
    "description": "Debian's nginx",
    "os": "linux",
    "arch": "amd64",
    "entrypoint": "bin/nginx",
    "args": ["-p", "${instance.dir}", "-c", "conf/nginx.conf", "-e", "logs/error.log"],
    "env": {"LD_LIBRARY_PATH": "${instance.dir}/lib"},
    "log_paths": {"Access Log": "logs/access.log", "Error Log": "logs/error.log"},
    "ports": {"http": 8090},
    "health": {
        "type": "http",
        "target": "http://127.0.0.1:${port.http}/",
        "interval": "2s",
        "timeout": "1s",
        "start_timeout": "20s",
    },
    "stop": {"signal": "SIGQUIT", "timeout": "10s"},
}
NGINX_CONF = """\
{user}daemon off;
worker_processes 2;
pid run/nginx.pid;
events {{ worker_connections 64; }}
http {{
    access_log logs/access.log;
    client_body_temp_path run/body; proxy_temp_path run/proxy; fastcgi_temp_path run/fastcgi;
    uwsgi_temp_path run/uwsgi; scgi_temp_path run/scgi;
    server {{ listen 127.0.0.1:{port}; root html; }}
}}
"""


def unpack(packages: tuple[str, ...], into: Path) -> Path:
    """Download Debian packages and unpack them below `into`; return that folder."""
    downloads = into / ".downloads"
    downloads.mkdir(parents=True)
    subprocess.run(["apt-get", "-qq", "download", *packages], cwd=downloads, check=True, capture_output=True)
    for archive in downloads.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", archive, into], check=True)
    shutil.rmtree(downloads)
    return into


def copy_libraries(root: Path, target: Path) -> None:
    """Collect the shared libraries below `root` into one folder, links resolved."""
    target.mkdir()
    for library in root.rglob("*.so*"):
        if library.is_file():
            shutil.copy2(library, target / library.name)


def redis_folder(scratch: Path, *, port: int = 6379, version: str = "7.0.15") -> Path:
    """Return a folder with redis, its command line client and its service.json, ready for the pack tool."""
    root = unpack(REDIS + REDIS_LIBRARIES, scratch / "redis-root")
    folder = scratch / "redis"
    (folder / "bin").mkdir(parents=True)
    for program in ("redis-server", "redis-cli"):
        shutil.copy2(root / "usr/bin" / program, folder / "bin" / program)
    copy_libraries(root, folder / "lib")
    service = {**REDIS_SERVICE, "version": version, "ports": {"redis": port}}
    (folder / "service.json").write_text(json.dumps(service, indent=2))
    return folder


def nginx_folder(scratch: Path, *, port: int) -> Path:
    """Return a folder with nginx listening on `port` of loopback, ready for the pack tool."""
    root = unpack(NGINX + NGINX_LIBRARIES, scratch / "nginx-root")
    folder = scratch / "nginx"
    for name in ("bin", "conf", "logs", "run", "html"):
        (folder / name).mkdir(parents=True)
    shutil.copy2(root / "usr/sbin/nginx", folder / "bin/nginx")
    copy_libraries(root, folder / "lib")
    (folder / "conf/nginx.conf").write_text(
        NGINX_CONF.format(port=port, user="user root;\n" if os.geteuid() == 0 else "")
    )
    (folder / "html/index.html").write_text("<h1>nginx here</h1>\n")
    for keep in ("logs", "run"):
        (folder / keep / ".keep").touch()
    (folder / "service.json").write_text(json.dumps({**NGINX_SERVICE, "ports": {"http": port}}, indent=2))
    return folder


# --- software that is started as an administrator would, not by us -------------------------------------------------------
MARIADB = ("mariadb-server", "mariadb-server-core", "mariadb-client", "mariadb-client-core", "mariadb-common")
MARIADB_LIBRARIES = (
    "libmariadb3", "libaio1", "libnuma1", "liburing2", "libncurses6", "libsnappy1v5", "liblz4-1", "libbz2-1.0",
    "liblzma5", "libzstd1", "libssl3", "zlib1g", "libpcre2-8-0", "libcrypt1", "libsystemd0", "libpmem1", "libndctl6",
    "libdaxctl1", "libfmt9",
)  # fmt: skip


def daemon_nginx(scratch: Path, *, port: int) -> Path:
    """Return a folder with an nginx that goes into the background: `bin/start`, `bin/reload`, `run/nginx.pid`."""
    folder = nginx_folder(scratch, port=port)
    config = folder / "conf/nginx.conf"
    text = config.read_text().replace("daemon off;\n", "").replace("pid run/", f"pid {folder}/run/")
    config.write_text(text)
    run = (
        f"export LD_LIBRARY_PATH={folder}/lib\nexec {folder}/bin/nginx -p {folder} -c conf/nginx.conf -e logs/error.log"
    )
    _script(folder / "bin/start", run)
    _script(folder / "bin/reload", f"{run} -s reload")
    return folder


def mariadb(scratch: Path, *, port: int) -> Path:
    """Return a folder with an empty MariaDB: `bin/start` stays (mysqld_safe), `bin/stop`, `run/mariadb.pid`.

    As root the server runs as Debian's user `mysql`, or as `nobody` where that does not exist: let it enter `scratch`.
    """
    root = unpack(MARIADB + MARIADB_LIBRARIES, scratch / "mariadb-root")
    folder = scratch / "mariadb"
    user = _database_user()
    for name in ("bin", "run"):
        (folder / name).mkdir(parents=True)
    folders = sorted({str(library.parent) for library in root.rglob("*.so*")})
    environment = f"export LD_LIBRARY_PATH={':'.join(folders)}\n"
    shutil.chown(folder / "run", user)
    where = f"--no-defaults --basedir={root}/usr --datadir={folder}/run/data --user={user}"
    _script(folder / "bin/install", f"{environment}exec {root}/usr/bin/mariadb-install-db {where} --skip-test-db")
    address = f"--bind-address=127.0.0.1 --port={port} --socket={folder}/run/sock --pid-file={folder}/run/mariadb.pid"
    safe = f"exec {root}/usr/bin/mysqld_safe {where} --ledir={root}/usr/sbin --skip-syslog {address}"
    _script(folder / "bin/start", environment + safe)
    admin = f"exec {root}/usr/bin/mariadb-admin --no-defaults --socket={folder}/run/sock -u root shutdown"
    _script(folder / "bin/stop", environment + admin)
    done = subprocess.run([folder / "bin/install"], check=False, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"MariaDB cannot be set up: {done.stdout}{done.stderr}")
    return folder


def _database_user() -> str:
    try:
        return pwd.getpwnam("mysql" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name).pw_name
    except KeyError:
        return "nobody"


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)

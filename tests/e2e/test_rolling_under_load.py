"""A web service on twelve workers behind nginx under load: rolled forward and back without one failed request.

Each worker has a loopback address of its own, which is also its name, so that all instances listen on the same port;
it is not declared, because a declared port is taken once a machine.
"""

import contextlib
import io
import json
import re
import signal
import subprocess

import pytest

from tests.fakes.debian import nginx_folder
from tests.fakes.fleet import Fleet, pack, until
from tests.fakes.packages import make_zip
from tests.fakes.ports import free_port

HOSTS = tuple(f"127.0.0.{number}" for number in range(11, 23))
STRATEGY = {"canary": 1, "max_parallel": 3, "bake_s": 3}
WEB = b"""#!/usr/bin/env python3
import os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["VERSION"].encode()
        self.send_response(503 if self.path == "/health" and os.environ["MODE"] == "sick" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass

class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

if os.environ["MODE"] == "picky" and sys.argv[1] == "127.0.0.17":
    sys.exit("this node lacks a library")
server = Server((sys.argv[1], int(sys.argv[2])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
held = []
if os.environ["MODE"] == "greedy":
    threading.Thread(target=lambda: [held.append(bytearray(4_000_000)) or time.sleep(0.05) for _ in range(40)]).start()
server.serve_forever()
server.server_close()
"""
NGINX_CONF = """\
user root;
daemon off;
worker_processes 1;
pid run/nginx.pid;
events {{ worker_connections 512; }}
http {{
    log_format short "$status $upstream_addr";
    access_log logs/access.log short;
    client_body_temp_path run/body; proxy_temp_path run/proxy; fastcgi_temp_path run/fastcgi;
    uwsgi_temp_path run/uwsgi; scgi_temp_path run/scgi;
    upstream web {{
{servers}
    }}
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://web; proxy_connect_timeout 2s; }} }}
}}
"""


class Site:
    """The fleet with the web service and its balancer."""

    def __init__(self, fleet, module_id, address):
        self.fleet = fleet
        self.module_id = module_id
        self.address = address
        self.neighbours = []  # other services of the same workers, which all of this is not to touch

    def untouched(self):
        """Return the neighbours that are as they were when they were deployed."""
        now = (self.fleet.get(f"/instances/{one['id']}") for one in self.neighbours)
        return [
            one["package"]
            for was, one in zip(self.neighbours, now, strict=True)
            if (one["state"], one["pid"], one["restarts"]) == ("running", was["pid"], was["restarts"])
        ]

    def versions(self):
        """Return which versions run, asked of the services themselves."""
        found = self.fleet.get(f"/instances?module_id={self.module_id}&limit=100")["items"]
        assert all(one["state"] == "running" for one in found)
        return {one["version"] for one in found}

    def roll_out(self, version, within_s=180, **strategy):
        body = {"version": version, "strategy": {**STRATEGY, **strategy}}
        ended = self.fleet.operation(self.fleet.post(f"/modules/{self.module_id}/rollout", body), within_s)
        print(json.dumps(ended))
        return ended

    def failure(self):
        return self.fleet.get(f"/modules/{self.module_id}/rollouts")["items"][0]["failure"]

    def upload(self, version, port, mode="well"):
        manifest = {
            "schema": 1,
            "name": "web",
            "version": version,
            "os": "linux",
            "entrypoint": "serve",
            "args": ["${node.name}", str(port)],
            "env": {"VERSION": version, "MODE": mode},
            "health": {
                "type": "http",
                "target": f"http://${{node.name}}:{port}/health",
                "interval": "1s",
                "timeout": "2s",
                "failures": 2,
                "start_timeout": "20s",
            },
            "restart": {"policy": "on-failure", "delay": "1s"},
        }
        archive = io.BytesIO(make_zip({"serve": WEB}, manifest)).getvalue()
        self.fleet.call("POST", "/packages", archive, media="application/zip")


@contextlib.contextmanager
def load(address, folder):
    """Have wrk ask as fast as it can, 300 s at most; afterwards all its answers must have been good."""
    report = folder / "wrk.txt"
    with (
        report.open("wb") as out,
        subprocess.Popen(["wrk", "-t1", "-c4", "-d300s", "--timeout", "10s", address], stdout=out) as asking,
    ):
        try:
            yield
        finally:
            asking.send_signal(signal.SIGINT)
    text = report.read_text()
    print(text)
    assert int(re.search(r"(\d+) requests in", text)[1]) > 100
    assert "Non-2xx" not in text
    assert "Socket errors" not in text


@pytest.fixture(scope="module")
def site(tmp_path_factory, redis_zip, example_zips):
    folder = tmp_path_factory.mktemp("site")
    web_port, port = free_port(), free_port()
    with Fleet(folder) as fleet:
        fleet.start_master()
        nodes = [fleet.start_worker(host, "-labels", "role=web") for host in HOSTS]
        system = fleet.post("/systems", {"name": "shop"})
        site = Site(fleet, "", f"http://127.0.0.1:{port}/")
        for version, mode in (("1.0.0", "well"), ("2.0.0", "well"), ("3.0.0", "sick"), ("4.0.0", "greedy")):
            site.upload(version, web_port, mode)
        site.upload("5.0.0", web_port, "picky")
        module = {"name": "web", "package": "web", "version": "1.0.0", "placement": {"labels": {"role": "web"}}}
        site.module_id = fleet.post(f"/systems/{system['id']}/modules", module)["id"]
        answer = fleet.post(f"/systems/{system['id']}/actions", {"action": "deploy"})
        deployed = fleet.operation(answer)
        assert deployed["state"] == "succeeded", json.dumps(deployed)
        servers = "\n".join(f"        server {host}:{web_port} max_fails=1 fail_timeout=1s;" for host in HOSTS)
        balancer = fleet.upload(pack(nginx_folder(folder, port=port), folder / "nginx.zip"))
        config = NGINX_CONF.format(servers=servers, port=port)
        mounts = [{"path": "conf/nginx.conf", "content": config}]
        fleet.deploy(balancer, nodes[0], name="balancer", config_mounts=mounts)
        beside = {"redis": redis_zip[0], **{name: example_zips[name] for name in ("http-service", "noisy-logger")}}
        for node_id, (name, archive) in zip(nodes[1:], beside.items(), strict=False):
            changes = {"ports": {"http": free_port()}} if name == "http-service" else {}
            site.neighbours.append(fleet.deploy(fleet.upload(archive), node_id, name=name, **changes))
        yield site


@pytest.mark.root
@pytest.mark.long
@pytest.mark.timeout(600)
def test_no_request_fails_while_versions_change_and_bad_ones_go_back(site, tmp_path):
    with load(site.address, tmp_path):
        assert site.roll_out("2.0.0")["state"] == "succeeded"
        assert site.versions() == {"2.0.0"}

        sick = site.roll_out("3.0.0")
        assert (sick["state"], sick["reverted"]) == ("failed", True)
        assert site.versions() == {"2.0.0"}

        greedy = site.roll_out("4.0.0", bake_s=8, gates=[{"series": "mem_bytes", "growth": 3, "window_s": 3}])
        assert (greedy["state"], greedy["reverted"]) == ("failed", True)
        assert site.failure()["code"] == "gate_above"
        assert [step["state"] for step in greedy["steps"]] == ["succeeded", "succeeded", "failed"]
        assert site.versions() == {"2.0.0"}

        picky = site.roll_out("5.0.0")
        assert (picky["state"], picky["reverted"]) == ("failed", True)
        assert site.failure()["code"] == "exited"
        assert site.versions() == {"2.0.0"}

        assert site.roll_out("1.0.0")["state"] == "succeeded"
        assert site.versions() == {"1.0.0"}
    assert len(site.untouched()) == len(site.neighbours) == 3
    statuses = {line.split()[0] for line in log_of(site.fleet).splitlines()}
    assert statuses == {"200"}


def log_of(fleet):
    """Return what nginx itself noted of every request; the last may be a connection that wrk left (499)."""
    found = next(path for path in fleet.folder.rglob("logs/access.log") if "instances" in path.parts)
    until(lambda: found.stat().st_size, "nginx noted requests")
    return "\n".join(line for line in found.read_text().splitlines() if not line.startswith("499"))

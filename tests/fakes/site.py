"""A data centre for tests: a real master, a real regional client, an uploaded image, machines of tests/fakes/qemu.py.

with Site(folder) as site:                      # machines hang on `site.cable()`, QEMU's user-mode network; no root
    site.start()
    with Metal(folder, "SN1", cable=site.cable()) as metal:
        site.order(metal)
        metal.power_on()
        site.wait_status(metal, "pending_approval")
        site.approve(metal, "DISK1")
With `Site(folder, lab)` the region answers DHCP and TFTP on the lab's segment, and machines hang on `lab.tap()`.
"""

import json
import shutil
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any

from tests.fakes import osimage, qemu
from tests.fakes.fleet import PASSWORD, PROGRAMS, Fleet, pack, until
from tests.fakes.lab import Lab
from tests.fakes.ports import free_port
from tests.fakes.qemu import USER_NET_HOST, Metal, UserNet

ROOT = Path(__file__).resolve().parents[2]
BOOT_ROOT = ROOT / "build" / "boot"
BUSYBOX = ROOT / "build" / "initramfs" / "packages" / "busybox-static" / "bin" / "busybox"
BUILT = (ROOT / "dist" / "worker", ROOT / "build" / "install-agent-folder" / "install-agent" / "install-agent")
ADMIN = "admin"
"""Somebody with the password of tests/fakes/fleet.py: only then does the master open to the network."""
PAGE = "served by a machine that was bare\n"
SERVICE_PORT = 8090
SERVICE = {
    "schema": 1,
    "name": "page",
    "version": "1.0.0",
    "os": "linux",
    "arch": "amd64",
    "entrypoint": "bin/busybox",
    "args": ["httpd", "-f", "-p", "${port.http}", "-h", "${instance.dir}/www"],
    "ports": {"http": SERVICE_PORT},
    "health": {"type": "http", "target": "http://127.0.0.1:${port.http}/", "interval": "1s", "start_timeout": "60s"},
}


def why_not(firmware: qemu.Firmware = "bios") -> str:
    """Return why no machine can be installed here, empty when one can."""
    no_apt = "" if shutil.which("apt-get") else "no apt-get: Debian's kernel and boot loaders cannot be fetched here"
    return no_apt or qemu.why_not(firmware) or osimage.why_not()


def boot_root() -> Path:
    """Return what machines boot from, building what is not there."""
    if not all(path.is_file() for path in BUILT):
        subprocess.run([sys.executable, ROOT / "packaging/build.py", "worker", "install-agent"], check=True)
    subprocess.run([sys.executable, ROOT / "packaging/initramfs.py"], check=True, stdout=subprocess.DEVNULL)
    return BOOT_ROOT


class Site(Fleet):
    """The programs of a data centre."""

    def __init__(
        self, folder: Path, lab: Lab | None = None, *, idc: str = "dc1", settings: dict[str, str] | None = None
    ) -> None:
        self._lab, self.idc = lab, idc
        host = lab.address if lab else USER_NET_HOST
        super().__init__(folder, settings=settings)
        self.public_url = f"https://{host}:{self.tls_port}"
        self._settings["OPS_MASTER_SERVER_PUBLIC_URL"] = self.public_url
        self._settings["OPS_MASTER_OUTBOUND_ALLOW"] = "127.0.0.1"  # where the BMCs of tests/fakes/bmc.py stand
        self.region_port = free_port()
        self.region_url = f"http://{lab.region_address if lab else '127.0.0.1'}:{self.region_port}"
        self.image = osimage.image()

    def start(self) -> None:
        """Start the master, give it the image, start the region."""
        self.start_master()
        self.master_command("user", "create", ADMIN, "--role", "admin", "--password-stdin", stdin=PASSWORD)
        self.upload_image(self.image.path)
        self.start_region()

    def master_arguments(self) -> list[str]:
        """Return the flags of the master; machines reach its TLS listener."""
        words = super().master_arguments()
        words[words.index("-listen") + 1] = self._lab.address if self._lab else "127.0.0.1"
        return words

    def start_region(self, name: str = "region", *flags: str) -> None:
        """Start (or start again) a regional client; `name` is its folder."""
        token = self.folder / f"{name}.token"
        if not token.exists():
            made = self.master_command("token", "create", name, "--role", "regional", "--idc", self.idc)
            token.write_text(made.strip())
        command = [PROGRAMS / "ops-regional", "--idc", self.idc, "--api-port", str(self.region_port), *flags]
        command += ["--token", f"@{token}", "--data_dir", str(self.folder / name), "--boot-root", str(boot_root())]
        self._spawn(name, [*(self._lab.within if self._lab else ()), *command, *self._region_network()])
        self.wait_ready(name, self.region_url)

    def _region_network(self) -> list[str]:
        if self._lab is None:
            told = f"http://{USER_NET_HOST}:{self.region_port}"
            return ["--store", self.url, "--listen", "127.0.0.1", "--api-url", told]
        own, ca_file = self._lab.network, self.data / "ca" / "ca.pem"
        words = ["--store", self.public_url, "--ca-file", str(ca_file), "--interface", self._lab.interface]
        return [*words, "--dhcp", "full", "--tftp", "on", "--pool", f"{own}.100-{own}.199"]

    def cable(self, *forwards: tuple[int, int]) -> UserNet:
        """Return a user-mode network whose machines boot from this region."""
        return UserNet(f"http://{USER_NET_HOST}:{self.region_port}/boot.ipxe", forwards)

    def _destroy_instances(self) -> None:
        """Nothing: they live in machines that have no power any more."""

    # --- what operators do -------------------------------------------------------------------------------------------
    def upload_image(self, path: Path, version: str = "1", **facts: str) -> dict[str, Any]:
        """Put an image into the catalogue as the Debian that tasks name."""
        told = {"name": "debian", "version": version, "format": "raw.zst", "os_type": "Debian", "os_version": "12"}
        query = urllib.parse.urlencode({**told, **facts})
        content = path.read_bytes()
        return dict(self.call("POST", f"/images?{query}", content, media="application/octet-stream", timeout_s=120))

    def order(self, metal: Metal, **wanted: Any) -> dict[str, Any]:
        """Create the task of a machine."""
        order = {"idc": self.idc, "sn": metal.sn, "mac": metal.mac, "os_type": "Debian", "os_version": "12", **wanted}
        return dict(self.post("/tasks", order))

    def task(self, metal: Metal) -> dict[str, Any]:
        """Return the task of a machine."""
        return dict(self.get(f"/tasks/{self.idc}/{metal.sn}"))

    def act(self, metal: Metal, action: str, **body: Any) -> dict[str, Any]:
        """Approve, reject, cancel or retry."""
        return dict(self.post(f"/tasks/{self.idc}/{metal.sn}/{action}", body))

    def approve(self, metal: Metal, *disks: str) -> dict[str, Any]:
        """Approve what the machine reported, as somebody does who has looked at it."""
        machine = self.get(f"/machines/{self.idc}/{metal.sn}")
        return self.act(metal, "approve", disks=list(disks), inventory_hash=machine["inventory_hash"])

    def wait_status(self, metal: Metal, *statuses: str, within_s: float = 180.0) -> dict[str, Any]:
        """Wait until a task has one of `statuses`; return it."""
        try:
            return dict(until(lambda: self._task_in(metal, statuses), f"{metal.sn} is {statuses}", within_s))
        except AssertionError as late:
            task = self.task(metal)
            seen = {key: task[key] for key in ("status", "reason", "progress", "logs")}
            told = f"{json.dumps(seen, indent=1)}\n{metal.console.text()[-3000:]}\n{self.log('region')[-2000:]}"
            raise AssertionError(f"{late}\n{told}") from None

    def _task_in(self, metal: Metal, statuses: tuple[str, ...]) -> dict[str, Any] | None:
        task = self.task(metal)
        return task if task["status"] in statuses else None

    def wait_home(self, metal: Metal, within_s: float = 240.0) -> dict[str, Any]:
        """Wait until the installed system is an online node, the one its task names; return the node."""

        def node() -> dict[str, Any] | None:
            node_id = self.task(metal).get("node_id")
            found = self.get(f"/nodes/{node_id}") if node_id else None
            return found if found and found["status"] == "online" else None

        try:
            return dict(until(node, f"{metal.sn} is an online node", within_s))
        except AssertionError as late:
            raise AssertionError(f"{late}\n{metal.console.text()[-3000:]}\n{self.log('master')[-3000:]}") from None

    def deploy_page(self, node: dict[str, Any]) -> dict[str, Any]:
        """Deploy a web server with one page to a node; return the instance."""
        source = self.folder / "page"
        if not source.exists():
            (source / "bin").mkdir(parents=True)
            (source / "www").mkdir()
            shutil.copy2(BUSYBOX, source / "bin/busybox")
            (source / "www/index.html").write_text(PAGE)
            (source / "service.json").write_text(json.dumps(SERVICE))
        package = self.upload(pack(source, self.folder / "page.zip"))
        return self.deploy(package, node["id"], name=f"page-{node['name'].lower()}")

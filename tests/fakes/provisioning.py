"""A data centre with bare machines that say what they are told to say: a program of its own beside a real master.

`Site` drives it from tests without an event loop; `python -m tests.fakes.provisioning URL IDC` reads its orders, one
JSON line each, and answers each with a line. It writes as a regional client does, through `/v3` and `AgentBook`.
"""

import asyncio
import base64
import json
import os
import subprocess
import sys
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ops_system.kv.base import PutRequest
from ops_system.kv.client import Client, Login
from ops_system.model.machines import DiskInfo, Hardware, NicInfo
from ops_system.protocol.agent import BeginCall, CompleteCall, InstallCompleteCall, ProgressCall, Report
from ops_system.provision.agents import AgentBook
from ops_system.provision.documents import encode
from ops_system.provision.keys import region_key
from ops_system.provision.regions import RegionHeartbeat, RegionInfo
from ops_system.runtime.clock import SystemClock
from tests.fakes.fleet import Fleet, until
from tests.fakes.provision import session

LONG_TTL_S = 3600
GIB = 1024**3
SYSTEM = DiskInfo("nvme0n1", 480 * GIB, serial="S4EVNX0R100001", model="SAMSUNG MZQLB480", signatures=("gpt", "ext4"))
DATA = DiskInfo("sda", 4000 * GIB, serial="ZC1A2B3C", wwn="0x5000c500a1b2c3d4", model="ST4000NM", is_rotational=True)
CEPH = DiskInfo("sdb", 4000 * GIB, serial="ZC1A2B3D", model="ST4000NM", signatures=("ceph_bluestore",))
STICK = DiskInfo("sdc", 32 * GIB, serial="USB1", model="Ultra Fit", is_removable=True)


class Site:
    """The test's end: `with Site(fleet, "dc1") as site: site.report("SN1", "00:…")`."""

    def __init__(self, fleet: Fleet, idc: str) -> None:
        token = fleet.master_command("token", "create", f"region-{idc}", "--role", "regional", "--idc", idc).strip()
        command = [sys.executable, "-m", "tests.fakes.provisioning", fleet.url, idc]
        self._program = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"OPS_TOKEN": token}
        )
        self._fleet, self.idc = fleet, idc
        self._path = "/tasks/" + idc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the program."""
        self._program.communicate(timeout=10)

    def order(self, what: str, **facts: Any) -> dict[str, Any]:
        """Have something done; returns what came of it."""
        if self._program.stdin is None or self._program.stdout is None:
            raise RuntimeError("the program was started with pipes")
        self._program.stdin.write(json.dumps({"do": what, **facts}) + "\n")
        self._program.stdin.flush()
        answer: dict[str, Any] = json.loads(self._program.stdout.readline())
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer

    def open(self) -> None:
        """Let the regional client be heard."""
        self.order("open")

    def report(self, sn: str, mac: str, *, disks: str = "usual", boot: str = "b1") -> None:
        """Let an agent boot and tell its inventory."""
        self.order("report", sn=sn, mac=mac, disks=disks, boot=boot)

    def install(self, sn: str, boot: str = "b1") -> None:
        """Let the agent of an approved machine begin."""
        self.order("install", sn=sn, boot=boot)

    def tell(self, sn: str, step: str, percent: float, done: int = 0, total: int = 0, *lines: str) -> None:
        """Let the agent say how far it is."""
        self.order("tell", sn=sn, step=step, percent=percent, done=done, total=total, lines=lines)

    def finish(self, sn: str, status: str = "completed", message: str = "", code: str = "") -> None:
        """Let the agent end."""
        self.order("finish", sn=sn, status=status, message=message, code=code)

    def hand_over(self, sn: str) -> None:
        """Let the agent give its machine to a distribution's installer."""
        self.order("hand_over", sn=sn)

    def create(self, sn: str, mac: str, **more: Any) -> dict[str, Any]:
        """Create a task by the API."""
        body = {"idc": self.idc, "sn": sn, "mac": mac, "os_type": "Debian", "os_version": "12"} | more
        made: dict[str, Any] = self._fleet.post("/tasks", body)
        return made

    def approve(self, sn: str, disks: list[str]) -> None:
        """Approve by the API, once the machine has reported."""
        path = f"{self._path}/{sn}"
        until(lambda: self._fleet.get(path)["status"] == "pending_approval", f"{sn} waits for approval")
        self._fleet.post(f"{path}/approve", {"disks": disks})


DISKS = {
    "usual": (SYSTEM, DATA, STICK),
    "changed": (SYSTEM, STICK),
    "shared": (SYSTEM, CEPH),
    "one": (SYSTEM,),
    "mirror": (SYSTEM, DiskInfo("nvme1n1", 480 * GIB, serial="S4EVNX0R100002", model="SAMSUNG MZQLB480")),
}


class Told:
    """The program's end: each order by its name."""

    def __init__(self, book: AgentBook, idc: str) -> None:
        self._book, self._idc = book, idc

    async def open(self, _order: dict[str, Any]) -> None:
        """Say who serves the data centre, and that it is heard."""
        at = self._book.clock.now()
        info = RegionInfo(
            self._idc, "c1", "edge-1", "1.0.0", "http://192.0.2.1:8081", "proxy", tftp=True, started_at=at, epoch=3
        )
        lease = await self._book.store.grant(LONG_TTL_S)
        beat = RegionHeartbeat("c1", 3, at, installing=1, journal_entries=2, cache_bytes=1_840_000_000)
        await self._book.store.put(PutRequest(region_key(self._idc, "info"), encode(info)))
        await self._book.store.put(PutRequest(region_key(self._idc, "heartbeat"), encode(beat), lease.id))

    async def report(self, order: dict[str, Any]) -> None:
        """Boot an agent; one that was there before is gone."""
        key = X25519PrivateKey.generate().public_key().public_bytes_raw()
        lease = await self._book.store.grant(LONG_TTL_S)
        report = Report(
            order["sn"],
            order["mac"],
            f"4c4c4544-0000-{order['sn']}",
            hardware(order["mac"], DISKS[order["disks"]]),
            boot_id=order["boot"],
            boot_public_key=base64.b64encode(key).decode(),
        )
        before = await self._book.agent(self._idc, order["sn"])
        if before is not None and before.boot_id != order["boot"]:
            await self._book.release(self._idc, order["sn"], before.session_sha256)
        await self._book.report(self._idc, report, session(order["boot"]), lease.id)

    async def install(self, order: dict[str, Any]) -> None:
        """Take the approval and begin the first destructive step."""
        task = await self._book.take_fence(self._idc, order["sn"], order["boot"], 20)
        disks = task.approval.disks if task.approval else ()
        await self._book.begin(self._idc, BeginCall(task.sn, task.task_id, task.fence, "write-image", disks, True))

    async def tell(self, order: dict[str, Any]) -> None:
        """Tell progress and lines."""
        task = await self._book.get(self._idc, order["sn"])
        await self._book.progress(
            self._idc,
            ProgressCall(
                task.sn,
                task.task_id,
                order["step"],
                order["percent"],
                bytes_done=order["done"] or None,
                bytes_total=order["total"] or None,
                lines=tuple(order["lines"]),
                fence=task.fence,
            ),
        )

    async def hand_over(self, order: dict[str, Any]) -> None:
        """End the agent's part: what it began stays open."""
        task = await self._book.get(self._idc, order["sn"])
        call = CompleteCall(task.sn, "write-image", True, fence=task.fence, hands_over=True)
        await self._book.complete(self._idc, call)

    async def finish(self, order: dict[str, Any]) -> None:
        """Close the step and the installation."""
        task = await self._book.get(self._idc, order["sn"])
        is_good = order["status"] == "completed"
        if is_good:
            await self._book.complete(self._idc, CompleteCall(task.sn, "write-image", True, fence=task.fence))
        await self._book.finish(
            self._idc, InstallCompleteCall(task.sn, order["status"], order["message"], order["code"], task.fence)
        )


def hardware(mac: str, disks: tuple[DiskInfo, ...]) -> Hardware:
    """Return a server as its agent reads it."""
    return Hardware(
        firmware="uefi",
        vendor="Dell Inc.",
        product="PowerEdge R640",
        bios_version="2.19.1",
        cpu_model="Intel Xeon Gold 6230",
        cpu_sockets=2,
        cpu_cores=40,
        cpu_threads=80,
        mem_total_bytes=384 * GIB,
        disks=disks,
        nics=(
            NicInfo("eno1", mac, "i40e", 25_000, has_link=True),
            NicInfo("eno2", mac[:-2] + "ff", "i40e", 0, has_link=False),
        ),
    )


async def main(url: str, idc: str) -> None:
    """Read orders until there is no more."""
    async with Client([url], Login(os.environ["OPS_TOKEN"])) as client:
        told = Told(AgentBook(client, SystemClock()), idc)
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            try:
                await getattr(told, order["do"])(order)
                answer = {"ok": True}
            except Exception as error:  # noqa: BLE001 - the test is told
                answer = {"error": f"{order['do']}: {error!r}"}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""What an agent is to do next, and with what: the long poll, and the documents of an installation. Used by `api`."""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

from ops_system.model.errors import NotAllowed, NotFound
from ops_system.model.tasks import BOOTS_AGENT, ImageRef, Task, TaskStatus
from ops_system.protocol.agent import LONG_POLL_S, HardwareConfig, InstallConfig, NextData, NextOperation
from ops_system.provision import rules
from ops_system.regional.boot.answers import METHODS, answer_url
from ops_system.regional.desk import Desk
from ops_system.regional.mirror import Seat
from ops_system.regional.timely import STORE_AWAY

_log = logging.getLogger(__name__)

LOOK_AGAIN_S = 5.0
_S = TaskStatus
_SETTLED = frozenset({_S.PENDING_APPROVAL.value, _S.NEEDS_OPERATOR.value})  # until a person or a rule changes the task


def wait(reason: str, task: Task | None = None, retry_after_s: float = 0.0) -> NextOperation:
    """Return the answer that there is nothing to do yet."""
    return NextOperation(
        "wait", NextData(task.task_id if task else "", task.fence if task else 0, retry_after_s, reason)
    )


class Polling:
    """Answers getNextOperation when there is something to do, or after the long poll's time."""

    def __init__(self, desk: Desk, poll_s: float = LONG_POLL_S) -> None:
        self._desk, self._poll_s = desk, poll_s

    async def next_operation(self, sn: str, seat: Seat, is_gone: Callable[[], bool] = lambda: False) -> NextOperation:
        """Return the next operation of a machine; `wait` when nothing changed for long.

        An agent that `is_gone` meanwhile is given nothing: an approval is used once, by whoever is there.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._poll_s
        while not is_gone():
            news = self._desk.mirror.news_of(sn)
            try:
                answer = await self._decide(sn, seat)
            except STORE_AWAY as error:
                _log.info("%s waits: %s", sn, error)
                answer = wait("store_away", self._desk.mirror.task(sn), LOOK_AGAIN_S)
            left_s = until_s - loop.time()
            if answer.operation != "wait" or left_s <= 0:
                return answer
            try:
                async with asyncio.timeout(left_s if answer.data.reason in _SETTLED else min(left_s, LOOK_AGAIN_S)):
                    await news.wait()
            except TimeoutError:
                continue
        return wait("agent_gone")

    async def _decide(self, sn: str, seat: Seat) -> NextOperation:
        task, machine = self._desk.mirror.task(sn), self._desk.mirror.machine(sn)
        is_quarantined = machine is not None and bool(machine.quarantined)
        if task is None or is_quarantined:
            return wait("quarantined" if is_quarantined else "no_task", task)
        return await self._decide_task(task, seat)

    async def _decide_task(self, task: Task, seat: Seat) -> NextOperation:
        match task.status:
            case _S.PENDING | _S.BOOTING:
                await self._desk.report_again(task.sn, seat)
                return wait(task.status.value, task)
            case _S.APPROVED:
                return await self._begin(task, seat)
            case _S.INSTALLING:
                return await self._go_on(task, seat)
            case _S.PENDING_APPROVAL | _S.NEEDS_OPERATOR:
                return wait(task.status.value, task)
            case _S.COMPLETED | _S.FAILED | _S.REJECTED | _S.CANCELLED:
                return NextOperation("reboot_local", NextData(task.task_id, task.fence, reason=task.status.value))

    async def _begin(self, task: Task, seat: Seat) -> NextOperation:
        if rules.gets_worker(task) and not task.sealed_enrolment:
            return wait("no_enrolment", task)
        try:
            begun = await self._desk.take_fence(task.sn, seat)
        except NotAllowed as refused:
            return wait(str(refused.details.get("reason", "not_allowed")), task, LOOK_AGAIN_S)
        return _order(begun)

    async def _go_on(self, task: Task, seat: Seat) -> NextOperation:
        """The agent that holds the fence hears its order again; one of a later boot takes a new fence where it may."""
        held = self._desk.mirror.seat(task.sn) or seat
        if task.is_cancel_asked:
            return wait("cancel_asked", task)
        if held.lease.boot_id == seat.lease.boot_id and held.lease.fence == task.fence:
            return _order(task)
        return await self._begin(task, seat)


def _order(task: Task) -> NextOperation:
    data = NextData(task.task_id, task.fence)
    return NextOperation("rescue", data) if task.install.method == "rescue" else NextOperation("install", data)


class Documents:
    """What an installing agent reads: hardware, system, the worker's files."""

    def __init__(self, desk: Desk, base_url: str, boot_root: Path) -> None:
        self._desk, self.base_url = desk, base_url
        self._worker = boot_root / "worker.tar.gz"
        self._hashed: tuple[float, int, str] = (0.0, -1, "")

    def task(self, sn: str) -> Task:
        """Return a machine's task. Raises NotFound."""
        task = self._desk.mirror.task(sn)
        if task is None:
            raise NotFound(f"no task for machine {sn}", sn=sn)
        return task

    def is_queued(self, sn: str) -> bool:
        """Whether something is to be installed."""
        task = self._desk.mirror.task(sn)
        return task is not None and task.status in BOOTS_AGENT

    def hardware(self, sn: str) -> HardwareConfig:
        """Return what is done before the system comes."""
        task = self._installing(sn)
        layout = task.disk_layout or task.install.disk_layout
        has_arrays = layout is not None and bool(layout.raid or layout.volume_groups)
        return HardwareConfig(layout if has_arrays else None, task.install.hardware_tests)

    async def system(self, sn: str) -> InstallConfig:
        """Return what is installed, and on which disks."""
        task = self._installing(sn)
        spec, approval = task.install, task.approval
        if approval is None:
            raise NotAllowed(f"task of {sn}: there is no approval", reason="not_approved")
        protected = set(self._desk.mirror.settings.protected_serials)
        if found := protected.intersection(approval.disks):
            raise NotAllowed(f"task of {sn}: disk {min(found)} is protected", reason="disk_protected")
        worker_sha256 = await asyncio.to_thread(self._hash_worker) if rules.gets_worker(task) else ""
        return InstallConfig(
            task_id=task.task_id,
            fence=task.fence,
            install_method=spec.method,
            os_type=task.os_type,
            os_version=task.os_version,
            disks=approval.disks,
            inventory_hash=approval.inventory_hash,
            image=spec.image,
            image_url=self._image_url(spec.image),
            kickstart_url=await self._answer_url(task),
            kernel_url=self._image_url(spec.kernel),
            initrd_url=self._image_url(spec.initrd),
            kernel_args=spec.kernel_args,
            disk_layout=task.disk_layout or spec.disk_layout,
            network=task.network or spec.network,
            packages=spec.packages,
            sealed_enrolment=task.sealed_enrolment,
            worker_url=f"{self.base_url}/static/{self._worker.name}" if worker_sha256 else "",
            worker_sha256=worker_sha256,
            kernel_sha256=spec.kernel.sha256 if spec.kernel else "",
            initrd_sha256=spec.initrd.sha256 if spec.initrd else "",
            values=spec.values,
            hardware_tests=spec.hardware_tests,
            overwrite_foreign=approval.overwrite_foreign,
            enrol=rules.gets_worker(task),
        )

    async def _answer_url(self, task: Task) -> str:
        """Return where the installer of a task reads its answers, with a key of its own; empty where there is none."""
        if task.install.method not in METHODS:
            return ""
        return answer_url(self.base_url, task, await self._desk.give_installer_key(task))

    def _installing(self, sn: str) -> Task:
        task = self.task(sn)
        if task.status is not TaskStatus.INSTALLING:
            raise NotAllowed(f"task of {sn} is {task.status}: there is nothing to install", reason="not_installing")
        return task

    def _image_url(self, image: ImageRef | None) -> str:
        return f"{self.base_url}/images/{image.sha256}" if image else ""

    def _hash_worker(self) -> str:
        """Return the hash of the worker's files, read once for each version; empty where there are none."""
        try:
            stat = self._worker.stat()
            if (stat.st_mtime, stat.st_size) != self._hashed[:2]:
                with self._worker.open("rb") as file:
                    self._hashed = (stat.st_mtime, stat.st_size, hashlib.file_digest(file, "sha256").hexdigest())
        except FileNotFoundError:
            return ""
        return self._hashed[2]

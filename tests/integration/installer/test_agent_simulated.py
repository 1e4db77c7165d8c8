"""The whole agent against a small region over real HTTP, its disk a sparse file: what it does, in which order, and what
it does not do once it may not."""

import gzip
import hashlib
import io
import random
import subprocess
import tarfile
import threading

import msgspec
import pytest

from ops_system.installer.agent import Agent
from ops_system.installer.direct import DirectFile
from ops_system.installer.guard import Guard, Halt
from ops_system.installer.region import Region
from ops_system.installer.simulate import SimulatedHands, made_mac
from ops_system.model.errors import NotAllowed
from ops_system.model.layouts import DiskLayout, NetworkConfig, Partition
from ops_system.model.tasks import ImageRef
from ops_system.protocol.agent import Enrolment, InstallConfig, NextData, NextOperation, enrolment_context
from ops_system.runtime.sealing import seal
from tests.fakes.region_server import FakeRegion, serving

SN = "sn-001"
MIB = 1024 * 1024
DISK_BYTES = 64 * MIB
DISK = f"{SN}-sda"
CONTENT = random.Random(7).randbytes(21 * MIB + 4096 + 512)
INSTALL = NextOperation("install", NextData(task_id="t1", fence=1))


def packed(content: bytes, kind: str) -> bytes:
    if kind == "raw.gz":
        return gzip.compress(content, 1)
    if kind == "raw.zst":
        return subprocess.run(["zstd", "-q", "-1", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout
    return content


def ref(file: bytes, content: bytes, kind: str) -> ImageRef:
    return ImageRef(
        "debian",
        "12",
        hashlib.sha256(file).hexdigest(),
        len(file),
        hashlib.sha256(content).hexdigest(),
        len(content),
        kind,
    )


def worker_archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        entry = tarfile.TarInfo("worker")
        entry.size = 9
        tar.addfile(entry, io.BytesIO(b"#!/bin/sh"))
    return out.getvalue()


@pytest.fixture
def region():
    with serving(FakeRegion()) as region:
        yield region


def check_for_ever(guard: Guard) -> None:
    tick = threading.Event()
    while not tick.wait(0.02):
        guard.check()


class Machine:
    def __init__(self, region: FakeRegion, folder, **changes) -> None:
        self.region = region
        self.hands = SimulatedHands(SN, folder, disk_bytes=DISK_BYTES)
        self.agent = Agent(Region(region.url), self.hands, folder / "scratch", report_interval_s=0.05)
        self.disk = self.hands.device("/dev/sda")
        kind = changes.pop("kind", "raw.zst")
        file = packed(CONTENT, kind)
        worker = worker_archive()
        region.files = {"/images/x": file, "/worker.tar.gz": worker}
        region.config = msgspec.structs.replace(
            InstallConfig(
                task_id="t1", fence=1, install_method="image", os_type="Debian", os_version="12", disks=(DISK,),
                inventory_hash=self.hands.inventory().hash, image=ref(file, CONTENT, kind), image_url="/images/x",
                worker_url="/worker.tar.gz", worker_sha256=hashlib.sha256(worker).hexdigest(), enrol=False,
            ),
            **changes,
        )  # fmt: skip
        region.operations = [INSTALL]

    def start(self) -> threading.Thread:
        self.code = None

        def run() -> None:
            self.code = self.agent.run()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def run_to_end(self) -> None:
        thread = self.start()
        thread.join(60)
        assert not thread.is_alive()

    def run_to_failure(self):
        """Run until the agent has said how it ended, then switch it off."""
        thread = self.start()
        self.region.wait_for(lambda: self.region.ends)
        self.stop(thread)
        return self.region.ends[0]

    def stop(self, thread: threading.Thread) -> None:
        with self.region.changed:
            self.region.operations.append(NextOperation("power_off"))
        thread.join(60)
        assert not thread.is_alive()
        assert self.code == 10

    def is_empty(self) -> bool:
        """Whether not one byte was ever written: a sparse file without any block."""
        return self.disk.stat().st_blocks == 0


@pytest.mark.parametrize("kind", ["raw", "raw.gz", "raw.zst"])
def test_an_image_is_written_verified_and_ended_in_order(region, tmp_path, kind):
    machine = Machine(region, tmp_path, kind=kind)
    machine.run_to_end()
    assert machine.code == 0
    assert machine.disk.read_bytes()[: len(CONTENT)] == CONTENT
    assert machine.disk.stat().st_size == DISK_BYTES
    steps = ["check-disks", "wipe", "write-image", "verify-image", "grow-root"]
    assert [call.operation for call in region.begun] == steps
    assert [(call.operation, call.success) for call in region.done] == [(step, True) for step in steps]
    assert [call.operation for call in region.begun if call.is_destructive] == ["wipe", "write-image", "grow-root"]
    assert all(call.disks == (DISK,) for call in region.begun)
    assert [(end.status, end.fence) for end in region.ends] == [("completed", 1)]
    last = [call for call in region.progress if call.step == "write-image"][-1]
    assert last.bytes_total == len(CONTENT)


def test_intents_stand_before_the_first_byte(region, tmp_path):
    machine = Machine(region, tmp_path)
    region.refuse_begin["wipe"] = NotAllowed("not you", reason="disk_not_approved")
    assert machine.run_to_failure().code == "disk_not_approved"
    assert machine.is_empty()


def test_a_broken_download_goes_on_where_it_broke(region, tmp_path):
    machine = Machine(region, tmp_path, kind="raw")
    region.break_files_at = [3 * MIB + 17, 11 * MIB]
    machine.run_to_end()
    assert machine.disk.read_bytes()[: len(CONTENT)] == CONTENT
    assert region.break_files_at == []
    assert region.ranges == ["", f"bytes={3 * MIB + 17}-", f"bytes={11 * MIB}-"]


@pytest.mark.parametrize(
    ("field", "code", "is_written"),
    [("sha256", "checksum_mismatch", False), ("content_sha256", "verify_failed", True)],
)
def test_a_wrong_checksum_leaves_nothing_that_could_boot(region, tmp_path, field, code, is_written):
    machine = Machine(region, tmp_path)
    wrong = msgspec.structs.replace(region.config.image, **{field: "0" * 64})
    region.config = msgspec.structs.replace(region.config, image=wrong)
    assert machine.run_to_failure().code == code
    assert machine.disk.read_bytes()[: 4 * MIB] == bytes(4 * MIB)
    assert [call.success for call in region.done if call.operation == "write-image"] == [is_written]


def test_a_disk_that_gives_back_something_else_cannot_boot(region, tmp_path, monkeypatch):
    machine = Machine(region, tmp_path)
    honest = DirectFile.read

    def forgetful(file, buffer, offset):
        size = honest(file, buffer, offset)
        buffer[0] ^= offset == 8 * MIB
        return size

    monkeypatch.setattr(DirectFile, "read", forgetful)
    assert machine.run_to_failure().code == "verify_failed"
    assert machine.disk.read_bytes()[: 4 * MIB] == bytes(4 * MIB)


def test_an_image_longer_than_promised_writes_nothing_beyond(region, tmp_path):
    machine = Machine(region, tmp_path)
    short = msgspec.structs.replace(region.config.image, content_bytes=8 * MIB)
    region.config = msgspec.structs.replace(region.config, image=short)
    assert machine.run_to_failure().code == "image_damaged"
    assert not any(machine.disk.read_bytes()[8 * MIB :])


def test_a_truncated_stream_is_no_image(region, tmp_path):
    machine = Machine(region, tmp_path)
    cut = region.files["/images/x"][:-100_000]
    region.files["/images/x"] = cut
    assert machine.run_to_failure().code in {"image_damaged", "checksum_mismatch"}
    assert machine.disk.read_bytes()[: 4 * MIB] == bytes(4 * MIB)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"inventory_hash": "0" * 64}, "inventory_changed"),
        ({"disks": ("OTHER",)}, "disk_missing"),
        ({"disks": ("",)}, "disk_missing"),
        ({"image": None}, "invalid"),
    ],
)
def test_another_machine_or_disk_than_approved_is_never_touched(region, tmp_path, change, code):
    machine = Machine(region, tmp_path, **change)
    assert machine.run_to_failure().code in {code, "bad_plan"}
    assert machine.is_empty()


def test_a_disk_of_another_cluster_stops_it_unless_named(region, tmp_path, monkeypatch):
    def with_ceph(self, found=SimulatedHands.inventory):
        seen = found(self)
        disks = tuple(msgspec.structs.replace(disk, signatures=("ceph_bluestore",)) for disk in seen.hardware.disks)
        return msgspec.structs.replace(seen, hardware=msgspec.structs.replace(seen.hardware, disks=disks))

    monkeypatch.setattr(SimulatedHands, "inventory", with_ceph)
    machine = Machine(region, tmp_path)
    assert machine.run_to_failure().code == "disk_foreign"
    assert machine.is_empty()
    region.fence = 2  # a second attempt: what was begun under the first fence is not begun again
    region.config = msgspec.structs.replace(region.config, fence=2, overwrite_foreign=(DISK,))
    region.operations = [INSTALL]
    machine.run_to_end()
    assert region.ends[-1].status == "completed"


@pytest.mark.parametrize(
    ("lose", "code"),
    [
        (lambda region: setattr(region, "fence", 2), "stale_fence"),
        (lambda region: setattr(region, "refuse_lease", "two_agents"), "two_agents"),
    ],
)
def test_a_lost_fence_stops_the_writer_in_the_middle(region, tmp_path, lose, code):
    region.ttl_s, region.slow_file = 0.6, 0.02
    machine = Machine(region, tmp_path, kind="raw")
    thread = machine.start()
    region.wait_for(lambda: any(call.step == "write-image" and call.bytes_done for call in region.progress))
    with region.changed:
        lose(region)
        count = region.calls.count("/api/v1/lease")
    region.wait_for(lambda: region.calls.count("/api/v1/lease") > count)
    region.wait_for(lambda: any(call.operation == "write-image" for call in region.done))
    written = machine.disk.stat().st_blocks
    region.wait_for(lambda: any(code in line for line in region.lines))
    assert machine.disk.read_bytes()[: 4 * MIB] == bytes(4 * MIB)
    assert machine.disk.stat().st_blocks == written
    assert written * 512 < len(CONTENT)
    machine.stop(thread)
    assert not any(end.status == "completed" for end in region.ends)


@pytest.mark.parametrize("renews_along", [True, False])
def test_a_lease_that_progress_renews_is_not_asked_for_by_itself(region, tmp_path, renews_along):
    region.ttl_s, region.slow_file, region.renews_along = 4.5, 0.05, renews_along  # a block each 0.8 s
    machine = Machine(region, tmp_path, kind="raw")
    thread = machine.start()
    region.wait_for(lambda: any(call.step == "write-image" and call.bytes_done for call in region.progress))
    told, asked = len(region.progress), region.calls.count("/api/v1/lease")
    region.wait_for(lambda: len(region.progress) > told + 2 or region.ends)  # over 1.5 s, a third of the lease
    assert not region.ends
    assert (region.calls.count("/api/v1/lease") == asked) is renews_along
    machine.agent._guard.check()
    machine.agent._guard.lose("enough", "the test is over")
    region.wait_for(lambda: region.ends)
    machine.stop(thread)


def test_a_region_away_longer_than_the_lease_stops_the_writer(region, tmp_path):
    region.ttl_s, region.slow_file = 0.5, 0.02
    machine = Machine(region, tmp_path, kind="raw")
    thread = machine.start()
    region.wait_for(lambda: any(call.step == "write-image" and call.bytes_done for call in region.progress))
    with region.changed:
        region.away_for = 10**6
    machine.agent._guard.check()
    with pytest.raises(Halt, match="lease ran out"):
        check_for_ever(machine.agent._guard)
    with region.changed:
        region.away_for = 0
    region.wait_for(lambda: region.ends)
    assert region.ends[0].status == "needs_operator"
    assert machine.disk.read_bytes()[: 4 * MIB] == bytes(4 * MIB)
    machine.stop(thread)


def test_a_region_that_restarts_within_the_lease_changes_nothing(region, tmp_path):
    machine = Machine(region, tmp_path)
    region.away_for = 3
    thread = machine.start()
    region.wait_for(lambda: region.begun)
    with region.changed:
        region.away_for = 2
    thread.join(60)
    assert machine.code == 0
    assert region.ends[-1].status == "completed"
    assert [call.operation for call in region.begun].count("write-image") == 1


def test_a_cancel_stops_before_the_next_step(region, tmp_path):
    machine = Machine(region, tmp_path)
    region.is_cancel_asked = True
    end = machine.run_to_failure()
    assert (end.status, end.code) == ("cancelled", "cancelled")
    assert machine.is_empty()


def test_the_new_system_gets_network_worker_and_token(region, tmp_path):
    network = NetworkConfig("web-1", (), ("192.0.2.53",))
    machine = Machine(region, tmp_path, enrol=True, network=network)
    enrolment = Enrolment("https://m:8443", "opsj1.a.b.c", "web-1", {"sn": SN}, allow_plain_http=False)
    key = machine.agent._key.public_text()
    box = seal(msgspec.json.encode(enrolment), key, enrolment_context("t1"))
    region.config = msgspec.structs.replace(region.config, sealed_enrolment=box)
    machine.run_to_end()
    assert region.ends[-1].status == "completed", region.ends
    system = machine.hands.target
    token = system / "etc/ops-worker/token"
    assert token.read_text() == "opsj1.a.b.c\n"
    assert token.stat().st_mode & 0o777 == 0o600
    assert (system / "opt/ops-worker/worker").stat().st_mode & 0o111
    assert "https://m:8443" in (system / "etc/ops-worker/worker.yaml").read_text()
    unit = system / "etc/systemd/system/multi-user.target.wants/ops-worker.service"
    assert unit.is_symlink()
    assert (system / "etc/hostname").read_text() == "web-1\n"
    assert "DNS=192.0.2.53" in (system / "etc/systemd/network/10-ops.network").read_text()
    assert not any("opsj1" in line for line in region.lines)


def test_an_enrolment_for_another_boot_is_an_error(region, tmp_path):
    machine = Machine(region, tmp_path, enrol=True, sealed_enrolment="AAAA")
    assert machine.run_to_failure().code == "bad_enrolment"


def test_a_failed_agent_waits_and_never_begins_again_by_itself(region, tmp_path):
    machine = Machine(region, tmp_path)
    region.config = msgspec.structs.replace(region.config, disks=("OTHER",))
    thread = machine.start()
    region.wait_for(lambda: region.ends)
    before = len(region.calls)
    region.wait_for(lambda: region.calls[before:].count("/api/v1/device/getNextOperation") > 3)
    assert len(region.ends) == 1
    machine.stop(thread)


def test_what_was_begun_under_a_fence_is_not_begun_again(region, tmp_path):
    machine = Machine(region, tmp_path)
    region.refuse_begin["wipe"] = NotAllowed("no", reason="disk_not_approved")
    assert machine.run_to_failure().code == "disk_not_approved"
    region.refuse_begin.clear()
    region.operations = [INSTALL]
    machine.agent._sleep = lambda _s: None
    thread = machine.start()
    region.wait_for(lambda: len(region.ends) > 1)
    machine.stop(thread)
    assert (region.ends[1].status, region.ends[1].code) == ("needs_operator", "interrupted")
    assert machine.is_empty()


def test_a_tree_of_commands_is_played_step_by_step(region, tmp_path):
    layout = DiskLayout("plain", 1, (Partition("root", "rest", "ext4", "/"),))
    machine = Machine(region, tmp_path, install_method="debootstrap", image=None, disk_layout=layout)
    machine.run_to_end()
    steps = [call.operation for call in region.begun]
    assert steps == [
        "check-disks",
        "wipe",
        "partition",
        "format",
        "mount",
        "tree",
        "files",
        "bootloader",
        "close-system",
    ]
    assert "/ ext4" in (machine.hands.target / "etc/fstab").read_text()


def installer_of(machine) -> dict[str, object]:
    """Let a region name a distribution's installer; return the changes of its configuration."""
    kernel, initrd = b"kernel", gzip.compress(b"initrd")
    machine.region.files |= {"/images/k": kernel, "/images/i": initrd}
    enrolment = Enrolment("http://master.test", "opsj1.a.b.c", "web-1", {"idc": "dc1"})
    return {
        "install_method": "preseed", "image": None, "enrol": True, "kickstart_url": "http://r/preseed/x",
        "kernel_url": "/images/k", "kernel_sha256": hashlib.sha256(kernel).hexdigest(),
        "initrd_url": "/images/i", "initrd_sha256": hashlib.sha256(initrd).hexdigest(),
        "sealed_enrolment": seal(
            msgspec.json.encode(enrolment), machine.agent._key.public_text(), enrolment_context("t1")
        ),
    }  # fmt: skip


def test_a_played_installer_carries_the_worker_into_the_new_system(region, tmp_path):
    machine = Machine(region, tmp_path)
    region.config = msgspec.structs.replace(region.config, **installer_of(machine))
    loaded, run = [], machine.hands.run

    def look(command, guard, say):
        if command.argv[0] == "kexec":
            loaded.append((command, (machine.agent._scratch / "initrd").read_bytes()))
        return run(command, guard, say)

    machine.hands.run = look
    machine.run_to_end()
    assert machine.code == 0
    assert [call.operation for call in region.begun] == ["check-disks", "carry-worker", "start-installer"]
    assert [call.operation for call in region.begun if call.is_destructive] == ["start-installer"]
    assert [call.operation for call in region.done if call.hands_over] == ["start-installer"]
    command, initrd = loaded[0]
    told = command.argv[-1]
    assert told.startswith(f"--command-line=auto=true priority=critical preseed/url={region.config.kickstart_url} ")
    assert told.endswith(f" BOOTIF=01-{machine.hands.mac.replace(':', '-')}")
    assert initrd.startswith(region.files["/images/i"])
    assert b"opsj1.a.b.c" in initrd
    assert b"ops-worker/opt/ops-worker/worker" in initrd
    assert not any("opsj1" in line for line in region.lines)
    token = machine.hands.target / "etc/ops-worker/token"
    assert token.read_text() == "opsj1.a.b.c\n"
    assert [(end.status, end.fence) for end in region.ends] == [("completed", 1)]


def test_an_installer_that_does_not_start_is_said_to_have_failed(region, tmp_path):
    machine = Machine(region, tmp_path)
    region.config = msgspec.structs.replace(region.config, **installer_of(machine))

    def refuse(_carried):
        raise Halt("kexec_failed", "no")

    machine.hands.start_kernel = refuse
    end = machine.run_to_failure()
    assert (end.status, end.code) == ("failed", "kexec_failed")
    assert machine.is_empty()


def test_hardware_tests_write_nothing(region, tmp_path):
    machine = Machine(
        region, tmp_path, install_method="hardware_test", disks=(), image=None, hardware_tests=("memory", "disk", "nic")
    )
    machine.run_to_end()
    assert [call.operation for call in region.begun] == ["test-memory", "test-disk", "test-nic"]
    assert machine.is_empty()
    assert region.ends[-1].status == "completed"


def test_a_played_machine_has_the_card_of_its_task_from_its_first_report(region, tmp_path):
    region.task_mac = "00:1a:2b:3c:4d:5e"
    region.boot_script = "#!ipxe\nkernel vmlinuz ops.mode=install BOOTIF=01-00-1a-2b-3c-4d-5e\nboot\n"
    machine = Machine(region, tmp_path)
    region.operations = [NextOperation("reboot_local")]
    machine.run_to_end()
    assert region.calls[:2] == [f"/boot/none.ipxe?serial={SN}", "/api/v1/report"]
    assert [report.mac_address for report in region.reports] == ["00:1a:2b:3c:4d:5e"]


def test_a_task_made_since_the_boot_gives_its_card_too(region, tmp_path):
    region.task_mac = "00:1a:2b:3c:4d:5e"
    machine = Machine(region, tmp_path)
    region.operations = [NextOperation("reboot_local")]
    machine.run_to_end()
    assert [report.mac_address for report in region.reports] == [made_mac(SN), "00:1a:2b:3c:4d:5e"]

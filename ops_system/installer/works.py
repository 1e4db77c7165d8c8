"""What each kind of step does. Every function returns what is said when it is done, and raises Halt or OSError."""

import hashlib
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec.structs import replace

from ops_system.installer import carried, hardware_tests
from ops_system.installer.boxes import BootKey
from ops_system.installer.direct import BLOCK_BYTES, make_buffer
from ops_system.installer.download import Download
from ops_system.installer.guard import Guard, Halt
from ops_system.installer.hands import Hands
from ops_system.installer.image import ImageWriter, verify
from ops_system.installer.inventory import Inventory, probe_device
from ops_system.installer.parsers import blkid_value, partition_number
from ops_system.installer.region import Region
from ops_system.installer.reporter import Reporter
from ops_system.installer.system import put_file, put_worker, set_up_network
from ops_system.installer.unpacking import Unpacking
from ops_system.model.disk_plan import Command, reread
from ops_system.model.errors import Invalid, NotAllowed
from ops_system.model.install_plan import Step, StepKind, Wish, choose_disks
from ops_system.model.tasks import ImageRef
from ops_system.protocol.agent import Enrolment, InstallConfig, enrolment_context
from ops_system.provision.approvals import foreign_signatures
from ops_system.service.surroundings import clean_environment

_TELL_S = 0.5
_GRUBS = {("bios", "amd64"): "pc", ("uefi", "amd64"): "efi-amd64", ("uefi", "arm64"): "efi-arm64"}
_SHA256_LENGTH = 64


@dataclass(frozen=True)
class Work:
    """What the steps of one installation share. `learned` fills the braces of later commands."""

    hands: Hands
    guard: Guard
    region: Region
    reporter: Reporter
    config: InstallConfig
    wish: Wish
    found: Inventory
    key: BootKey
    scratch: Path
    learned: dict[str, str] = field(default_factory=dict)

    @property
    def carried(self) -> Path:
        """Where lies what a distribution's installer carries along."""
        return self.scratch / "carried"

    def run(self, command: Command) -> str:
        """Run one command of the plan, its braces filled."""
        argv = tuple(_filled(word, self.learned) for word in command.argv)
        stdin = _filled(command.stdin, self.learned)
        return self.hands.run(replace(command, argv=argv, stdin=stdin), self.guard, self.reporter.line)

    def teller(self, step: str) -> Callable[[int, int], None]:
        """Return what takes bytes done and in all, and tells the region now and then."""
        told_at_s = [0.0]

        def tell(done: int, total: int) -> None:
            now_s = time.monotonic()
            if done >= total or now_s - told_at_s[0] >= _TELL_S:
                told_at_s[0] = now_s
                self.reporter.progress(step, 100.0 * done / max(total, 1), done=done, total=total)

        return tell

    def fetch(self, url: str, name: str, sha256: str, step: str) -> Path:
        """Download a file into the scratch folder and check it. Raises Halt."""
        if len(sha256) != _SHA256_LENGTH:
            raise Halt("no_checksum", f"{url} has no known sha256: nothing unproven is used")
        digest, place, tell = hashlib.sha256(), self.scratch / name, self.teller(step)
        download = Download(self.region, url, check=self.guard.check)
        with place.open("wb") as file:
            for piece in download.pieces():
                digest.update(piece)
                file.write(piece)
                tell(download.done_bytes, download.total_bytes)
        if digest.hexdigest() != sha256:
            raise Halt("checksum_mismatch", f"{url} came with sha256 {digest.hexdigest()}, expected {sha256}")
        return place

    def image(self) -> ImageRef:
        """Return the image. Raises Halt when none was named."""
        if self.config.image is None or not self.config.image_url:
            raise Halt("no_image", "the regional client named no image")
        return self.config.image


# --- disks ------------------------------------------------------------------------------------------------------------
def check_disks(work: Work, step: Step) -> str:
    """Look at the machine anew: nothing may differ from what was approved (P2)."""
    now = work.hands.inventory()
    if now.hash != work.config.inventory_hash:
        raise Halt("inventory_changed", "machine or disks are not as they were when the approval was given")
    try:
        disks = choose_disks(step.disks, now.hardware)
    except NotAllowed as problem:
        raise Halt(str(problem.details.get("reason", "disk_missing")), problem.message) from problem
    if tuple(f"/dev/{disk.name}" for disk in disks) != step.devices:
        raise Halt("inventory_changed", "the disks changed their names while the plan was made")
    for disk in disks:
        foreign = foreign_signatures(disk)
        if foreign and disk.id not in work.config.overwrite_foreign:
            raise Halt("disk_foreign", f"disk {disk.id} carries {', '.join(foreign)} of another cluster")
    return f"{len(disks)} as approved"


def wipe(work: Work, step: Step) -> str:
    """Erase signatures, those of the partitions first: a later partition at the same place shows nothing old."""
    for device in step.devices:
        for name in (*work.hands.partitions(device), device):
            work.run(Command(("wipefs", "--all", "--force", name)))
        _reread(work, device)
    return ""


def _reread(work: Work, device: str) -> None:
    for command in reread(device):
        work.run(command)


def run_commands(work: Work, step: Step) -> str:
    """Run the commands of the plan as they stand."""
    for number, command in enumerate(step.commands):
        work.guard.check()
        work.run(command)
        work.reporter.progress(step.name, 100.0 * (number + 1) / len(step.commands))
    return ""


def write_image(work: Work, step: Step) -> str:
    """Stream the image onto the disk."""
    image, disk = work.image(), work.hands.device(step.devices[0])
    download = Download(work.region, work.config.image_url, check=work.guard.check)
    began_s = time.monotonic()
    with Unpacking(download.pieces(), image.format) as source:
        ImageWriter(disk, image, work.guard, work.teller(step.name)).write(source)
    _reread(work, step.devices[0])
    took_s = max(time.monotonic() - began_s, 0.001)
    return f"{image.content_bytes} bytes, {image.content_bytes / took_s / 1e6:.0f} MB/s"


def verify_image(work: Work, step: Step) -> str:
    """Read it back."""
    verify(work.hands.device(step.devices[0]), work.image(), work.guard, work.teller(step.name))
    return f"sha256 {work.image().content_sha256}"


def grow(work: Work, step: Step) -> str:
    """Let the partition that lies last grow, where its file system can."""
    device = step.devices[0]
    parts = work.hands.partitions(device)
    if not parts:
        return "no partitions: nothing grows"
    kind, table = blkid_value(probe_device(parts[-1]), "TYPE"), blkid_value(probe_device(device), "PTTYPE")
    if kind not in {"ext4", "xfs"}:
        return f"{parts[-1]} holds {kind or 'no file system'}: it stays as it is"
    work.learned.update(last=str(partition_number(parts[-1])), last_partition=parts[-1])
    for command in step.commands:
        work.guard.check()
        if command.argv[0] == "grow":
            _grow_file_system(work, parts[-1], kind)
        elif "--relocate" not in command.argv or table == "gpt":
            work.run(command)
    return f"{parts[-1]} ({kind})"


def _grow_file_system(work: Work, device: str, kind: str) -> None:
    if kind == "ext4":
        work.run(Command(("e2fsck", "-f", "-p", device), fine=(0, 1, 2)))
        work.run(Command(("resize2fs", device)))
        return
    target = str(work.hands.target)
    work.hands.target.mkdir(parents=True, exist_ok=True)
    work.run(Command(("mount", "-t", kind, device, target)))
    try:
        work.run(Command(("xfs_growfs", target)))
    finally:
        work.run(Command(("umount", target)))


# --- the new system ---------------------------------------------------------------------------------------------------
def open_system(work: Work, step: Step) -> str:
    """Mount what was written."""
    return work.hands.open_system(step.devices[0], work.guard, work.reporter.line)


def make_tree(work: Work, step: Step) -> str:
    """Unpack a tar image, or let debootstrap make the files."""
    if work.wish.method != "debootstrap":
        return _unpack_tar(work, step)
    arch = work.found.hardware.arch
    grub = _GRUBS.get((work.found.hardware.firmware, arch), "pc")
    work.learned.update(arch=arch, grub=grub)
    work.run(step.commands[0])
    return ""


def _unpack_tar(work: Work, step: Step) -> str:
    image, digest, tell = work.image(), hashlib.sha256(), work.teller(step.name)
    download = Download(work.region, work.config.image_url, check=work.guard.check)
    buffer, done = make_buffer(), 0
    argv = step.commands[0].argv
    with Unpacking(download.pieces(), image.format) as source, _tar(argv) as tar:
        assert tar.stdin is not None
        size = BLOCK_BYTES
        while size == BLOCK_BYTES:
            size = source.readinto(buffer)
            work.guard.check()
            digest.update(buffer[:size])
            tar.stdin.write(buffer[:size])
            done += size
            tell(done, image.content_bytes)
        tar.stdin.close()
        if tar.wait():
            raise Halt("program_failed", f"tar ended with {tar.returncode}")
        if source.sha256() != image.sha256 or digest.hexdigest() != image.content_sha256:
            raise Halt("checksum_mismatch", f"the image {image.name} {image.version} is not as the catalogue promised")
    return f"{done} bytes"


def _tar(argv: tuple[str, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, stdin=subprocess.PIPE, env=clean_environment(os.environ))


def put_files(work: Work, step: Step) -> str:
    """Write the small files of the plan."""
    for file in step.files:
        put_file(work.hands.target, file)
    return ", ".join(file.path for file in step.files)


def set_network(work: Work, _: Step) -> str:
    """Set up the network as the new system does it."""
    assert work.wish.network is not None
    return set_up_network(work.hands.target, work.wish.network)


def enrol(work: Work, step: Step) -> str:
    """Put the worker in place, with what was sealed to the key of this boot (P11)."""
    enrolment = open_enrolment(work.config, work.key)
    archive = work.fetch(work.config.worker_url, "worker.tar.gz", work.config.worker_sha256, step.name)
    put_worker(work.hands.target, archive, enrolment)
    archive.unlink()
    return f"joins {enrolment.master_url} on first boot"


def open_enrolment(config: InstallConfig, key: BootKey) -> Enrolment:
    """Return the enrolment. Raises Halt when it is missing or for another key."""
    if not config.sealed_enrolment:
        raise Halt("no_enrolment", "no enrolment was sealed for this machine: the new system could not join")
    try:
        plain = key.open(config.sealed_enrolment, enrolment_context(config.task_id))
        return msgspec.json.decode(plain, type=Enrolment)
    except (Invalid, msgspec.MsgspecError) as problem:
        raise Halt("bad_enrolment", f"the enrolment cannot be opened: {problem}") from problem


def carry_worker(work: Work, step: Step) -> str:
    """Lay out what the new system gets, for the memory of its installer."""
    enrolment = open_enrolment(work.config, work.key)
    archive = work.fetch(work.config.worker_url, "worker.tar.gz", work.config.worker_sha256, step.name)
    put_worker(work.carried, archive, enrolment)
    archive.unlink()
    return f"joins {enrolment.master_url} on first boot"


def close_system(work: Work, step: Step) -> str:
    """Unmount: everything is on the disk then."""
    return run_commands(work, step)


# --- other ways -------------------------------------------------------------------------------------------------------
def start_installer(work: Work, step: Step) -> str:
    """Load the distribution's installer; it is started when everything is said (`agent`)."""
    config = work.config
    kernel = work.fetch(config.kernel_url, "kernel", _sha_of(config.kernel_sha256, config.kernel_url), step.name)
    initrd = work.fetch(config.initrd_url, "initrd", _sha_of(config.initrd_sha256, config.initrd_url), step.name)
    carried.append(initrd, work.carried)
    card = f"01-{work.found.mac.replace(':', '-')}"  # as pxelinux names it; every installer asks DHCP there
    work.learned.update(kernel=str(kernel), initrd=str(initrd), answers=config.kickstart_url, boot_card=card)
    for command in step.commands:
        work.run(command)
    return f"the installer of {work.wish.os_type} {work.wish.os_version} takes over"


def _sha_of(sha256: str, url: str) -> str:
    """The checksum said, or else the one that the URL ends in (/images/SHA256)."""
    return sha256 or url.rpartition("/")[2]


def try_memory(work: Work, step: Step) -> str:
    """See `hardware_tests`."""
    return hardware_tests.try_memory(
        work.guard.check, work.teller(step.name), limit_bytes=work.hands.memory_limit_bytes
    )


def try_disk(work: Work, step: Step) -> str:
    """Read the approved disks; without any, all of them: nothing is written."""
    devices = step.devices or tuple(f"/dev/{disk.name}" for disk in work.found.hardware.disks)
    told = [
        hardware_tests.try_disk(work.hands.device(device), work.guard.check, work.teller(step.name))
        for device in devices
    ]
    return "; ".join(told)


def try_nic(work: Work, _step: Step) -> str:
    """See `hardware_tests`."""
    return "played" if work.hands.is_simulated else hardware_tests.try_nics()


WORKS: dict[StepKind, Callable[[Work, Step], str]] = {
    "check_disks": check_disks,
    "wipe": wipe,
    "run": run_commands,
    "write_image": write_image,
    "verify_image": verify_image,
    "grow": grow,
    "open_system": open_system,
    "tree": make_tree,
    "files": put_files,
    "network": set_network,
    "enrol": enrol,
    "close_system": close_system,
    "test_memory": try_memory,
    "test_disk": try_disk,
    "test_nic": try_nic,
    "carry_worker": carry_worker,
    "start_installer": start_installer,
}


def _filled(word: str, learned: dict[str, str]) -> str:
    for name, value in learned.items():
        word = word.replace(f"{{{name}}}", value)
    return word

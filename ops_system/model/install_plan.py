"""What an installation does, step by step, before any of it is done: the master's dry run and the agent's work (P9).

    image        check-disks · wipe · write-image · verify-image · grow-root · open-system · network · enrol ·
                 close-system
    a tree       check-disks · wipe · partition · raid · volumes · format · mount · tree (a tar image or debootstrap) ·
                 files · network · bootloader · enrol · close-system
    kickstart, … check-disks · carry-worker · start-installer     hardware_test: test-memory · test-disk · test-nic

Pure. A word in braces inside a command (`{root}`, `{disk}`) is something the agent learns on the way.
"""

from typing import Literal

import msgspec

from ops_system.model.catalogue import installer_args
from ops_system.model.disk_plan import TARGET, Command, DiskPlan, fstab, mdadm_conf, mount_commands, plan_disks, reread
from ops_system.model.errors import Invalid, NotAllowed
from ops_system.model.layout_checks import check_layout
from ops_system.model.layouts import DiskLayout, NetworkConfig, Partition
from ops_system.model.machines import DiskInfo, Firmware, Hardware
from ops_system.model.quantities import format_size
from ops_system.model.system_files import (
    CARRIED,
    WORKER_CONFIG,
    WORKER_HOME,
    TextFile,
    grub_files,
    name_files,
    network_files,
    worker_files,
)
from ops_system.model.tasks import ImageRef, InstallMethod, InstallSpec, Task

StepKind = Literal[
    "check_disks", "wipe", "run", "write_image", "verify_image", "grow", "open_system", "tree", "files", "network",
    "enrol", "close_system", "test_memory", "test_disk", "test_nic", "carry_worker",
    "start_installer",
]  # fmt: skip
DEFAULT_LAYOUT = DiskLayout(kind="plain", partitions=(Partition("root", "rest", "ext4", "/"),))
_INSTALLERS = frozenset({"kickstart", "preseed", "autoinstall"})
_SUITES = {"10": "buster", "11": "bullseye", "12": "bookworm", "13": "trixie", "22.04": "jammy", "24.04": "noble"}
_SHOWN_WORKER = worker_files("{master}", "{name}", {}, allow_plain_http=False)
_GRUB = 'exec "$(command -v grub-install || command -v grub2-install)" "$@"'
_MENU = "if command -v update-grub >/dev/null; then exec update-grub; fi; exec grub2-mkconfig -o /boot/grub2/grub.cfg"
_RAMDISK = (
    "if command -v update-initramfs >/dev/null; then exec update-initramfs -u -k all; fi; "
    "if command -v dracut >/dev/null; then exec dracut --force --regenerate-all; fi"
)


class Wish(msgspec.Struct, frozen=True):
    """What is to be installed, and on which disks (their ids): what a plan is made of."""

    method: InstallMethod
    task_id: str
    os_type: str = ""
    os_version: str = ""
    disks: tuple[str, ...] = ()
    image: ImageRef | None = None
    disk_layout: DiskLayout | None = None
    network: NetworkConfig | None = None
    packages: tuple[str, ...] = ()
    kernel_args: str = ""
    values: dict[str, str] = {}
    hardware_tests: tuple[str, ...] = ()
    enrol: bool = True


class Step(msgspec.Struct, frozen=True):
    """One step. `disks` are ids, `devices` their names now; a destructive step is announced before it begins (P3)."""

    name: str
    kind: StepKind
    words: str
    is_destructive: bool = False
    disks: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()
    files: tuple[TextFile, ...] = ()


def wish_of(task: Task, disks: tuple[str, ...] = ()) -> Wish:
    """Return what a task asks for, on these disks: those approved when none are given."""
    spec: InstallSpec = task.install
    approved = task.approval.disks if task.approval else ()
    return Wish(
        method=spec.method,
        task_id=task.task_id,
        os_type=spec.os_type,
        os_version=spec.os_version,
        disks=disks or approved,
        image=spec.image,
        disk_layout=task.disk_layout or spec.disk_layout,
        network=task.network or spec.network,
        packages=spec.packages,
        kernel_args=spec.kernel_args,
        values=spec.values,
        hardware_tests=spec.hardware_tests,
        enrol=spec.enrol,
    )


def plan(wish: Wish, hardware: Hardware, *, target: str = TARGET) -> tuple[Step, ...]:
    """Return the steps in order.

    Raises NotAllowed for a disk that is not there or too small, Invalid for a wish that cannot be carried out.
    """
    if wish.method == "rescue":
        return ()
    if wish.method == "hardware_test":
        return _tests(wish, choose_disks(wish.disks, hardware))
    disks = choose_disks(wish.disks, hardware)
    layout = _layout_of(wish)
    if len(disks) < layout.disks:
        raise NotAllowed(f"the layout takes {layout.disks} disks, {len(disks)} are approved", reason="too_few_disks")
    disks = disks[: layout.disks]
    tests = _tests(wish, disks)
    check = _check_step(disks)
    if wish.method in _INSTALLERS:
        return (*tests, check, *_installer_steps(wish, disks))
    if layout.kind == "image":
        return (*tests, check, *_image_steps(wish, disks[0], layout, target))
    return (*tests, check, *_tree_steps(wish, disks, layout, hardware.firmware, target))


def choose_disks(ids: tuple[str, ...], hardware: Hardware) -> tuple[DiskInfo, ...]:
    """Return the disks of these serials or WWNs, in the order given.

    Raises NotAllowed when one is not there, is there twice, is removable or cannot be written (P2).
    """
    chosen = []
    for wanted in ids:
        found = [disk for disk in hardware.disks if wanted and wanted in {disk.wwn, disk.serial}]
        if len(found) != 1:
            words = (
                "is not in this machine" if not found else "is there twice: a serial that names two disks names none"
            )
            reason = "disk_missing" if not found else "disk_ambiguous"
            raise NotAllowed(f"disk {wanted} {words}", reason=reason, disk=wanted)
        if found[0].is_removable or found[0].is_read_only:
            words = "can be taken out" if found[0].is_removable else "is read-only"
            raise NotAllowed(f"disk {wanted} {words}: it is not written", reason="disk_unfit", disk=wanted)
        chosen.append(found[0])
    if len({disk.name for disk in chosen}) != len(chosen):
        raise NotAllowed("two of the approved names are one disk", reason="disk_ambiguous")
    return tuple(chosen)


def is_tree(image: ImageRef | None) -> bool:
    """Whether an image is the files of a system, to be unpacked into file systems."""
    return image is not None and image.format.startswith("tar")


def suite_of(wish: Wish) -> str:
    """Return the code name debootstrap wants. Raises Invalid."""
    suite = wish.values.get("suite") or _SUITES.get(wish.os_version, wish.os_version)
    if not suite.isalpha():
        raise Invalid(f"os_version: {wish.os_version} has no known code name; put it into the profile's value 'suite'")
    return suite


def _layout_of(wish: Wish) -> DiskLayout:
    """The layout asked for; none: whatever the method needs. Raises Invalid."""
    makes_tree = wish.method == "debootstrap" or is_tree(wish.image)
    layout = wish.disk_layout or (DEFAULT_LAYOUT if makes_tree else DiskLayout())
    if wish.method in _INSTALLERS:
        return layout
    if makes_tree != (layout.kind == "plain"):
        need = "kind plain: its files want file systems" if makes_tree else "kind image: it brings its own"
        raise Invalid(f"disk_layout: this installation takes a layout of {need}", field="disk_layout")
    if wish.method == "image" and wish.image is None:
        raise Invalid("install: there is no image to write", field="image")
    check_layout(layout)
    return layout


def _ids(disks: tuple[DiskInfo, ...]) -> tuple[str, ...]:
    return tuple(disk.id for disk in disks)


def _named(disks: tuple[DiskInfo, ...]) -> tuple[str, ...]:
    return tuple(f"/dev/{disk.name}" for disk in disks)


def _shown(disks: tuple[DiskInfo, ...]) -> str:
    return ", ".join(f"{disk.id} (/dev/{disk.name} now, {format_size(disk.size_bytes)})" for disk in disks)


def _check_step(disks: tuple[DiskInfo, ...]) -> Step:
    words = f"Compare machine and disks with what was approved: {_shown(disks)}"
    return Step("check-disks", "check_disks", words, disks=_ids(disks), devices=_named(disks))


def _wipe_step(disks: tuple[DiskInfo, ...]) -> Step:
    commands = tuple(Command(("wipefs", "--all", "--force", f"{name}*")) for name in _named(disks))
    words = f"Erase every signature of {_shown(disks)} and of their partitions; EVERYTHING ON THEM IS LOST"
    return Step("wipe", "wipe", words, True, _ids(disks), _named(disks), commands)


def _image_steps(wish: Wish, disk: DiskInfo, layout: DiskLayout, target: str) -> tuple[Step, ...]:
    image, ids, devices = wish.image, (disk.id,), (f"/dev/{disk.name}",)
    assert image is not None
    if image.content_bytes > disk.size_bytes:
        raise NotAllowed(
            f"disk {disk.id} has {disk.size_bytes} bytes, the image {image.content_bytes}", reason="disk_too_small"
        )
    name = f"{image.name} {image.version} ({format_size(image.content_bytes)}, sha256 {image.content_sha256[:12]}…)"
    steps = [
        _wipe_step((disk,)),
        Step("write-image", "write_image", f"Write {name} to {devices[0]}", True, ids, devices),
        Step("verify-image", "verify_image", f"Read it back from {devices[0]} and compare", False, ids, devices),
    ]
    if layout.grow_root:
        words = f"Let the last partition of {devices[0]} and its file system grow to the disk's end"
        steps.append(Step("grow-root", "grow", words, True, ids, devices, _grow_commands(devices[0])))
    if wish.network or wish.enrol:
        words = f"Find the partition with /etc/os-release and mount it on {target}"
        opened = Command(("mount", "{root}", target))
        steps.append(Step("open-system", "open_system", words, False, ids, devices, (opened,)))
        steps += _last_steps(wish, disk.id, target)
    return tuple(steps)


def _grow_commands(device: str) -> tuple[Command, ...]:
    return (
        Command(("sfdisk", "--quiet", "--no-reread", "--force", "--relocate", "gpt-bak-std", device)),
        Command(("sfdisk", "--quiet", "--no-reread", "--force", "-N", "{last}", device), ", +\n"),
        *reread(device),
        Command(("grow", "{last_partition}")),
    )


def _tree_steps(
    wish: Wish, disks: tuple[DiskInfo, ...], layout: DiskLayout, firmware: Firmware, target: str
) -> tuple[Step, ...]:
    made = plan_disks(layout, disks, firmware, wish.task_id)
    ids, devices = _ids(disks), _named(disks)

    def disk_step(name: str, words: str, commands: tuple[Command, ...]) -> tuple[Step, ...]:
        return (Step(name, "run", words, True, ids, devices, commands),) if commands else ()

    what = ", ".join(f"{place.device} {place.filesystem} {place.mount}".rstrip() for place in made.places)
    return (
        _wipe_step(disks),
        *disk_step("partition", f"Write a new GPT to {', '.join(devices)}", made.partition),
        *disk_step("raid", "Make the arrays", made.raid),
        *disk_step("volumes", "Make volume groups and logical volumes", made.volumes),
        *disk_step("format", f"Make file systems: {what}", made.format),
        Step("mount", "run", f"Mount them below {target}", commands=mount_commands(made, target)),
        _tree_step(wish, ids, target),
        Step("files", "files", "Write fstab and names", disks=ids, files=_system_files(wish, made)),
        *disk_step(
            "bootloader", f"Install GRUB ({firmware}) on {', '.join(devices)}", _grub(made, devices, firmware, target)
        ),
        *_last_steps(wish, ids[0], target),
    )


def _tree_step(wish: Wish, ids: tuple[str, ...], target: str) -> Step:
    if wish.method == "debootstrap":
        mirror = wish.values.get("mirror", "http://deb.debian.org/debian")
        names = ",".join(("linux-image-{arch}", "grub-{grub}", "systemd-sysv", *wish.packages))
        command = Command(("debootstrap", "--arch={arch}", f"--include={names}", suite_of(wish), target, mirror))
        return Step(
            "tree", "tree", f"Unpack {wish.os_type} {wish.os_version} from {mirror}", disks=ids, commands=(command,)
        )
    image = wish.image
    assert image is not None
    words = f"Unpack {image.name} {image.version} ({format_size(image.content_bytes)}) into {target}"
    return Step(
        "tree", "tree", words, disks=ids, commands=(Command(("tar", "-x", "--numeric-owner", "-p", "-C", target)),)
    )


def _system_files(wish: Wish, made: DiskPlan) -> tuple[TextFile, ...]:
    raid = (TextFile("/etc/mdadm/mdadm.conf", mdadm_conf(made)),) if made.arrays else ()
    return (TextFile("/etc/fstab", fstab(made)), *raid, *grub_files(wish.kernel_args))


def _grub(made: DiskPlan, devices: tuple[str, ...], firmware: Firmware, target: str) -> tuple[Command, ...]:
    inside = ("chroot", target)
    binds = [Command(("mount", "--bind", f"/{name}", f"{target}/{name}")) for name in ("dev", "proc", "sys")]
    installs = []
    if firmware == "bios":
        installs = [_chroot_grub(inside, "--target=i386-pc", "--recheck", device) for device in devices]
    for number, esp in enumerate(made.esps):
        place = "/boot/efi" if number == 0 else f"/boot/efi{number + 1}"
        if number:
            installs += [
                Command(("mkdir", "-p", f"{target}{place}")), Command(("mount", "-t", "vfat", esp, f"{target}{place}"))
            ]  # fmt: skip
        installs.append(
            _chroot_grub(
                inside, "--target=x86_64-efi", f"--efi-directory={place}", "--removable", "--no-nvram", "--recheck"
            )
        )
    ramdisk = [Command((*inside, "sh", "-c", _RAMDISK))] if made.arrays or made.has_lvm else []
    return (*binds, *ramdisk, *installs, Command((*inside, "sh", "-c", _MENU)))


def _chroot_grub(inside: tuple[str, ...], *words: str) -> Command:
    return Command((*inside, "sh", "-c", _GRUB, "grub-install", *words))


def _last_steps(wish: Wish, disk: str, target: str) -> tuple[Step, ...]:
    steps = []
    if wish.network:
        words = "Set host name and network the way the new system does it (netplan, networkd, ifupdown, NetworkManager)"
        files = (*name_files(wish.network.hostname), *network_files("networkd", wish.network))
        steps.append(Step("network", "network", words, disks=(disk,), files=files))
    if wish.enrol:
        words = f"Put the worker into {WORKER_HOME} and its one-time token into {WORKER_CONFIG}; it joins on first boot"
        steps.append(Step("enrol", "enrol", words, disks=(disk,), files=_SHOWN_WORKER))
    unmount = Command(("umount", "--recursive", target))
    return (*steps, Step("close-system", "close_system", "Unmount and flush", disks=(disk,), commands=(unmount,)))


def _installer_steps(wish: Wish, disks: tuple[DiskInfo, ...]) -> tuple[Step, ...]:
    args = f"{installer_args(wish.method, '{answers}')} BOOTIF={{boot_card}} {wish.kernel_args}".strip()
    command = Command(("kexec", "-l", "{kernel}", "--initrd={initrd}", f"--command-line={args}"))
    what = f"{wish.os_type} {wish.os_version}"
    words = f"Start the installer of {what}; it wipes {_shown(disks)} by its {wish.method} file"
    start = Step("start-installer", "start_installer", words, True, _ids(disks), _named(disks), (command,))
    if not wish.enrol:
        return (start,)
    words = (
        f"Put the worker and its one-time token into the memory of the installer, {CARRIED}; its last command copies "
        f"them to {WORKER_HOME} and {WORKER_CONFIG} of the new system"
    )
    return (Step("carry-worker", "carry_worker", words, disks=_ids(disks), files=_SHOWN_WORKER), start)


def _tests(wish: Wish, disks: tuple[DiskInfo, ...]) -> tuple[Step, ...]:
    known: dict[str, Step] = {
        "memory": Step("test-memory", "test_memory", "Write patterns to the free memory and read them back"),
        "disk": Step("test-disk", "test_disk", f"Read {_shown(disks) or 'every disk'}; nothing is written"),
        "nic": Step("test-nic", "test_nic", "Look at link and errors of every network card"),
    }
    known["disk"] = msgspec.structs.replace(known["disk"], disks=_ids(disks), devices=_named(disks))
    return tuple(known[name] for name in wish.hardware_tests if name in known)

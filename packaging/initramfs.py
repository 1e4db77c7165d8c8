"""`make initramfs`: what a machine boots into from the network, out of Debian's packages: the --boot-root of a region.

Usage: initramfs.py [--kernel PACKAGE] [--agent FOLDER] [--out FOLDER]

Makes vmlinuz, agent.cpio.zst, worker.tar.gz, undionly.kpxe, snponly.efi and local.efi out of what
`build.py worker install-agent` built, unless they are newer than all they are made of. Nothing is installed and no
root is needed: packages are downloaded and unpacked below build/initramfs. `--kernel linux-image-amd64` takes the
kernel with the drivers of real hardware (the default is the small one: virtio, NVMe, VMware, Hyper-V, cloud cards).
"""

import argparse
import fcntl
import gzip
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import zstandard

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # what a machine boots is told by the roles themselves
RAMDISK = ROOT / "packaging" / "ramdisk"
CACHE = ROOT / "build" / "initramfs"
KERNEL = "linux-image-cloud-amd64"
BOOT_FILES = {"undionly.kpxe": "usr/lib/ipxe/undionly.kpxe", "snponly.efi": "usr/lib/ipxe/snponly.efi"}
LOCAL_LOADER = "local.efi"
LOCAL_MODULES = (
    "normal", "memdisk", "tar", "test", "regexp", "echo", "minicmd", "part_gpt", "part_msdos", "fat", "chain",
)  # fmt: skip
PRODUCTS = ("vmlinuz", "agent.cpio.zst", "worker.tar.gz", *BOOT_FILES, LOCAL_LOADER)
STAMP = ".kernel"
AGENT = ROOT / "build" / "install-agent-folder" / "install-agent"
SEARCHED = ("usr/sbin", "usr/bin", "sbin", "bin")
LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu")

# Drivers that are found by what the bus reports, and what the disks' layouts need.
DRIVER_FOLDERS = (
    "drivers/ata", "drivers/block", "drivers/hv", "drivers/md", "drivers/message/fusion", "drivers/net/ethernet",
    "drivers/net/hyperv", "drivers/net/vmxnet3", "drivers/nvme/host", "drivers/scsi", "drivers/virtio",
    "drivers/usb/host", "drivers/usb/storage", "drivers/hid/usbhid",
)  # fmt: skip
DRIVERS = (
    "virtio_net", "virtio-rng", "efivarfs", "xfs", "vfat", "ext4", "nls_ascii", "nls_cp437", "nls_utf8",
    "crc32c_generic", "crc32c-intel", "loop",
)  # fmt: skip
NOT_NEEDED = re.compile(
    r"/(drbd|rbd|nbd|aoe|null_blk|xen-|bcache|dm-cache|dm-era|dm-zoned|scsi_debug|target|infiniband)"
)
LOADED_ALWAYS = ("dm-mod", "md-mod", "efivarfs", "virtio-rng")
FOLDERS = (
    "bin", "sbin", "usr/bin", "usr/sbin", "lib", "lib64", "usr/lib", "etc", "dev", "proc", "sys", "run", "tmp", "root",
    "mnt", "opt", "var",
)  # fmt: skip


# --- the archive ------------------------------------------------------------------------------------------------------
def cpio(root: Path) -> Iterator[bytes]:
    """Yield a "newc" archive of everything below `root`, owned by root, always the same for the same files.

    The console's device node is added: it must be there before /dev is mounted, and to make one here needs root.
    """
    number = 0
    for number, path in enumerate(sorted(root.rglob("*")), 1):
        state = path.lstat()
        if path.is_symlink():
            yield _entry(str(path.relative_to(root)), number, state.st_mode, os.fsencode(path.readlink()))
        elif path.is_dir():
            yield _entry(str(path.relative_to(root)), number, state.st_mode, b"")
        else:
            yield _entry(str(path.relative_to(root)), number, state.st_mode, path.read_bytes())
    yield _entry("dev/console", number + 1, 0o020600, b"", device=(5, 1))
    yield _entry("TRAILER!!!", 0, 0, b"")


def _entry(name: str, number: int, mode: int, data: bytes, device: tuple[int, int] = (0, 0)) -> bytes:
    """Return one entry (linux/Documentation/driver-api/early-userspace/buffer-format)."""
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


# --- Debian's packages ------------------------------------------------------------------------------------------------
def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a program; return what it printed. Ends this one with its words when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def unpack(package: str) -> Path:
    """Return the folder a Debian package is unpacked in; downloaded once."""
    folder = CACHE / "packages" / package
    if folder.is_dir():
        return folder
    downloads = CACHE / "downloads" / package
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir(parents=True)
    run("apt-get", "-qq", "download", package, cwd=downloads)
    half = folder.with_name(f"{package}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    for archive in downloads.glob("*.deb"):
        run("dpkg-deb", "-x", archive, half)
    shutil.rmtree(downloads)
    half.rename(folder)
    return folder


def kernel_package(package: str) -> str:
    """Return the package with the kernel itself: `linux-image-cloud-amd64` only names the newest."""
    depends = re.search(r"^Depends: (linux-image-[0-9][^\s,]*)", run("apt-cache", "show", package), re.MULTILINE)
    return depends.group(1) if depends else package


def with_missing_dependencies(packages: Iterable[str]) -> list[str]:
    """Return packages this machine has not installed, and what they need in turn."""
    wanted = sorted(set(packages))
    if not wanted:
        return []
    lines = run("apt-get", "-qq", "--print-uris", "--no-install-recommends", "--reinstall", "install", *wanted)
    return [line.split()[1].split("_")[0] for line in lines.splitlines() if line.startswith("'")]


# --- programs and their libraries -------------------------------------------------------------------------------------
class Programs:
    """Finds programs and libraries, on this machine or in packages it has not."""

    def __init__(self, wanted: dict[str, str]) -> None:
        missing = [package for name, package in wanted.items() if _here(name) is None]
        self._roots = [Path("/"), *(unpack(package) for package in with_missing_dependencies(missing))]
        self.paths = {name: self._find(name, package) for name, package in wanted.items()}

    def _find(self, name: str, package: str) -> Path:
        for root in self._roots:
            for folder in SEARCHED:
                if (path := root / folder / name).is_file():
                    return path
        sys.exit(f"{name}: not in Debian's package {package}; look at ops_system/installer/programs.py")

    @property
    def library_folders(self) -> str:
        """Where libraries lie that this machine has not, as LD_LIBRARY_PATH wants it."""
        return ":".join(str(root / folder) for root in self._roots[1:] for folder in LIBRARIES)

    def libraries(self, files: Iterable[Path]) -> dict[str, Path]:
        """Return path in the initramfs -> file, for every library these executables load."""
        found: dict[str, Path] = {}
        for file in files:
            command = ["env", f"LD_LIBRARY_PATH={self.library_folders}", "ldd", str(file)]
            said = subprocess.run(command, capture_output=True, text=True, check=False)
            for line in said.stdout.splitlines():
                if "not found" in line:
                    sys.exit(f"{file}: needs {line.strip()}")
                if match := re.search(r"(?:(\S+) => )?(/\S+) \(0x", line):
                    library = Path(match.group(2))
                    found[_place_of(library)] = library.resolve()
        return found


def _here(name: str) -> Path | None:
    return next((Path("/") / folder / name for folder in SEARCHED if (Path("/") / folder / name).is_file()), None)


def _place_of(library: Path) -> str:
    """Return where a library goes: the loader keeps its full name, the others lie where the loader looks."""
    return str(library).lstrip("/") if library.name.startswith("ld-linux") else f"usr/lib/{library.name}"


# --- kernel modules ---------------------------------------------------------------------------------------------------
def add_modules(kernel: Path, root: Path) -> str:
    """Copy the drivers and what they depend on; return the kernel's release."""
    (release,) = (path.name for path in (kernel / "lib/modules").iterdir())
    source = kernel / "lib/modules" / release
    everything = {_module_name(path): path for path in source.rglob("*.ko")}
    wanted = {_module_name(path) for folder in DRIVER_FOLDERS for path in (source / "kernel" / folder).rglob("*.ko")}
    wanted = {name for name in wanted if not NOT_NEEDED.search(str(everything[name]))}
    todo = sorted(wanted | {name.replace("-", "_") for name in (*DRIVERS, *LOADED_ALWAYS)})
    taken: set[str] = set()
    while todo:
        name = todo.pop()
        if name in taken or name not in everything:  # built into this kernel
            continue
        taken.add(name)
        todo += _needs(everything[name])
        target = root / "lib/modules" / release / everything[name].relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(everything[name], target)
    for name in ("modules.builtin", "modules.order"):
        shutil.copyfile(source / name, root / "lib/modules" / release / name)
    return release


def _module_name(path: Path) -> str:
    return path.stem.replace("-", "_")


def _needs(module: Path) -> list[str]:
    """Return what a module depends on, as its .modinfo says."""
    found = re.search(rb"\0depends=([^\0]+)\0", module.read_bytes())
    return [name.replace("-", "_") for name in found.group(1).decode().split(",")] if found else []


# --- the root ---------------------------------------------------------------------------------------------------------
def build_root(root: Path, kernel: Path, agent: Path, programs: dict[str, str]) -> None:
    """Lay out everything the machine has in its RAM."""
    shutil.rmtree(root, ignore_errors=True)
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    busybox = unpack("busybox-static") / "bin/busybox"
    _copy(busybox, root / "bin/busybox")
    for name in run(busybox, "--list").split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "sbin/modprobe").symlink_to("../bin/busybox")  # what the kernel itself calls
    release = add_modules(kernel, root)
    run(busybox, "depmod", "-b", root, release)
    shutil.copytree(agent, root / "opt/agent", symlinks=True)
    found = Programs(programs)
    for name, path in found.paths.items():
        _copy(path, root / "usr/sbin" / name)
    for place, library in found.libraries(found.paths.values()).items():
        _copy(library, root / place)
    frozen = [path for path in (root / "opt/agent").rglob("*") if path.is_file() and _is_elf(path)]
    own = {path.name for path in frozen}  # the frozen program brings these itself
    for place, library in found.libraries(frozen).items():
        if library.name not in own and Path(place).name not in own:
            _copy(library, root / place)
    _write_settings(root)
    _copy(RAMDISK / "init", root / "init")
    _copy(RAMDISK / "udhcpc.script", root / "etc/udhcpc.script")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _write_settings(root: Path) -> None:
    settings = {
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
        "etc/group": "root:x:0:\n",
        "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        "etc/modules": "\n".join(LOADED_ALWAYS) + "\n",
        "etc/ld.so.conf": "/usr/lib\n",
    }
    for name, text in settings.items():
        (root / name).write_text(text)


# --- what comes out ---------------------------------------------------------------------------------------------------
def write_initramfs(root: Path, target: Path) -> None:
    """Write the archive, compressed as the kernel can read it."""
    half = target.with_name(f".{target.name}.new")
    with half.open("wb") as file:
        compressor = zstandard.ZstdCompressor(level=10, threads=-1, write_checksum=True)
        with compressor.stream_writer(file, closefd=False) as writer:
            for entry in cpio(root):
                writer.write(entry)
    half.replace(target)


def write_worker(worker: Path, target: Path) -> None:
    """Write what an agent puts into a new system: the worker's executable."""
    half = target.with_name(f".{target.name}.new")
    with gzip.GzipFile(half, "wb", compresslevel=1, mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("worker")
        entry.size, entry.mode = worker.stat().st_size, 0o755
        with worker.open("rb") as file:
            tar.addfile(entry, file)
    half.replace(target)


def write_local_loader(target: Path, config: str) -> None:
    """Write a GRUB for UEFI that does what `config` says: machines that are done go to their disk by it."""
    found = Programs({"grub-mkimage": "grub-common"})
    modules = unpack("grub-efi-amd64-bin") / "usr/lib/grub/x86_64-efi"
    memdisk, half = CACHE / "local.tar", target.with_name(f".{target.name}.new")
    with tarfile.open(memdisk, "w") as tar:
        entry = tarfile.TarInfo("grub.cfg")
        entry.size = len(config.encode())
        tar.addfile(entry, io.BytesIO(config.encode()))
    command = ("env", f"LD_LIBRARY_PATH={found.library_folders}", found.paths["grub-mkimage"], "-O", "x86_64-efi")
    run(*command, "-d", modules, "-m", memdisk, "-p", "(memdisk)/", "-o", half, *LOCAL_MODULES)
    half.replace(target)


def agent_programs() -> dict[str, str]:
    """Return program -> Debian package, as the agent itself names them."""
    from ops_system.installer.programs import PROGRAMS

    return dict(PROGRAMS)


def local_config() -> str:
    """Return how GRUB finds the loader on a disk, as the regional client tells it elsewhere."""
    from ops_system.regional.boot.menus import grub_local

    return grub_local()


def is_fresh(out: Path, kernel: str, sources: Iterable[Path]) -> bool:
    """Return whether everything is there, of this kernel, and newer than its sources."""
    products = [out / name for name in PRODUCTS]
    stamp = out / STAMP
    if not all(path.is_file() for path in products) or not stamp.is_file() or stamp.read_text() != kernel:
        return False
    return stamp.stat().st_mtime >= max(path.stat().st_mtime for path in sources)


def sources_of(agent: Path, worker: Path) -> list[Path]:
    """Return the files a boot root is made of, but for Debian's."""
    roles = ROOT / "ops_system"
    own = [Path(__file__), roles / "installer/programs.py", roles / "regional/boot/menus.py", *RAMDISK.iterdir()]
    return [*own, worker, *(path for path in agent.rglob("*") if path.is_file())]


def build(out: Path, kernel_name: str, agent: Path, worker: Path) -> None:
    """Make every product."""
    kernel = unpack(kernel_package(kernel_name))
    (image,) = (kernel / "boot").glob("vmlinuz-*")
    shutil.copyfile(image, out / "vmlinuz")
    for name, path in BOOT_FILES.items():
        shutil.copyfile(unpack("ipxe") / path, out / name)
    build_root(CACHE / "root", kernel, agent, agent_programs())
    write_initramfs(CACHE / "root", out / "agent.cpio.zst")
    write_worker(worker, out / "worker.tar.gz")
    write_local_loader(out / LOCAL_LOADER, local_config())
    (out / STAMP).write_text(kernel_name)


def main(argv: list[str]) -> int:
    """Build the boot root."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kernel", default=KERNEL, help="Debian package of the kernel")
    parser.add_argument("--agent", type=Path, help="folder with `install-agent` in it; default: the frozen one")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "boot")
    options = parser.parse_args(argv)
    started = time.monotonic()
    agent, worker = options.agent or AGENT, ROOT / "dist" / "worker"
    if not (agent / "install-agent").is_file() or not worker.is_file():
        print("the agent or the worker is not built: run `make initramfs`", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_fresh(options.out, options.kernel, sources_of(agent, worker)):
            build(options.out, options.kernel, agent, worker)
    for path in (options.out / name for name in PRODUCTS):
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    print(f"{time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

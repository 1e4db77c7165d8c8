"""What a Windows machine is, from the registry and psutil. Imported on Windows only; not proven on a real one yet."""

import platform
import sys

from ops_system.model.nodes import Disk
from ops_system.worker.fingerprint.partitions import partitions


class WindowsProbe:
    """Reads the registry; an absent key is an empty answer."""

    def platform(self) -> str:
        """Return e.g. "Windows 10 10.0.19045"."""
        return f"Windows {platform.release()} {platform.version()}".strip()

    def kernel(self) -> str:
        """Return the NT version."""
        return platform.version()

    def boot_id(self) -> str:
        """Return the moment of the boot by the clock as it was then: Windows has no random boot id."""
        return _boot_id()

    def machine_id(self) -> str:
        """Return MachineGuid, made when Windows was installed."""
        return _registry(r"SOFTWARE\Microsoft\Cryptography", "MachineGuid")

    def cpu_model(self) -> str:
        """Return the name of the first processor."""
        return _registry(r"HARDWARE\DESCRIPTION\System\CentralProcessor\0", "ProcessorNameString").strip()

    def disks(self) -> tuple[Disk, ...]:
        """Return drives with a file system."""
        return partitions()


if sys.platform == "win32":
    import winreg

    from ops_system.processes.windows_api import read_boot_id as _boot_id

    def _registry(path: str, name: str) -> str:
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path, 0, winreg.KEY_READ | winreg.KEY_WOW64_64KEY) as key:
                return str(winreg.QueryValueEx(key, name)[0])
        except OSError:
            return ""

else:

    def _boot_id() -> str:
        raise OSError(f"{sys.platform} does not tell Windows' boot time")

    def _registry(path: str, name: str) -> str:
        raise OSError(f"no registry on {sys.platform} to read {name} of {path} from")

"""Temperatures of a Linux machine out of /sys. Used by the sampler, beside its pass: a sensor may be slow.

Source: Documentation/hwmon/sysfs-interface.rst, Documentation/driver-api/thermal/sysfs-api.rst.
"""

import contextlib
from pathlib import Path

MAX_SENSORS = 32
_COLDEST, _HOTTEST = -50.0, 250.0  # what lies beyond is a sensor that is not connected


def read_temperatures(sys: Path = Path("/sys")) -> dict[str, float]:
    """Return degrees Celsius by `chip:sensor`; the thermal zones where no chip tells any."""
    found: dict[str, float] = {}
    for chip in _by_number(sys / "class/hwmon", "hwmon"):
        name = _word(chip / "name") or chip.name
        if any(key.startswith(f"{name}:") for key in found):
            name = f"{name}_{chip.name.removeprefix('hwmon')}"
        for path in sorted(chip.glob("temp*_input")):
            number = path.name.removeprefix("temp").removesuffix("_input")
            _add(found, f"{name}:{_word(chip / f'temp{number}_label') or number}", path)
    if not found:
        for zone in _by_number(sys / "class/thermal", "thermal_zone"):
            _add(found, f"{_word(zone / 'type') or 'zone'}:{zone.name.removeprefix('thermal_zone')}", zone / "temp")
    return dict(list(found.items())[:MAX_SENSORS])


def _by_number(folder: Path, prefix: str) -> list[Path]:
    numbered = [path for path in folder.glob(f"{prefix}*") if path.name.removeprefix(prefix).isdigit()]
    return sorted(numbered, key=lambda path: int(path.name.removeprefix(prefix)))


def _word(path: Path) -> str:
    """Return a name as it may stand in a series: without colons and blanks; empty when there is none."""
    with contextlib.suppress(OSError):
        words = path.read_text(encoding="utf-8", errors="replace").replace(":", " ").split()
        return "_".join(words)[:40]
    return ""


def _add(found: dict[str, float], key: str, path: Path) -> None:
    with contextlib.suppress(OSError, ValueError):  # a sensor that is asleep answers EAGAIN or nothing
        celsius = int(path.read_text(encoding="ascii")) / 1000
        if _COLDEST < celsius < _HOTTEST:
            found.setdefault(key, celsius)

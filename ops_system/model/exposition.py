"""Numbers in Prometheus' text format (version 0.0.4), as the `/metrics` pages of master and worker tell them. Pure.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LABEL_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})
_CORE = re.compile(r"cpu(\d+)_percent")

Row = tuple[Mapping[str, str] | str, float]
"""Labels and a value; labels as text are written already, with their braces."""


class Family(NamedTuple):
    """All samples of one name. A name that ends in `_total` is a counter, any other a gauge."""

    name: str
    help: str
    rows: Sequence[Row]


def render(families: Iterable[Family]) -> str:
    """Return the text. What is not a number, and a family without samples, is left out."""
    lines: list[str] = []
    for family in families:
        known = [row for row in family.rows if not math.isnan(row[1])]
        samples = [f"{family.name}{_labels(labels)} {_number(value)}" for labels, value in known]
        if samples:
            lines += [_head(family.name, family.help)[:-1], *samples]
    return "\n".join([*lines, ""])


class Sheet:
    """Samples of many subjects, put in one by one and told name by name, in pieces: a large fleet has much to tell.

    `help_of` gives the HELP text of a name, empty for none.
    """

    def __init__(self, help_of: Callable[[str], str]) -> None:
        self._help_of = help_of
        self._lines: dict[str, list[str]] = {}

    def put(self, name: str, labels: str, value: float) -> None:
        """Add a sample; `labels` as `write_labels` wrote them. What is not a number is left out."""
        if value == value:  # noqa: PLR0124 - only NaN differs from itself
            self._lines.setdefault(name, []).append(f"{name}{labels} {_number(value)}\n")

    def pieces(self, lines: int) -> Iterator[str]:
        """Return the text in pieces of so many samples at most."""
        for name, samples in self._lines.items():
            yield _head(name, self._help_of(name))
            for first in range(0, len(samples), lines):
                yield "".join(samples[first : first + lines])


def _head(name: str, help_text: str) -> str:
    told = f"# HELP {name} {help_text.translate(_HELP_ESCAPES)}\n" if help_text else ""
    return f"{told}# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}\n"


def write_labels(labels: Mapping[str, str]) -> str:
    """Return labels with their braces."""
    return _labels(labels)


def _labels(labels: Mapping[str, str] | str) -> str:
    if isinstance(labels, str):
        return labels
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{text.translate(_LABEL_ESCAPES)}"' for key, text in labels.items()) + "}"


def _number(value: float) -> str:
    return f"{value:.15g}" if math.isfinite(value) else ("+Inf" if value > 0 else "-Inf")


def single(name: str, help_text: str, value: float) -> Family:
    """Return a family of one sample without labels."""
    return Family(name, help_text, [({}, value)])


def name_extra(series: str) -> tuple[str, dict[str, str]]:
    """Return the name and the labels of a series that varies by machine (`model.metrics`).

    `disk:/var:used_percent` → `ops_node_mount_used_percent{mount="/var"}`. One of an unknown kind keeps its name as a
    label of `ops_node_extra`.
    """
    core = _CORE.fullmatch(series)
    if core is not None:
        return "ops_node_core_cpu_percent", {"core": core[1]}
    kind, _, rest = series.partition(":")
    what, _, ending = rest.rpartition(":")
    if kind in _KINDS and what and re.fullmatch(r"[a-z_]+", ending):
        noun, label = _KINDS[kind]
        return f"ops_node_{noun}_{ending}", {label: what}
    return "ops_node_extra", {"series": series}


_KINDS = {
    "disk": ("mount", "mount"),
    "diskio": ("disk", "device"),
    "net": ("net_interface", "interface"),
    "temp": ("temperature", "sensor"),
    "pressure": ("pressure", "resource"),
}

HELP = {
    "cpu_percent": "CPU in use over all cores, 0 to 100.",
    "mem_percent": "Memory in use, 0 to 100.",
    "disk_percent": "Use of the fullest real mount, 0 to 100.",
    "load1": "Load average over one minute.",
    "load5": "Load average over five minutes.",
    "load15": "Load average over fifteen minutes.",
    "net_rx_bytes_per_s": "Bytes received each second over all physical interfaces.",
    "net_tx_bytes_per_s": "Bytes sent each second over all physical interfaces.",
    "disk_read_bytes_per_s": "Bytes read each second.",
    "disk_write_bytes_per_s": "Bytes written each second.",
    "swap_percent": "Swap in use, 0 to 100.",
    "mem_used_bytes": "Memory in use.",
    "swap_used_bytes": "Swap in use.",
    "processes": "Processes.",
    "file_descriptors": "Open file descriptors.",
    "uptime_s": "Seconds since the machine started.",
    "mem_bytes": "Resident memory of the whole process tree.",
}
"""What the series of `model.metrics` are, by name."""

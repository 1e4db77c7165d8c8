"""A service that numbers its lines, and what became of them."""

import gzip
import re
import subprocess
import sys

from ops_system.processes.logstate import backups

WRITER = """
import os, sys
path, first, count, batch = sys.argv[1], *map(int, sys.argv[2:5])
fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
for at in range(first, first + count, batch):
    os.write(fd, b"".join(b"%09d and some words\\n" % number for number in range(at, min(at + batch, first + count))))
"""
_LINE = re.compile(rb"(\d{9}) and some words\n")


def start_writer(path, count, first=0, batch=20):
    """Start a process that appends `count` numbered lines with O_APPEND, `batch` a write."""
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(first), str(count), str(batch)])


def numbers_in(data):
    """Return the numbers; fails when anything else is in `data`."""
    found = [int(match) for match in _LINE.findall(data)]
    assert len(found) * 25 == len(data), "there is more than whole numbered lines"
    return found


def everything(path):
    """Return all lines on the disk by the plain means of an operator: zcat the archives, then the live file."""
    data = b""
    for old in reversed(backups(path)):
        data += gzip.decompress(old.read_bytes()) if old.suffix == ".gz" else old.read_bytes()
    return data + path.read_bytes().lstrip(b"\0")

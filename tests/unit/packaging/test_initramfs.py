"""The archive a machine boots into is one that cpio reads, and always the same."""

import importlib.util
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def initramfs():
    spec = importlib.util.spec_from_file_location("initramfs", ROOT / "packaging" / "initramfs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "dev").mkdir()
    (root / "bin/program").write_bytes(b"#!/bin/sh\n")
    (root / "bin/program").chmod(0o755)
    (root / "bin/other").symlink_to("program")
    (root / "odd").write_bytes(b"abc")
    return root


def test_the_same_tree_is_the_same_archive(initramfs, tree):
    first = b"".join(initramfs.cpio(tree))
    (tree / "odd").touch()
    assert b"".join(initramfs.cpio(tree)) == first


@pytest.mark.skipif(shutil.which("cpio") is None, reason="not installed: cpio")
def test_cpio_reads_the_archive(initramfs, tree, tmp_path):
    archive = b"".join(initramfs.cpio(tree))
    listed = subprocess.run(["cpio", "-itv", "--quiet"], input=archive, capture_output=True, check=True)
    lines = listed.stdout.decode().splitlines()
    assert [line.split()[0][0] for line in lines] == ["d", "l", "-", "d", "-", "c"]
    assert lines[-1].endswith("dev/console")
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["cpio", "-id", "--quiet", "bin*", "odd"], input=archive, cwd=out, capture_output=True, check=True)
    assert (out / "odd").read_bytes() == b"abc"
    assert (out / "bin/other").readlink() == Path("program")
    assert stat.S_IMODE((out / "bin/program").stat().st_mode) == 0o755


def test_what_a_module_needs_is_read_from_the_module(initramfs, tmp_path):
    module = tmp_path / "virtio_net.ko"
    module.write_bytes(b"\x7fELF\0license=GPL\0depends=net_failover,virtio-ring\0name=virtio_net\0")
    assert initramfs._needs(module) == ["net_failover", "virtio_ring"]
    module.write_bytes(b"\x7fELF\0license=GPL\0depends=\0name=failover\0")
    assert initramfs._needs(module) == []


def test_libraries_lie_where_the_loader_looks(initramfs):
    assert initramfs._place_of(Path("/lib64/ld-linux-x86-64.so.2")) == "lib64/ld-linux-x86-64.so.2"
    assert initramfs._place_of(Path("/lib/x86_64-linux-gnu/libc.so.6")) == "usr/lib/libc.so.6"

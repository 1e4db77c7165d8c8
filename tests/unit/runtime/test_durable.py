"""That data reaches the disk is shown by the power cut tests; here: each way is taken, and a failure is not hidden."""

import os

import pytest

from ops_system.runtime import durable
from ops_system.runtime.durable import MANY_FILES, sync_tree


@pytest.fixture
def tree(tmp_path):
    folders = [tmp_path, tmp_path / "a"]
    folders[1].mkdir()
    files = [tmp_path / "a" / f"f{number}" for number in range(MANY_FILES)]
    for file in files:
        file.write_bytes(b"x")
    return tmp_path, files, folders


@pytest.fixture
def synced(monkeypatch):
    """The inode numbers handed to fsync."""
    seen = []
    real = os.fsync

    def note(descriptor):
        seen.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return seen


@pytest.mark.parametrize("count", [0, 1, 20])
def test_few_files_are_synced_one_by_one_and_folders_last(tree, synced, count):
    root, files, folders = tree
    sync_tree(root, files[:count], folders)
    inodes = [path.stat().st_ino for path in files[:count]]
    assert sorted(synced[:count]) == sorted(inodes)
    assert synced[count:] == [folders[1].stat().st_ino, folders[0].stat().st_ino]


def test_many_files_are_synced_even_where_the_kernel_cannot_sync_all(tree, synced, monkeypatch):
    monkeypatch.setattr(durable, "_can_sync_file_system", lambda: False)
    sync_tree(*tree)
    assert len(synced) == MANY_FILES + 2


@pytest.mark.skipif(not durable._can_sync_file_system(), reason="syncfs reports errors from Linux 5.8 on")
def test_many_files_are_synced_by_one_call(tree, synced):
    sync_tree(*tree)
    assert synced == []


@pytest.mark.parametrize("release", ["5.7.19-generic", "4.19.0", "unknown"])
def test_an_old_kernel_is_not_trusted(monkeypatch, release):
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "here", release, "", "x86_64")))
    assert not durable._can_sync_file_system()


def test_a_failed_sync_is_told(tree, monkeypatch):
    def fail(descriptor):
        raise OSError(5, "Input/output error")

    root, files, folders = tree
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        sync_tree(root, files[:3], folders)


@pytest.mark.skipif(not durable._can_sync_file_system(), reason="syncfs reports errors from Linux 5.8 on")
def test_a_file_system_that_cannot_sync_is_told(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        durable._sync_file_system(tmp_path / "nothing")

"""What an installer carries is an archive that cpio reads, behind its initrd, and kept until the installer's end."""

import gzip
import os
import shutil
import stat
import subprocess

import pytest

from ops_system.installer.carried import append, archive

needs_cpio = pytest.mark.skipif(shutil.which("cpio") is None, reason="not installed: cpio")


@pytest.fixture
def tree(tmp_path):
    tree = tmp_path / "carried"
    (tree / "etc/ops-worker").mkdir(parents=True, mode=0o755)
    (tree / "etc/ops-worker").chmod(0o700)
    token = tree / "etc/ops-worker/token"
    token.write_text("secret\n")
    token.chmod(0o600)
    (tree / "etc/ops-worker/link").symlink_to("/etc/systemd/system/x")
    return tree


def unpacked(content: bytes, folder):
    folder.mkdir()
    subprocess.run(["cpio", "-idm", "--quiet"], input=content, cwd=folder, capture_output=True, check=True)
    return folder


@needs_cpio
def test_cpio_reads_what_is_carried(tree, tmp_path):
    root = unpacked(b"".join(archive(tree)), tmp_path / "root")
    token = root / "ops-worker/etc/ops-worker/token"
    assert (token.read_text(), stat.S_IMODE(token.stat().st_mode)) == ("secret\n", 0o600)
    assert str((root / "ops-worker/etc/ops-worker/link").readlink()) == "/etc/systemd/system/x"
    assert stat.S_IMODE((root / "ops-worker").stat().st_mode) == 0o700


@needs_cpio
@pytest.mark.parametrize("size", range(4))
def test_it_begins_where_the_kernel_looks_for_the_next_archive(tree, tmp_path, size):
    initrd = tmp_path / "initrd"
    before = gzip.compress(b"x" * 1000, mtime=0) + b"y" * size
    initrd.write_bytes(before)
    append(initrd, tree)
    content = initrd.read_bytes()
    start = content.index(b"070701", len(before))
    assert (start % 4, start - len(before) < 4, content[: len(before)]) == (0, True, before)
    assert content[start:] == b"".join(archive(tree))


@needs_cpio
def test_debians_installer_takes_no_boot_file_for_its_answers(tmp_path):
    root = unpacked(b"".join(archive(tmp_path / "nothing")), tmp_path / "root")
    assert not (root / "ops-worker").exists(), "no worker is wanted"
    script = tmp_path / "default.script"
    script.write_text('lease {\n  filename "$boot_file";\n  option routers $router;\n}\n')
    start = root / "lib/debian-installer-startup.d/S29ops-worker"
    assert os.access(start, os.X_OK)
    text = start.read_text().replace("/etc/udhcpc/default.script", str(script))
    subprocess.run(["sh", "-euc", text], check=True)
    assert script.read_text() == "lease {\n  option routers $router;\n}\n"


@needs_cpio
@pytest.mark.parametrize("name", ["conf/param.conf", "lib/dracut/hooks/pre-pivot/99-ops-worker.sh"])
def test_an_initrd_that_is_left_keeps_it_once(tree, tmp_path, name):
    root = unpacked(b"".join(archive(tree)), tmp_path / "root")
    (root / "run").mkdir()
    script = (root / name).read_text().replace("/run/", f"{root}/run/").replace("-a /ops", f"-a {root}/ops")
    for _ in range(2):
        subprocess.run(["sh", "-euc", script], check=True)
    kept = root / "run/ops-worker"
    assert sorted(path.name for path in kept.iterdir()) == ["etc"]
    assert (kept / "etc/ops-worker/token").read_text() == "secret\n"
    shutil.rmtree(root / "ops-worker")
    shutil.rmtree(kept)
    subprocess.run(["sh", "-euc", script], check=True, capture_output=True)

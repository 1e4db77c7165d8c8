"""The frozen agent does an installation, as it stands in the ramdisk: with what it was frozen with and nothing else."""

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from ops_system.installer.simulate import SimulatedHands
from ops_system.model.tasks import ImageRef
from ops_system.protocol.agent import InstallConfig, NextData, NextOperation
from tests.fakes.region_server import FakeRegion, serving

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
AGENT = DIST / "install-agent"
SN, MIB = "sn-001", 1024 * 1024


@pytest.fixture(scope="module", autouse=True)
def built():
    if not AGENT.is_file():
        subprocess.run([sys.executable, ROOT / "packaging/build.py", "install-agent"], check=True)


def test_the_frozen_agent_installs(tmp_path, monkeypatch):
    monkeypatch.setenv("OPS_RUNTIME_DIR", str(tmp_path / "runtime"))
    hands = SimulatedHands(SN, tmp_path / "work", mac="52:54:00:00:00:01", disk_bytes=32 * MIB)
    content = random.Random(5).randbytes(9 * MIB)
    file = subprocess.run(["zstd", "-q", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout
    image = ImageRef(
        "t", "1", hashlib.sha256(file).hexdigest(), len(file), hashlib.sha256(content).hexdigest(), 9 * MIB, "raw.zst"
    )
    with serving(FakeRegion()) as region:
        region.files["/image"] = file
        region.operations = [NextOperation("install", NextData("t1", 1))]
        region.config = InstallConfig(
            "t1", 1, "image", "T", "1", (f"{SN}-sda",), hands.inventory().hash, image=image, image_url="/image", enrol=False
        )  # fmt: skip
        flags = ["--mac", hands.mac, "--disk-size", "32MiB", "--work-dir", str(tmp_path)]
        done = subprocess.run(
            [AGENT, "--regional-url", region.url, "--mode", "simulate", "--sn", SN, *flags],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert [end.status for end in region.ends] == ["completed"], region.lines
    assert (tmp_path / SN / "sda.disk").read_bytes()[: 9 * MIB] == content
    assert len(region.reports[0].boot_public_key) == 44

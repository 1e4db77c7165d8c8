from pathlib import Path

import pytest

from ops_system.worker.fingerprint.base import hash_machine_id, local_probe, primary_ip, read_fingerprint
from ops_system.worker.fingerprint.darwin import parse_platform_uuid
from ops_system.worker.fingerprint.linux import LinuxProbe, parent_device, parse_cpu_model


def test_this_machine_says_what_it_is() -> None:
    found = read_fingerprint(local_probe())
    assert found.hostname
    assert found.boot_id
    assert found.arch in {"amd64", "arm64"}
    assert found.cpu_cores >= 1
    assert found.mem_total_bytes > 10**8
    assert found.ips
    assert all(mac == mac.lower() and len(mac) == 17 for mac in found.macs)


def test_linux_reads_what_is_there_and_is_silent_about_the_rest(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('# comment\nNAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    probe = LinuxProbe(tmp_path)
    assert probe.platform() == "Debian GNU/Linux 12 (bookworm)"
    assert probe.machine_id() == ""
    assert probe.boot_id() == ""


def test_the_machine_id_leaves_only_hashed() -> None:
    assert hash_machine_id("") == ""
    assert hash_machine_id("abc\n") == hash_machine_id("abc")
    assert "abc" not in hash_machine_id("abc")


@pytest.mark.parametrize(
    ("partition", "disk"),
    [("sda1", "sda"), ("vda", "vda"), ("nvme0n1p2", "nvme0n1"), ("mmcblk0p1", "mmcblk0"), ("dm-0", "dm-0")],
)
def test_a_partition_knows_its_disk(partition: str, disk: str) -> None:
    assert parent_device(partition) == disk


def test_cpu_models_of_both_architectures() -> None:
    assert parse_cpu_model("processor : 0\nmodel name : AMD EPYC 7B13\n") == "AMD EPYC 7B13"
    assert parse_cpu_model("processor : 0\nBogoMIPS : 50\n\nModel : Raspberry Pi 4\n") == "Raspberry Pi 4"
    assert parse_cpu_model("") == ""


def test_a_mac_names_its_platform_uuid() -> None:
    text = '  "IOPlatformSerialNumber" = "C02"\n  "IOPlatformUUID" = "564D-77"\n'
    assert parse_platform_uuid(text) == "564D-77"


def test_loopback_is_never_the_primary_address() -> None:
    assert not primary_ip("http://127.0.0.1:8080").startswith("127.")

"""What each boot loader is told."""

import shutil
import subprocess

import pytest

from ops_system.regional.boot import menus
from ops_system.regional.boot.gate import Boots, Verdict

PLACE = menus.Place("http://192.0.2.1:8081", "console=ttyS0")
AGENT, LOCAL = Verdict(Boots.AGENT, "pending", "sn-001"), Verdict(Boots.LOCAL, "completed", "sn-001")
MAC = "52:54:00:00:00:01"


def test_ipxe_says_who_it_is_and_comes_again():
    script = menus.ipxe_first(PLACE)
    assert script.startswith("#!ipxe\n")
    assert "http://192.0.2.1:8081/boot/${netX/mac:hexhyp}.ipxe?serial=${serial:uristring}&uuid=${uuid}" in script
    assert "|| goto local\n:local\niseq ${platform} efi && goto efi ||\n" in script


def test_ipxe_boots_the_agent_with_everything_it_must_know():
    script = menus.ipxe(PLACE, AGENT, MAC)
    assert "kernel http://192.0.2.1:8081/static/vmlinuz initrd=agent.cpio.zst" in script
    for word in ("ops.regional=http://192.0.2.1:8081", "ops.mode=install", "BOOTIF=01-52-54-00-00-00-01"):
        assert f" {word} " in script
    assert "console=ttyS0" in script
    assert "/static/arm64/vmlinuz" in menus.ipxe(PLACE, AGENT, MAC, "arm64")


def test_the_agent_is_told_who_stands_by():
    place = menus.Place(PLACE.url, "", ("http://192.0.2.2:8081", "http://192.0.2.3:8081"))
    for script in (menus.ipxe(place, AGENT, MAC), menus.grub(place, AGENT, MAC), menus.pxelinux(place, AGENT, MAC)):
        assert "ops.standby=http://192.0.2.2:8081,http://192.0.2.3:8081" in script
    assert "ops.standby" not in menus.ipxe(PLACE, AGENT, MAC)


@pytest.mark.parametrize(
    "script",
    [menus.ipxe(PLACE, LOCAL, MAC), menus.grub(PLACE, LOCAL, MAC), menus.pxelinux(PLACE, LOCAL, MAC)],
    ids=["ipxe", "grub", "pxelinux"],
)
def test_a_closed_gate_names_no_file_of_ours_but_the_way_to_the_disk(script):
    assert "completed: this machine starts from its disk" in script
    script = script.replace(f"{PLACE.url}/static/local.efi", "")
    assert "static" not in script
    assert "vmlinuz" not in script
    assert "192.0.2.1" not in script


def test_uefi_is_led_to_the_loader_on_its_disk_or_leaves_with_an_error_so_that_the_firmware_goes_on():
    lines = menus.ipxe(PLACE, LOCAL, MAC).splitlines()
    way = "iseq ${buildarch} x86_64 && chain --autofree http://192.0.2.1:8081/static/local.efi ||"
    assert lines[-3:] == [":efi", way, "exit 1"]
    assert lines[lines.index("iseq ${platform} efi && goto efi ||") + 1].startswith("sanboot")
    assert "  exit 1\nfi\nset root=(hd0)\nchainloader +1" in menus.grub(PLACE, LOCAL, MAC)


def test_grub_and_pxelinux_load_the_same_agent():
    grub = menus.grub(PLACE, AGENT, MAC)
    assert "linux (http,192.0.2.1:8081)/static/vmlinuz 'ops.regional=http://192.0.2.1:8081' 'ops.mode=install'" in grub
    assert "initrd (http,192.0.2.1:8081)/static/agent.cpio.zst" in grub
    linux = menus.pxelinux(PLACE, AGENT, MAC)
    assert "KERNEL vmlinuz\n  INITRD agent.cpio.zst\n  APPEND ops.regional=" in linux


def test_what_an_operator_adds_cannot_leave_its_line():
    script = menus.ipxe(menus.Place(PLACE.url, "a\nb\tc\x00d é"), AGENT, MAC)
    assert len(script.splitlines()) == len(menus.ipxe(PLACE, AGENT, MAC).splitlines())
    assert "a b c d" in script
    assert "é" not in script


@pytest.mark.parametrize(
    "name", ["grub.cfg-52:54:00:00:00:01", "grub.cfg-01-52-54-00-00-00-01", "x/grub.cfg-52-54-00-00-00-01"]
)
def test_grub_names_a_card_in_two_ways(name):
    found = menus.GRUB_MAC.fullmatch(name)
    assert found
    assert found[1].replace("-", ":") == MAC


@pytest.mark.parametrize("name", ["pxelinux.cfg/01-52-54-00-00-00-01", "pxelinux/pxelinux.cfg/01-52-54-00-00-00-01"])
def test_pxelinux_names_a_card_by_its_kind_first(name):
    found = menus.PXELINUX_MAC.fullmatch(name)
    assert found
    assert found[1] == "52-54-00-00-00-01"
    assert menus.PXELINUX_MAC.fullmatch("pxelinux.cfg/default") is None


@pytest.mark.skipif(shutil.which("grub-script-check") is None, reason="not installed: grub-common")
@pytest.mark.parametrize(
    "config",
    [menus.grub_local(), menus.grub_first(PLACE), menus.grub(PLACE, LOCAL, MAC), menus.grub(PLACE, AGENT, MAC)],
    ids=["inside local.efi", "first", "disk", "agent"],
)
def test_grub_can_read_what_it_is_told(config):
    checked = subprocess.run(["grub-script-check"], input=config, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stderr

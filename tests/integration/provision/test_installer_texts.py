"""The templates that come with the product, judged by the programs they are for."""

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys

import pytest
import yaml
from pykickstart.parser import KickstartParser
from pykickstart.version import makeVersion

from ops_system.installer.system import put_file
from ops_system.master.images.builtins import BUILTINS
from ops_system.model.layouts import Interface, NetworkConfig
from ops_system.model.machines import DiskInfo, Hardware, Machine
from ops_system.model.system_files import TextFile
from ops_system.model.tasks import InstallSpec
from ops_system.provision.templates import check, render
from ops_system.provision.values import NAMES, Place, values_of

KEYS = ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAbc one@host", "ssh-rsa AAAAB3NzaC1yc2E it's me")
NETWORK = NetworkConfig(
    "web-1.lan",
    (
        Interface("52:54:00:00:00:01", "10.0.0.5/24", "10.0.0.1"),
        Interface("52:54:00:00:00:02"),
        Interface("52:54:00:00:00:03", "2001:db8::5/64", "2001:db8::1"),
    ),
    ("10.0.0.2", "10.0.0.3"),
)
SYSTEMS = {"kickstart": ("Rocky Linux", "9"), "preseed": ("Debian", "12"), "autoinstall": ("Ubuntu", "24.04")}
SHELLS = [["sh"], ["bash"]] + ([["busybox", "sh"]] if shutil.which("busybox") else [])  # dash, Anaconda's, d-i's
EVIL_SERIAL = "X'; reboot; echo $(id) \"`id`"
needs_cloud_init = pytest.mark.skipif(shutil.which("cloud-init") is None, reason="Debian's cloud-init is not here")
needs_debconf = pytest.mark.skipif(shutil.which("debconf-set-selections") is None, reason="not a Debian")


def text_for(kind, network=None, serial="DISK1", callback_url="http://192.0.2.1:8081/api/v1/callback/t1", **values):
    machine = Machine("dc1", "SN_1", hardware=Hardware(disks=(DiskInfo("sda", 10**11, serial),)))
    spec = InstallSpec(kind, *SYSTEMS[kind], packages=("vim", "tmux"), ssh_keys=KEYS, values=values)
    place = Place("dc1", "SN_1", "52:54:00:00:00:01", "t1", (serial,))
    return render(BUILTINS[kind], values_of(place, spec, machine, callback_url, network))


def every_text(kind):
    yield text_for(kind)
    yield text_for(kind, NETWORK)
    yield text_for(kind, NETWORK, callback_url="", serial=EVIL_SERIAL)
    yield text_for(
        kind, timezone="Asia/Shanghai", mirror="http://mirror.lan/os", mirror_host="mirror.lan", keyboard="de"
    )


@pytest.mark.parametrize("kind", BUILTINS)
def test_every_placeholder_is_filled(kind):
    assert check(BUILTINS[kind], NAMES) == ()


@pytest.mark.parametrize("version", ["RHEL7", "RHEL8", "RHEL9", "RHEL10"])
def test_anaconda_takes_the_kickstart(version):
    for text in every_text("kickstart"):
        parser = KickstartParser(makeVersion(version), missingIncludeIsFatal=False)
        parser.readKickstartFromString(text)
        assert parser.handler.rootpw.lock
        assert not parser.handler.rootpw.password
        assert all(f"echo {shlex.quote(key)} >>" in parser.handler.scripts[1].script for key in KEYS)
        assert {"openssh-server", "vim", "tmux"} <= set(parser.handler.packages.packageList)


def test_anaconda_is_told_the_network():
    parser = KickstartParser(makeVersion("RHEL9"), missingIncludeIsFatal=False)
    parser.readKickstartFromString(text_for("kickstart", NETWORK))
    static, dhcp, v6, name = parser.handler.network.network
    assert (static.ip, static.netmask, static.gateway, static.nameserver) == (
        "10.0.0.5",
        "255.255.255.0",
        "10.0.0.1",
        "10.0.0.2,10.0.0.3",
    )
    assert (dhcp.bootProto, v6.ipv6, v6.ipv6gateway) == ("dhcp", "2001:db8::5/64", "2001:db8::1")
    assert name.hostname == "web-1.lan"


@needs_debconf
def test_debconf_takes_the_preseed():
    for text in every_text("preseed"):
        judged = subprocess.run(
            ["debconf-set-selections", "--checkonly"], input=text, text=True, capture_output=True, timeout=30
        )
        assert (judged.returncode, judged.stderr) == (0, "")


def test_a_preseed_ends_in_a_callback_that_cannot_fail_it():
    late = [line for line in text_for("preseed").splitlines() if line.startswith("d-i preseed/late_command ")]
    assert len(late) == 1
    assert late[0].endswith("http://192.0.2.1:8081/api/v1/callback/t1 || true")
    for text in every_text("preseed"):
        assert "d-i passwd/root-password-crypted password !\n" in text
        assert "root-password password" not in text


@needs_cloud_init
def test_cloud_init_takes_the_autoinstall(tmp_path):
    for number, text in enumerate(every_text("autoinstall")):
        path = tmp_path / f"user-data-{number}"
        path.write_text(text)
        judged = subprocess.run(
            ["cloud-init", "schema", "--config-file", path], capture_output=True, text=True, timeout=60
        )
        assert judged.returncode == 0, judged.stdout + judged.stderr
        assert "Valid" in judged.stdout


def test_subiquity_is_told_what_it_must_know():
    told = yaml.safe_load(text_for("autoinstall", NETWORK))["autoinstall"]
    root = told["user-data"]["users"][0]
    assert (root["name"], root["lock_passwd"], root["ssh_authorized_keys"]) == ("root", True, list(KEYS))
    assert told["ssh"]["allow-pw"] is False
    assert told["network"]["ethernets"]["card0"]["addresses"] == ["10.0.0.5/24"]
    assert told["late-commands"][0].strip().endswith("|| true")
    # What the early command puts the one approved disk in for; until then it fits no disk.
    assert told["storage"]["layout"]["match"] == {"path": "OPS_APPROVED_DISK"}


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
@pytest.mark.parametrize("kind", BUILTINS)
def test_the_last_command_puts_what_was_carried_into_the_new_system(tmp_path, kind):
    line = next(line for line in text_for(kind).splitlines() if "if [ -d /" in line)
    taking = re.search(r"if \[ -d (?P<source>/\S+) \]; then cp -a \S+ (?P<target>/\S+)/ .*?; fi", line)
    assert taking, line
    carried, system = tmp_path / "carried", tmp_path / "system"
    command = taking[0].replace(taking["source"], str(carried)).replace(f" {taking['target']}/", f" {system}/")
    (system / "etc").mkdir(parents=True)
    for shell in SHELLS:
        subprocess.run([*shell, "-euc", command], check=True, timeout=30)
        assert list(system.rglob("token")) == [], "nothing was carried, nothing comes"
    put_file(carried, TextFile("/etc/ops-worker/token", "secret\n", 0o600))
    put_file(carried, TextFile("/etc/systemd/system/multi-user.target.wants/w.service", link_to="/nowhere"))
    for shell in SHELLS:
        shutil.rmtree(system / "etc/ops-worker", ignore_errors=True)
        subprocess.run([*shell, "-euc", command], check=True, timeout=30)
        token = system / "etc/ops-worker/token"
        assert (token.read_text(), stat.S_IMODE(token.stat().st_mode)) == ("secret\n", 0o600)
        assert (system / "etc/systemd/system/multi-user.target.wants/w.service").is_symlink()


@pytest.mark.parametrize("kind", BUILTINS)
def test_an_installer_says_that_it_has_begun_and_fails_by_nothing_it_says(kind):
    url = "http://192.0.2.1:8081/api/v1/callback/t1"
    said = [line for line in text_for(kind).splitlines() if url in line]
    assert any(f"{url}/started" in line for line in said)
    assert all(line.endswith("|| true") for line in said), said
    assert not any(url in line for line in text_for(kind, callback_url="").splitlines())


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
@pytest.mark.parametrize(
    ("wanted", "there", "found"),
    [
        ("DISK1", {"sda": "ID_SERIAL_SHORT=OTHER", "sdb": "ID_SERIAL=VENDOR_DISK1\nID_SERIAL_SHORT=DISK1"}, "/dev/sdb"),
        ("0x5000C500a", {"sda": "ID_WWN=0x5000c500a"}, "/dev/sda"),
        ("naa.5000c500a", {"sda": "ID_WWN=0x5000c500a"}, "/dev/sda"),
        ("SER 1", {"sda": "ID_SERIAL=SER_1"}, "/dev/sda"),
        ("1", {"sda": "ID_SERIAL=DISK1", "sdb": "ID_MODEL=1"}, ""),
        ("DISK1", {"sda": "ID_SERIAL=DISK1", "sdb": "ID_SERIAL=DISK1"}, ""),
        ("DISK1", {}, ""),
        (EVIL_SERIAL, {"sda": "ID_SERIAL=DISK1"}, ""),
    ],
)
def test_only_the_approved_disk_is_found(tmp_path, wanted, there, found):
    block, programs = tmp_path / "block", tmp_path / "bin"
    programs.mkdir()
    for name, told in there.items():
        (block / name).mkdir(parents=True)
        (block / name / "told").write_text(told + "\n")
    udevadm = programs / "udevadm"
    udevadm.write_text(f'#!/bin/sh\ncat {block}/"${{5#/dev/}}"/told\n')
    udevadm.chmod(udevadm.stat().st_mode | stat.S_IXUSR)
    lines = text_for("kickstart", serial=wanted).splitlines()
    script = next(line for line in lines if line.startswith("norm()")).replace("/sys/block/", f"{block}/")
    for shell in SHELLS:
        ran = subprocess.run(
            [*shell, "-euc", f'{script}; echo "$disk"'],
            env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert (ran.stdout.strip(), ran.returncode) == (found, 0 if found else 1), ran.stderr
        assert found or "nothing is written" in ran.stderr

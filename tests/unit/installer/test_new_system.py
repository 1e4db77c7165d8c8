"""What is written into the new system, and that nothing is written outside of it."""

import io
import tarfile

import pytest
import yaml

from ops_system.installer.guard import Halt
from ops_system.installer.system import inside, network_kind, put_file, put_worker, set_up_network, worker_unit
from ops_system.model.layouts import Interface, NetworkConfig
from ops_system.model.system_files import TextFile, network_files
from ops_system.protocol.agent import Enrolment
from ops_system.service.units import is_as_written

NETWORK = NetworkConfig("db-1.example", (Interface("52:54:00:00:00:01", "10.0.0.5/24", "10.0.0.1"),), ("10.0.0.53",))


def test_links_stay_inside(tmp_path):
    (tmp_path / "etc").symlink_to("/outside")
    (tmp_path / "up").symlink_to("../../..")
    (tmp_path / "loop").symlink_to("loop")
    assert inside(tmp_path, "/etc/x") == tmp_path / "outside/x"
    assert inside(tmp_path, "/up/x") == tmp_path / "x"
    assert inside(tmp_path, "/../../x") == tmp_path / "x"
    with pytest.raises(Halt):
        inside(tmp_path, "/loop/x")


def test_a_file_that_is_a_link_is_replaced_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/hostname").symlink_to(outside)
    put_file(root, TextFile("/etc/hostname", "new\n", 0o600))
    assert outside.read_text() == "mine"
    assert (root / "etc/hostname").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("there", "kind", "file"),
    [
        (["etc/netplan/"], "netplan", "etc/netplan/60-ops.yaml"),
        (["etc/network/interfaces", "lib/systemd/systemd-networkd"], "ifupdown", "etc/network/interfaces"),
        (["lib/systemd/systemd-networkd"], "networkd", "etc/systemd/network/10-ops0.network"),
        (["etc/NetworkManager/"], "networkmanager", "etc/NetworkManager/system-connections/ops0.nmconnection"),
    ],
)
def test_the_network_is_set_up_as_the_system_does_it(tmp_path, there, kind, file):
    for name in there:
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir() if name.endswith("/") else place.touch()
    assert set_up_network(tmp_path, NETWORK) == kind == network_kind(tmp_path)
    text = (tmp_path / file).read_text()
    assert "10.0.0.5/24" in text
    assert "10.0.0.1" in text
    assert (tmp_path / "etc/hostname").read_text() == "db-1.example\n"
    assert "127.0.1.1 db-1.example db-1" in (tmp_path / "etc/hosts").read_text()


@pytest.mark.parametrize("kind", ["netplan", "ifupdown", "networkd", "networkmanager"])
def test_no_interfaces_means_dhcp_on_every_card(kind):
    texts = " ".join(file.text.lower() for file in network_files(kind, NetworkConfig()))
    assert "dhcp" in texts or "method=auto" in texts


@pytest.mark.parametrize("cards", [(), (Interface("52:54:00:00:00:01"),)], ids=["every card", "one card"])
@pytest.mark.parametrize("kind", ["netplan", "ifupdown", "networkd", "networkmanager"])
def test_resolvers_are_told_beside_dhcp_too(kind, cards):
    files = network_files(kind, NetworkConfig(interfaces=cards, dns=("10.0.0.53",)))
    assert "10.0.0.53" in " ".join(file.text for file in files)


def worker(members: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


ENROLMENT = Enrolment("https://m:8443", "opsj1.a.b.c", 'na"me', {"idc": "dc1"}, allow_plain_http=True)


def test_the_worker_is_put_in_place(tmp_path):
    archive = tmp_path / "w.tar.gz"
    archive.write_bytes(worker([("worker", b"x"), ("lib/a", b"y")]))
    root = tmp_path / "root"
    put_worker(root, archive, ENROLMENT)
    assert (root / "opt/ops-worker/worker").stat().st_mode & 0o777 == 0o755
    assert (root / "opt/ops-worker/lib/a").read_bytes() == b"y"
    assert (root / "etc/ops-worker").stat().st_mode & 0o777 == 0o700
    unit = root / "etc/systemd/system/ops-worker.service"
    assert is_as_written(unit.read_text())
    assert "/opt/ops-worker/worker" in worker_unit()
    text = (root / "etc/ops-worker/worker.yaml").read_text()
    read = yaml.safe_load(text)
    assert read["connect"] == {
        "master_url": "https://m:8443",
        "token": "@/etc/ops-worker/token",
        "allow_plain_http": True,
        "name": 'na"me',
        "labels": {"idc": "dc1"},
    }


@pytest.mark.parametrize(
    "members", [[("other", b"x")], [("../worker", b"x")], [("/etc/passwd", b"x"), ("../../x", b"y")]]
)
def test_bad_worker_archives_are_refused(tmp_path, members):
    archive = tmp_path / "w.tar.gz"
    archive.write_bytes(worker(members))
    with pytest.raises(Halt, match="worker"):
        put_worker(tmp_path / "root", archive, ENROLMENT)
    assert not (tmp_path / "root/opt/worker").exists()
    archive.write_bytes(b"no archive")
    with pytest.raises(Halt, match="worker"):
        put_worker(tmp_path / "root", archive, ENROLMENT)

"""Profiles and what tasks are made of: names become everything an installation needs."""

import msgspec
import pytest

from ops_system.kv.base import PutRequest
from ops_system.master.images.builtins import BUILTINS
from ops_system.master.images.profile_rules import NewProfile, ProfileChange, ProfilePreview
from ops_system.master.images.shelf import KEPT_VERSIONS
from ops_system.master.web.route import ListQuery
from ops_system.model.catalogue import missing_of
from ops_system.model.errors import Conflict, Invalid, NotFound
from ops_system.model.layouts import DiskLayout, Interface, NetworkConfig, Partition
from ops_system.model.machines import DiskInfo, Hardware, Machine
from ops_system.provision.keys import MachineKeys
from tests.fakes.catalogue import a_tar, open_catalogue, packed
from tests.fakes.orchestration import ANN

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAbc ann@desk"
PRESEED = NewProfile("deb", "preseed", "Debian", "12", packages=("vim",), ssh_keys=(KEY,), values={"timezone": "UTC"})


@pytest.fixture
async def desk(tmp_path):
    async with open_catalogue(tmp_path) as desk:
        yield desk


# --- profiles --------------------------------------------------------------------------------------------------------
async def test_a_profile_is_kept_with_its_past(desk):
    made = await desk.profiles.create(PRESEED, ANN)
    assert (made.version, made.changed_by, made.os_type) == (1, "ann", "Debian")
    changed = await desk.profiles.change("deb", ProfileChange(method="preseed", os_type="Debian 12", note="two"), ANN)
    assert (changed.version, changed.note, changed.packages) == (2, "two", ())
    back = await desk.profiles.roll_back("deb", 1, ANN)
    assert (back.version, back.packages) == (3, ("vim",))
    past = await desk.profiles.versions("deb", ListQuery())
    assert [(one.version, one.note) for one in past.items] == [(3, ""), (2, "two"), (1, "")]
    assert await desk.profiles.get("deb") == back
    await desk.profiles.delete("deb", ANN)
    with pytest.raises(NotFound):
        await desk.profiles.get("deb")
    again = await desk.profiles.create(PRESEED, ANN)
    assert (await desk.profiles.versions("deb", ListQuery())).items == [again]
    assert await desk.actions() == [
        "profile.create",
        "profile.change",
        "profile.change",
        "profile.delete",
        "profile.create",
    ]


async def test_the_past_has_an_end(desk):
    await desk.profiles.create(PRESEED, ANN)
    for number in range(KEPT_VERSIONS + 5):
        change = ProfileChange(method="preseed", os_type="Debian 12", note=str(number))
        await desk.profiles.change("deb", change, ANN)
    past = await desk.profiles.versions("deb", ListQuery(limit=500))
    assert (past.total, past.items[0].version, past.items[-1].version) == (KEPT_VERSIONS, 56, 7)


async def test_nobody_overwrites_what_they_have_not_seen(desk):
    await desk.profiles.create(PRESEED, ANN)
    change = ProfileChange(method="preseed", os_type="Debian 12", if_version=1)
    await desk.profiles.change("deb", change, ANN)
    with pytest.raises(Conflict, match="at version 2 now, by ann"):
        await desk.profiles.change("deb", change, ANN)
    with pytest.raises(Conflict, match="already"):
        await desk.profiles.create(PRESEED, ANN)
    with pytest.raises(NotFound):
        await desk.profiles.change("nobody", change, ANN)
    with pytest.raises(NotFound):
        await desk.profiles.roll_back("deb", 9, ANN)
    with pytest.raises(Invalid, match="keeps its name"):
        await desk.profiles.change("deb", msgspec.structs.replace(change, name="other"), ANN)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "a/b"}, r"\$\.name"),
        ({"os_type": ""}, "which system"),
        ({"os_type": "Ubntu"}, "did you mean"),
        ({"method": "kickstart"}, "not installed by kickstart"),
        ({"image": "a/b/c"}, r"\$\.image"),
        ({"packages": ("vim", "x; reboot")}, r"packages\[1\]"),
        ({"packages": ("a\nb",)}, r"packages\[0\]"),
        ({"ssh_keys": ("-----BEGIN OPENSSH PRIVATE KEY-----",)}, r"ssh_keys\[0\]"),
        ({"ssh_keys": (f"{KEY}\nroot",)}, r"ssh_keys\[0\]"),
        ({"values": {"bad-name": "x"}}, "no name"),
        ({"disk_layout": DiskLayout(kind="plain")}, "name at least the one of /"),
        ({"disk_layout": DiskLayout(disks=0)}, r"\$\.disk_layout\.disks"),
        ({"network": NetworkConfig("a b")}, "no host name"),
        ({"network": NetworkConfig(dns=("x",))}, "no address"),
        ({"kernel_args": "quiet\nroot=x"}, "one line"),
        ({"template": "{% if %}"}, "line 1"),
        ({"template": "a\n{{ owner }}"}, "line 2: nothing fills 'owner'"),
        ({"template": "x" * 70_000}, "more than"),
        ({"template": "{{ sn.__class__ }}{{ x() }}"}, "not part of this language"),
        ({"template": "rootpw hunter2"}, "rootpw stands in clear"),
        ({"template": "rootpw --plaintext hunter2"}, "rootpw stands in clear"),
        ({"template": "d-i passwd/root-password password hunter2"}, "password stands in clear"),
        ({"values": {"key": "-----BEGIN RSA PRIVATE KEY-----"}}, "private key"),
        ({"values": {"token": "opsj1.abc.def"}}, "a token"),
    ],
)
async def test_what_a_profile_may_not_say(desk, changes, said):
    with pytest.raises(Invalid, match=said) as refused:
        await desk.profiles.create(msgspec.structs.replace(PRESEED, **changes), ANN)
    assert refused.value.details["problems"]
    assert (await desk.profiles.list_page(ListQuery())).total == 0
    assert await desk.actions() == []


async def test_hashes_and_locks_are_no_secrets_in_clear(desk):
    text = "rootpw --lock\nrootpw --iscrypted $6$abc\nd-i passwd/root-password-crypted password !\n"
    assert (await desk.profiles.create(msgspec.structs.replace(PRESEED, template=text), ANN)).template == text


async def test_a_list_is_searched_and_sorted(desk):
    for name in ("b", "a", "c"):
        await desk.profiles.create(msgspec.structs.replace(PRESEED, name=name, note=f"for {name}"), ANN)
    page = await desk.profiles.list_page(ListQuery(limit=2, sort="-name"))
    assert ([one.name for one in page.items], page.total) == (["c", "b"], 3)
    assert (await desk.profiles.list_page(ListQuery(q="FOR A"))).total == 1
    with pytest.raises(Invalid, match="no field"):
        await desk.profiles.list_page(ListQuery(sort="template"))


# --- preview ---------------------------------------------------------------------------------------------------------
async def test_a_sample_machine_is_shown(desk):
    shown = await desk.profiles.preview(ProfilePreview(profile=PRESEED))
    assert (shown.is_sample, shown.problems) == (True, ())
    assert "d-i netcfg/get_hostname string sample-1\n" in shown.text
    assert KEY in shown.text


async def test_a_real_machine_is_shown(desk):
    await desk.profiles.create(PRESEED, ANN)
    machine = Machine(
        "dc1", "SN1", macs=("52:54:00:00:00:09",), hardware=Hardware(disks=(DiskInfo("sdb", 10, "REAL-1"),))
    )
    await desk.store.put(PutRequest(MachineKeys("dc1", "SN1").meta, msgspec.json.encode(machine)))
    shown = await desk.profiles.preview(ProfilePreview(name="deb", idc="dc1", sn="SN1"))
    assert (shown.is_sample, shown.problems) == (False, ())
    assert "echo REAL-1 |" in shown.text
    with pytest.raises(NotFound, match="nothing is known of a machine"):
        await desk.profiles.preview(ProfilePreview(name="deb", idc="dc1", sn="SN2"))
    with pytest.raises(NotFound, match="no profile"):
        await desk.profiles.preview(ProfilePreview(name="other"))


async def test_what_is_wrong_is_shown_instead_of_a_text(desk):
    broken = msgspec.structs.replace(PRESEED, template="ok\n{{ owner }}", packages=("a b",))
    shown = await desk.profiles.preview(ProfilePreview(profile=broken))
    assert shown.text == ""
    assert [(one.line, one.message) for one in shown.problems] == [
        (0, "$.packages[0]: no name of a package"),
        (2, "nothing fills 'owner'"),
    ]
    late = msgspec.structs.replace(PRESEED, template="{{ values.nothing }}")
    shown = await desk.profiles.preview(ProfilePreview(profile=late))
    assert [one.line for one in shown.problems] == [1]
    image = msgspec.structs.replace(PRESEED, method="image")
    assert (await desk.profiles.preview(ProfilePreview(profile=image))).text == ""


# --- resolve ---------------------------------------------------------------------------------------------------------
async def test_the_newest_image_of_a_system_is_taken(desk):
    await desk.upload(b"\1" * 512, version="12.9")
    newest = await desk.upload(b"\2" * 512, version="12.10")
    await desk.upload(b"\3" * 512, version="13", os_version="13")
    await desk.upload(b"\4" * 512, version="12.11", arch="arm64")
    for asked in (("Debian 12", "12"), ("Debian", "12"), ("debian-bookworm", "")):
        spec = await desk.catalogue.resolve(*asked)
        assert (spec.method, spec.os_type, spec.os_version) == ("image", "Debian", "12")
        assert spec.image == newest.ref()
        assert missing_of(spec) == ()
    assert (await desk.catalogue.resolve("Debian", "12", arch="arm64")).image.version == "12.11"


async def test_without_an_image_a_task_can_be_planned(desk):
    assert (await desk.catalogue.resolve("Ubuntu 22.04", "22.04")).method == "debootstrap"
    spec = await desk.catalogue.resolve("Rocky Linux", "9")
    assert (spec.method, missing_of(spec)) == ("image", ("an image",))
    assert await desk.catalogue.complete(spec) == spec
    image = await desk.upload(os_type="Rocky Linux", os_version="9", name="rocky")
    done = await desk.catalogue.complete(spec)
    assert done.image == image.ref()
    await desk.upload(b"\5" * 512, os_type="Rocky Linux", os_version="9", name="rocky", version="2")
    assert await desk.catalogue.complete(done) == done


async def test_a_profile_says_how(desk):
    kernel = await desk.upload(b"\1" * 9, name="d-i-linux", version="12", format="kernel", os_type="", os_version="")
    initrd = await desk.upload(b"\2" * 9, name="d-i-initrd", version="12", format="initrd", os_type="", os_version="")
    network = NetworkConfig("web", (Interface("52:54:00:00:00:01"),))
    profile = msgspec.structs.replace(PRESEED, kernel="d-i-linux/12", initrd="d-i-initrd", network=network)
    await desk.profiles.create(profile, ANN)
    spec = await desk.catalogue.resolve("Debian 12", "12", "deb")
    assert (spec.kernel, spec.initrd, spec.image) == (kernel.ref(), initrd.ref(), None)
    assert (spec.template, spec.packages, spec.ssh_keys) == (BUILTINS["preseed"], ("vim",), (KEY,))
    assert (spec.network, spec.profile, missing_of(spec)) == (network, "deb", ())
    own = NetworkConfig("own", dns=("10.0.0.2",))
    told = (await desk.catalogue.resolve("Debian", "12", "deb", None, own)).network
    assert told == NetworkConfig("own", network.interfaces, own.dns)
    with pytest.raises(Invalid, match="deb installs Debian 12, the task wants Ubuntu"):
        await desk.catalogue.resolve("Ubuntu 22.04", "", "deb")
    with pytest.raises(NotFound, match="no profile nothing"):
        await desk.catalogue.resolve("Debian", "12", "nothing")


async def test_other_systems_are_named_by_a_profile(desk):
    image = await desk.upload(os_type="Other", os_version="Plan 9", name="plan9")
    assert image.os_version == "Plan 9"
    await desk.profiles.create(NewProfile("plan9", os_type="Other", os_version="Plan 9", image="plan9"), ANN)
    spec = await desk.catalogue.resolve("Other", "Plan 9", "plan9")
    assert (spec.image, spec.os_version) == (image.ref(), "Plan 9")
    assert (await desk.catalogue.resolve("Other", "x")).image is None


async def test_a_tree_wants_another_layout_than_a_disk(desk):
    await desk.upload(packed(a_tar(), "tar.gz"), format="tar.gz")
    plain = DiskLayout(kind="plain", partitions=(Partition("root", "rest", "ext4", "/"),))
    assert (await desk.catalogue.resolve("Debian", "12", disk_layout=plain)).image is not None
    with pytest.raises(Invalid, match="kind plain"):
        await desk.catalogue.resolve("Debian", "12", disk_layout=DiskLayout(kind="image"))


async def test_disks_and_networks_that_cannot_be_are_refused(desk):
    with pytest.raises(Invalid, match="an image is written to one disk"):
        await desk.catalogue.resolve("Debian", "12", disk_layout=DiskLayout(disks=2))
    network = NetworkConfig("", (Interface("52:54:00:00:00:01", "10.0.0.5"),))
    with pytest.raises(Invalid, match="no address with its prefix"):
        await desk.catalogue.resolve("Debian", "12", network=network)


async def test_tests_of_hardware_need_no_system(desk):
    profile = NewProfile("burn-in", "hardware_test", hardware_tests=("memory", "disk"))
    await desk.profiles.create(profile, ANN)
    for asked in ("", "Debian 12"):
        spec = await desk.catalogue.resolve(asked, "", "burn-in")
        assert (spec.method, spec.hardware_tests, missing_of(spec)) == ("hardware_test", ("memory", "disk"), ())


@pytest.mark.parametrize(("os_type", "os_version"), [("Ubntu", "22.04"), ("Ubuntu", "1"), ("", "")])
async def test_unknown_systems_are_refused(desk, os_type, os_version):
    with pytest.raises(Invalid, match="catalogue"):
        await desk.catalogue.resolve(os_type, os_version)

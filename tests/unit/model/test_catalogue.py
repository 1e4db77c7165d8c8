"""One catalogue: however people spell a release, it is the same one."""

import pytest

from ops_system.model.catalogue import RELEASES, check_method, find_release, installer_args, missing_of
from ops_system.model.errors import Invalid
from ops_system.model.tasks import ImageRef, InstallSpec


@pytest.mark.parametrize(
    ("os_type", "os_version", "name"),
    [
        ("Ubuntu 22.04", "22.04", "Ubuntu 22.04"),
        ("Ubuntu", "22.04", "Ubuntu 22.04"),
        ("Ubuntu 22.04", "", "Ubuntu 22.04"),
        ("ubuntu-22.04-lts", "jammy", "Ubuntu 22.04"),
        ("UBUNTU_22.04", "22.04.3", "Ubuntu 22.04"),
        ("Debian", "bookworm", "Debian 12"),
        ("Debian GNU/Linux", "12.5", "Debian 12"),
        ("Rocky 9.4", "9", "Rocky Linux 9"),
        ("CentOS Stream 9", "", "CentOS Stream 9"),
        ("CentOS", "7", "CentOS 7"),
        ("Red Hat Enterprise Linux", "9.2", "RHEL 9"),
        ("openEuler-24.03-LTS-SP1", "24.03", "openEuler 24.03"),
        ("Other", "whatever", "Other"),
    ],
)
def test_spellings_mean_one_release(os_type, os_version, name):
    assert find_release(os_type, os_version).name == name


def test_every_release_is_found_by_its_own_name_and_parts():
    for release in RELEASES:
        assert find_release(release.name) == release
        assert find_release(release.os_type, release.os_version) == release
        assert find_release(release.name, release.os_version) == release


@pytest.mark.parametrize(
    ("os_type", "os_version", "field", "nearest"),
    [
        ("Ubntu 22.04", "22.04", "os_type", "Ubuntu 22.04"),
        ("Debien", "12", "os_type", "Debian 12"),
        ("Ubuntu", "23.04", "os_version", "Ubuntu 24.04"),
        ("Debian", "99", "os_version", None),
        ("Ubuntu", "", "os_version", None),
        ("", "", "os_type", None),
        ("x" * 10_000, "", "os_type", None),
    ],
)
def test_what_is_unknown_names_the_nearest(os_type, os_version, field, nearest):
    with pytest.raises(Invalid) as refused:
        find_release(os_type, os_version)
    assert refused.value.details["field"] == field
    if nearest:
        assert refused.value.details["nearest"] == nearest
    assert find_release(str(refused.value.details["nearest"]))


def test_two_versions_that_disagree_are_refused():
    with pytest.raises(Invalid, match="not the version that os_type"):
        find_release("Ubuntu 22.04", "24.04")


def test_a_release_has_its_ways_of_installing():
    check_method(find_release("Debian 12"), "preseed")
    check_method(find_release("Debian 12"), "rescue")
    with pytest.raises(Invalid, match="use one of image, debootstrap, preseed"):
        check_method(find_release("Debian 12"), "kickstart")


def test_an_installer_is_told_where_its_text_is():
    assert "inst.ks=http://r/k" in installer_args("kickstart", "http://r/k")
    assert "preseed/url=http://r/p" in installer_args("preseed", "http://r/p")
    assert "ds=nocloud-net;s=http://r/a/" in installer_args("autoinstall", "http://r/a/")
    assert installer_args("image", "http://r/x") == ""


def test_what_an_installation_lacks_is_said():
    image = ImageRef("debian", "1", "a" * 64, 1, "b" * 64, 1, "raw")
    assert missing_of(InstallSpec("image", "Debian", "12")) == ("an image",)
    assert missing_of(InstallSpec("image", "Debian", "12", image=image)) == ()
    assert missing_of(InstallSpec("rescue", "", "")) == ()
    preseed = InstallSpec("preseed", "Debian", "12", template="d-i x", kernel=image)
    assert missing_of(preseed) == ("its initrd",)

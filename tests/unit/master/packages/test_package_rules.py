import pytest

from ops_system.master.packages.rules import MAX_PACKAGE_BYTES, check_digest, check_part, check_size
from ops_system.model.errors import Conflict, Invalid, TooLarge
from ops_system.model.versions import version_key


def test_versions_sort_as_versions():
    ordered = ["0.9", "1.0-alpha", "1.0-beta2", "1.0-beta10", "1.0-rc1", "1.0", "1.0.1", "1.2", "1.10", "2", "10.0"]
    assert sorted(set(ordered), key=version_key) == ordered


def test_leading_zeros_do_not_count():
    assert version_key("1.02") == version_key("1.2")


def test_sizes_have_bounds():
    check_size(MAX_PACKAGE_BYTES)
    with pytest.raises(TooLarge):
        check_size(MAX_PACKAGE_BYTES + 1)
    with pytest.raises(Invalid):
        check_size(0)


def test_a_part_begins_where_the_last_one_ended():
    check_part(5, 5, 9)
    with pytest.raises(Conflict) as caught:
        check_part(0, 5, 9)
    assert caught.value.details["received_bytes"] == 5
    with pytest.raises(Conflict, match="complete"):
        check_part(9, 9, 9)


def test_a_wrong_digest_is_told():
    check_digest(None, "ab")
    check_digest("AB", "ab")
    with pytest.raises(Invalid, match="send it again"):
        check_digest("cd", "ab")

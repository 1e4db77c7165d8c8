from datetime import UTC, datetime, timedelta

import pytest

from ops_system.master.packages.rules import (
    FileFacts,
    PackagePatch,
    RetentionPolicy,
    check_policy,
    diff_fields,
    diff_files,
    kept_by,
    marked,
    old_versions,
)
from ops_system.model.errors import Invalid
from ops_system.model.manifest import Manifest
from ops_system.model.packages import Package

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def package(version, days=100.0, name="web", **fields):
    manifest = Manifest(name=name, version=version)
    return Package(name, version, "0" * 64, 1, manifest, NOW - timedelta(days=days), "ann", **fields)


def versions(found):
    return [one.version for one in found]


def test_the_newest_are_counted_as_versions_and_not_by_upload():
    all_of = [package("1.10", 90), package("1.9", 80), package("1.2", 70), package("7", name="api")]
    assert versions(old_versions(all_of, RetentionPolicy(keep_versions=1), NOW)) == ["1.9", "1.2"]
    assert old_versions(all_of, RetentionPolicy(keep_versions=3), NOW) == []


def test_days_and_numbers_both_keep():
    all_of = [package("1", 40), package("2", 20), package("3", 10)]
    assert versions(old_versions(all_of, RetentionPolicy(keep_days=30), NOW)) == ["1"]
    assert versions(old_versions(all_of, RetentionPolicy(keep_versions=1, keep_days=15), NOW)) == ["1", "2"]
    assert old_versions(all_of, RetentionPolicy(keep_versions=3, keep_days=1), NOW) == []


def test_nothing_set_removes_nothing_and_nothing_young_goes():
    assert old_versions([package("1", 1000)], RetentionPolicy(), NOW) == []
    late_fix = package("1.0.9", days=0.5)
    assert old_versions([late_fix, package("2"), package("3")], RetentionPolicy(keep_versions=2), NOW) == []


@pytest.mark.parametrize("bad", [{"keep_versions": 0}, {"keep_days": -1}, {"keep_days": 10**9}])
def test_a_policy_that_cannot_be_is_refused(bad):
    with pytest.raises(Invalid, match="null"):
        check_policy(RetentionPolicy(**bad))


def test_what_keeps_a_version_that_is_old():
    assert kept_by(package("1", is_pinned=True), is_used=False) == "pinned"
    assert kept_by(package("1", tags=("stable",)), is_used=False) == "tagged"
    assert kept_by(package("1"), is_used=True) == "used"
    assert kept_by(package("1"), is_used=False) is None


def test_a_patch_changes_what_it_names_and_says_who():
    noted = marked(package("1", note="old", tags=("a",)), PackagePatch(tags=(" stable ", "a", "a")), NOW, "bob")
    assert (noted.tags, noted.note, noted.marked_by, noted.marked_at) == (("stable", "a"), "old", "bob", NOW)
    same = marked(noted, PackagePatch(note="old"), NOW + timedelta(days=1), "eve")
    assert same.marked_by == "bob"


@pytest.mark.parametrize("bad", [{"tags": ("",)}, {"tags": ("a,b",)}, {"tags": ("x" * 41,)}, {"note": "x" * 4001}])
def test_a_patch_that_cannot_be_is_refused(bad):
    with pytest.raises(Invalid):
        marked(package("1"), PackagePatch(**bad), NOW, "ann")


def test_documents_differ_by_their_leaves():
    before = {"version": "1", "env": {"A": "1", "B": "2"}, "args": ["x"], "limits": {}}
    after = {"version": "2", "env": {"A": "1", "C": "3"}, "args": ["x", "y"], "limits": {}}
    found = [(one.path, one.before, one.after) for one in diff_fields(before, after)]
    assert found == [
        ("version", '"1"', '"2"'),
        ("env.B", '"2"', None),
        ("args", '["x"]', '["x","y"]'),
        ("env.C", None, '"3"'),
    ]


def test_files_differ_by_size_sum_and_the_right_to_run():
    before = {"a": FileFacts(1, 7, False), "b": FileFacts(2, 7, False), "c": FileFacts(3, 7, False)}
    after = {"a": FileFacts(1, 7, True), "b": FileFacts(2, 7, False), "d": FileFacts(4, 7, False)}
    found = [(one.path, one.before_bytes, one.after_bytes) for one in diff_files(before, after)]
    assert found == [("a", 1, 1), ("c", 3, None), ("d", None, 4)]

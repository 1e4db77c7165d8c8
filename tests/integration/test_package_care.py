"""Marks, usage, differences and retention of packages, on a real database and store."""

import contextlib
from datetime import timedelta

import pytest

from ops_system.master.packages.retention import Retention
from ops_system.master.packages.rules import PackagePatch, PackageQuery, PackageUser, RetentionPolicy
from ops_system.master.web.route import Principal
from ops_system.model.errors import NotAllowed, NotFound, Unavailable
from ops_system.model.operations import OperationState
from ops_system.runtime.tasks import running
from tests.fakes.evil_archives import Member, good_zip
from tests.fakes.orchestration import ANN, chunks, open_desk

DAY_S = 86400.0


@pytest.fixture
async def desk(tmp_path):
    async with open_desk(tmp_path) as desk:
        yield desk


def make_retention(desk):
    return Retention(
        database=desk.database,
        packages=desk.packages,
        operations=desk.operations,
        audit=desk.audit,
        clock=desk.clock,
    )


@contextlib.asynccontextmanager
async def retaining(desk):
    await desk.operations.load()
    retention = make_retention(desk)
    async with running(retention.run(), "retention"):
        yield retention


async def shelve(desk, *versions, name="web"):
    for version in versions:
        await desk.upload(name, version)
    desk.clock.advance(10 * DAY_S)


async def versions(desk):
    page = await desk.packages.list_page(PackageQuery())
    return sorted(one.version for one in page.items)


def blobs(desk):
    return [path for path in (desk.folder.uploads / "sha256").rglob("*") if path.is_file()]


async def test_marks_are_kept_shown_and_audited(desk):
    await desk.upload("web", "1")
    found = await desk.packages.mark("web", "1", PackagePatch(tags=("stable",), note="since May"), ANN)
    assert (found.tags, found.note, found.marked_by) == (("stable",), "since May", "ann")
    again = await desk.packages.get("web", "1")
    assert (again.tags, again.marked_at) == (("stable",), found.marked_at)
    assert desk.published[-1].data.note == "since May"
    row = await desk.database.fetch_one("SELECT action, details FROM audit ORDER BY rowid DESC LIMIT 1")
    assert row["action"] == "package.mark"
    assert "since May" in row["details"]
    with pytest.raises(NotFound):
        await desk.packages.mark("web", "2", PackagePatch(note=""), ANN)


async def test_a_pinned_version_is_not_deleted(desk):
    await desk.upload("web", "1")
    await desk.packages.mark("web", "1", PackagePatch(is_pinned=True), ANN)
    with pytest.raises(NotAllowed, match="pinned"):
        await desk.packages.delete("web", "1", ANN)


async def test_usage_names_modules_and_instances_a_principal_may_see(desk):
    node_id, instance_id, _ = await desk.deployed()
    usage = await desk.packages.show_usage("web", "1.0", ANN)
    assert [(user.kind, user.node_id) for user in usage.users] == [("module", None), ("instance", node_id)]
    assert (usage.nodes, usage.hidden, usage.users[1].id) == (1, 0, instance_id)
    desk.packages.usage.limit(lambda _principal, user: user.kind == "module")
    usage = await desk.packages.show_usage("web", "1.0", Principal(kind="user", id="u", name="bob"))
    assert ([user.kind for user in usage.users], usage.nodes, usage.hidden) == (["module"], 0, 1)


async def test_two_versions_are_compared(desk):
    for version, members, args in (("1", ["a", "b"], ["x"]), ("2", ["b", "c"], ["y"])):
        files = [Member(name, name.encode() * 10) for name in members]
        data = good_zip(files, name="web", version=version, args=args)
        await desk.packages.upload(chunks(data), len(data), ANN)
    diff = await desk.packages.diff("web", "2", "1")
    assert {one.path: (one.before, one.after) for one in diff.fields} == {
        "version": ('"1"', '"2"'),
        "args": ('["x"]', '["y"]'),
    }
    files = {one.path: (one.before_bytes, one.after_bytes) for one in diff.files}
    assert files.pop("service.json")
    assert files == {"a": (10, None), "c": (None, 10)}
    assert (diff.same_files, diff.omitted_files) == (2, 0)  # b, and the program
    same = await desk.packages.diff("web", "2", "2")
    assert (same.fields, same.files) == ([], [])


async def test_retention_removes_the_old_and_spares_what_is_needed(desk):
    await shelve(desk, "1.0", "1.1", "1.2", "1.3", "1.4", "1.10")
    await desk.module(await desk.system(), "web", version="1.0")
    await desk.packages.mark("web", "1.1", PackagePatch(is_pinned=True), ANN)
    await desk.packages.mark("web", "1.2", PackagePatch(tags=("lts",)), ANN)

    async def could_return(_reader, _name, version):
        return [PackageUser("rollout", "mod_1", "shop/web")] if version == "1.3" else []

    desk.packages.usage.ask_before_retention(could_return)
    async with retaining(desk) as retention:
        await retention.set(RetentionPolicy(keep_versions=1), ANN)
        looked = await retention.preview()
        assert [(item.version, item.kept_by) for item in looked.items] == [
            ("1.0", "used"),
            ("1.1", "pinned"),
            ("1.2", "tagged"),
            ("1.3", "used"),
            ("1.4", None),
        ]
        going = await desk.packages.get("web", "1.4")
        assert (looked.removed, looked.freed_bytes) == (1, going.size_bytes)
        assert len(await versions(desk)) == 6  # looking changed nothing
        ended = await desk.ended((await retention.begin(ANN)).id)
        assert ended.state is OperationState.SUCCEEDED
        assert await versions(desk) == ["1.0", "1.1", "1.10", "1.2", "1.3"]
        assert len(blobs(desk)) == 5
        with pytest.raises(NotAllowed, match="no version"):
            await retention.begin(ANN)


async def test_a_version_taken_into_use_after_the_look_stays(desk):
    await shelve(desk, "1.0", "2.0")
    retention = make_retention(desk)
    await retention.set(RetentionPolicy(keep_versions=1), ANN)
    operation = await retention.begin(ANN)
    await desk.module(await desk.system(), "web", version="1.0")
    async with running(retention.run(), "retention"):
        ended = await desk.ended(operation.id)
    assert (ended.state, ended.targets[0].reason.code) == (OperationState.CANCELLED, "kept")
    assert await versions(desk) == ["1.0", "2.0"]


async def test_a_killed_master_goes_on_with_the_run(desk):
    await shelve(desk, "1.0", "2.0", "3.0")
    retention = make_retention(desk)
    await retention.set(RetentionPolicy(keep_versions=1), ANN)
    operation = await retention.begin(ANN)  # and nobody carries it out
    fresh = desk.restart()
    async with retaining(fresh):
        ended = await fresh.ended(operation.id)
    assert ended.state is OperationState.SUCCEEDED
    assert await versions(fresh) == ["3.0"]


async def test_once_a_day_by_itself(desk):
    await shelve(desk, "1.0", "2.0")
    async with retaining(desk) as retention:
        await retention.set(RetentionPolicy(keep_versions=1, is_daily=True), ANN)

        async def is_done():
            return await versions(desk) == ["2.0"]

        await desk.until(is_done)
        assert (await retention.get()).ran_at is not None
        assert not await retention._is_due()
        desk.clock.advance(DAY_S)
        assert await retention._is_due()


async def test_a_cancelled_run_removes_nothing_more(desk):
    await shelve(desk, "1.0", "2.0", "3.0")
    retention = make_retention(desk)
    await retention.set(RetentionPolicy(keep_versions=1), ANN)
    operation = await retention.begin(ANN)
    assert (await desk.operations.cancel(operation.id, ANN)).state is OperationState.CANCELLED
    async with running(retention.run(), "retention"):
        assert await versions(desk) == ["1.0", "2.0", "3.0"]


async def test_bytes_go_with_the_last_version_that_names_them_also_late(desk, monkeypatch):
    await desk.upload("web", "1")
    sha256 = (await desk.packages.get("web", "1")).sha256

    async def away(_sha256):
        raise Unavailable("the store is away")

    with monkeypatch.context() as gone:
        gone.setattr(desk.packages._blobs, "delete", away)
        await desk.packages.delete("web", "1", ANN)
    assert [path.name for path in blobs(desk)] == [sha256]
    desk.clock.advance(timedelta(hours=1).total_seconds())
    await desk.packages.sweep()
    assert blobs(desk) == []

"""`ops` on backups, schedules and configuration, each command against a real master."""

import contextlib

from tests.fakes.master import run_master
from tests.fakes.opscli import Ops


@contextlib.asynccontextmanager
async def desk(folder):
    """A master, and `ops` with an administrator's token."""
    async with run_master(folder) as master:
        ops = Ops(folder)
        done = await ops(
            "login", master.url, "--token", "-", "--name", "h", stdin=await master.create_token("ci", "admin")
        )
        assert done.code == 0, done.err
        yield ops


async def fine(ops, *words, stdin=""):
    """Run a command that must succeed."""
    done = await ops(*words, stdin=stdin)
    assert done.code == 0, (words, done)
    return done


async def test_a_backup_is_made_verified_saved_and_removed(tmp_path):
    async with desk(tmp_path) as ops:
        made = await fine(ops, "backups", "create", "--note", "before the move")
        assert "succeeded" in made.out
        (name,) = (await fine(ops, "backups", "list", "-q")).lines()
        assert (await fine(ops, "backups", "show", name, "-o", "json")).json()["note"] == "before the move"
        assert "succeeded" in (await fine(ops, "backups", "verify", name)).out
        await fine(ops, "backups", "set", "--keep-count", "3")
        assert (await fine(ops, "backups", "settings", "-o", "json")).json()["keep_count"] == 3
        assert (await fine(ops, "backups", "restored", "-o", "json")).json()["epoch"] == 1
        saved = tmp_path / "saved.zip"
        await fine(ops, "backups", "download", name, "--to", saved)
        assert saved.read_bytes()[:2] == b"PK"
        assert (await ops("backups", "restore", name, "--yes")).code == 1  # its name is asked for once more
        await fine(ops, "backups", "delete", name, "--yes")
        assert (await fine(ops, "backups", "list", "-q")).lines() == []


async def test_a_schedule_is_made_run_paused_changed_and_removed(tmp_path):
    async with desk(tmp_path) as ops:
        assert "backup" in (await fine(ops, "schedules", "kinds", "-o", "json")).out
        seen = await fine(ops, "schedules", "preview", "0 3 * * *", "--timezone", "Asia/Shanghai", "-o", "json")
        assert all("T19:00:00Z" in moment for moment in seen.json()["next_at"])
        words = ("--kind", "backup", "--cron", "0 3 * * *", "--timezone", "Asia/Shanghai", "--missed", "skip")
        await fine(ops, "schedules", "create", "nightly", *words, "--set", "params.artefacts=false")
        listed = await fine(ops, "schedules", "list")
        assert listed.lines()[1].split()[:2] == ["nightly", "backup"]
        await fine(ops, "schedules", "run", "nightly")
        assert len((await fine(ops, "schedules", "history", "nightly", "-o", "json")).json()["items"]) == 1
        await fine(ops, "schedules", "pause", "nightly")
        assert (await fine(ops, "schedules", "show", "nightly", "-o", "json")).json()["is_paused"] is True
        await fine(ops, "schedules", "resume", "nightly")
        await fine(
            ops, "schedules", "replace", "nightly", "--name", "weekly", "--kind", "backup", "--cron", "0 3 * * 1"
        )
        assert (await fine(ops, "schedules", "show", "weekly", "-o", "json")).json()["cron"] == "0 3 * * 1"
        await fine(ops, "schedules", "delete", "weekly", "--yes")
        assert (await fine(ops, "schedules", "list", "-q")).lines() == []


async def test_a_template_is_written_compared_approved_and_rolled_back(tmp_path):
    async with desk(tmp_path) as ops:
        first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
        first.write_text("level: info\n")
        second.write_text("level: debug\n")
        await fine(ops, "templates", "create", "app", "--format", "yaml", "--content", f"@{first}", "--approve", "1")
        await fine(ops, "templates", "write", "app", "--content", f"@{second}", "--note", "more words")
        versions = (await fine(ops, "templates", "versions", "app", "-o", "json")).json()["items"]
        assert [one["version"] for one in versions] == [2, 1]
        assert "+level: debug" in (await fine(ops, "templates", "diff", "app", "1", "2")).out
        await fine(ops, "templates", "approve", "app", "2")
        await fine(ops, "templates", "describe", "app", "how much is said")
        await fine(ops, "templates", "rollback", "app", "--to-version", "1")
        assert (await fine(ops, "templates", "show", "app", "-o", "json")).json()["version"] == 3
        await fine(ops, "variables", "set", "--values", "level=warn")
        assert "warn" in (await fine(ops, "variables", "list", "-o", "json")).out
        await fine(ops, "templates", "delete", "app", "--yes")
        assert (await fine(ops, "templates", "list", "-q")).lines() == []

"""Backups over HTTP on a real master: made, listed, verified, brought out and in, restored; and by the command line."""

import asyncio
import contextlib
import inspect
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime

import msgspec
import pytest

from ops_system.master import main
from ops_system.master.backups.service import UNKNOWN
from ops_system.master.instances import observer
from ops_system.master.instances.rules import Take, judge_report, needs_apply
from ops_system.master.web.route import Principal
from ops_system.model.ids import InstanceId, ModuleId, SystemId
from ops_system.model.instances import Desired, HealthState, InstanceReport, InstanceSpec, State
from ops_system.model.manifest import Manifest
from ops_system.storage.restore import places
from tests.fakes.master import Api, ApiError, run_master
from tests.fakes.packages import make_zip
from tests.fakes.s3 import KEY, SECRET, s3_server

PASS = "a long enough passphrase"
MEDIA = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def web_zip(tmp_path):
    path = tmp_path / "web.zip"
    path.write_bytes(make_zip({"run.sh": "#!/bin/sh\nsleep 600\n"}))
    return path


async def ended(api: Api, operation: dict) -> dict:
    """Return the operation once it has ended."""
    async with asyncio.timeout(60), api.socket("/live") as socket:
        await socket.send_json({"subscribe": ["operations"]})
        while operation["state"] not in {"succeeded", "failed", "cancelled"}:
            await socket.receive()
            operation = await api.get(f"/operations/{operation['id']}")
    return operation


async def make(api: Api, **body) -> dict:
    operation = await ended(api, (await api.post("/backups", body))["operation"])
    assert operation["state"] == "succeeded", operation["error"]
    return (await api.get("/backups?limit=1"))["items"][0]


async def refusal(api: Api, method: str, path: str, body=None, **options) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await api.ask(method, path, body, **options)
    return refused.value


async def test_a_backup_is_made_listed_verified_brought_out_in_and_deleted(tmp_path, web_zip):
    async with run_master(tmp_path) as master, master.admin_client() as api:
        await api.upload(web_zip)
        backup = await make(api, note="before the move")
        assert backup["is_own"]
        assert backup["artefact_count"] == 1
        assert backup["rows"]["packages"] == 1
        assert backup["verified_at"]
        folder = master.master.ground.folder.archives
        assert [path.name for path in folder.iterdir()] == [backup["name"]]
        assert (folder / backup["name"]).stat().st_mode & 0o777 == 0o600
        again = (await api.post(f"/backups/{backup['name']}/verify", {}))["operation"]
        assert (await ended(api, again))["state"] == "succeeded"

        url = f"{master.url}/api/v1/backups"
        async with api.session.get(f"{url}/{backup['name']}/download") as answer:
            assert answer.status == 200
            content = await answer.read()
        assert (await refusal(api, "PUT", "/backups/upload", data=content, headers=MEDIA)).status == 409
        await api.delete(f"/backups/{backup['name']}")
        assert (await api.get("/backups"))["total"] == 0
        taken = await api.ask("PUT", "/backups/upload", data=content, headers=MEDIA)
        assert (taken["name"], taken["note"]) == (backup["name"], "before the move")
        for bad in (content[:-40], b"no backup", b"OPSBACKUP1\n" + content):
            refused = await refusal(api, "PUT", "/backups/upload", data=bad, headers=MEDIA)
            assert refused.status == 422
        assert (await api.get("/backups"))["total"] == 1
        acts = [row["action"] for row in (await api.get("/audit?action=backup."))["items"]]
        assert {"backup.create", "backup.verify", "backup.download", "backup.upload", "backup.delete"} <= set(acts)


async def test_a_restore_brings_back_what_was_and_ends_what_must_not_return(tmp_path):
    async with run_master(tmp_path) as master, master.admin_client() as api:
        await api.post("/systems", {"name": "kept"})
        backup = await make(api)
        await api.post("/systems", {"name": "lost"})
        await api.post("/join-tokens", {})
        refused = await refusal(api, "POST", f"/backups/{backup['name']}/restore", {"confirm": "wrong"})
        assert refused.status == 422
        await api.post(f"/backups/{backup['name']}/restore", {"confirm": backup["name"]})
        async with asyncio.timeout(30):
            await master.stop.event.wait()
    async with run_master(tmp_path, is_set_up=False) as master, master.admin_client() as api:
        assert [one["name"] for one in (await api.get("/systems"))["items"]] == ["kept"]
        restored = await api.get("/backups/restored")
        assert (restored["epoch"], restored["name"], restored["strangers"]) == (2, backup["name"], [])
        assert (await api.get("/join-tokens"))["total"] == 0
        assert (await api.get("/operations?state=running,pending"))["total"] == 0
        assert (await api.get("/audit?action=backup.restore"))["items"][0]["outcome"] == "done"
        assert (await api.get("/audit/verify"))["ok"]
        data = master.master.ground.folder.root
        assert list(data.glob("ops.db.before-restore-*"))
        assert not list(data.glob(".*.restored*"))


async def test_a_sealed_backup_wants_its_passphrase_and_a_refusal_changes_nothing(tmp_path):
    async with run_master(tmp_path) as master, master.admin_client() as api:
        backup = await make(api, passphrase=PASS)
        assert (backup["is_encrypted"], backup["is_own"]) == (True, True)
        for passphrase, code in (("", "needs_passphrase"), ("another long passphrase", "wrong_passphrase")):
            body = {"confirm": backup["name"], "passphrase": passphrase}
            begun = (await api.post(f"/backups/{backup['name']}/restore", body))["operation"]
            operation = await ended(api, begun)
            assert (operation["state"], operation["error"]["code"]) == ("failed", code)
        folder = master.master.ground.folder
        assert not list(folder.root.glob(".*.restored*"))
        path = folder.archives / backup["name"]
        whole = path.read_bytes()
        path.write_bytes(whole[:-200])
        body = {"confirm": backup["name"], "passphrase": PASS}
        operation = await ended(api, (await api.post(f"/backups/{backup['name']}/restore", body))["operation"])
        assert operation["error"]["code"] == "damaged"
        assert (await api.get("/backups/restored"))["epoch"] == 1


async def test_settings_keep_a_number_and_seal_the_passphrase(tmp_path):
    async with run_master(tmp_path) as master, master.admin_client() as api:
        change = {"place": "local", "artefacts": False, "keep_count": 1, "keep_days": 0, "passphrase": PASS}
        settings = await api.ask("PUT", "/backups/settings", change)
        assert settings["is_encrypted"]
        assert "passphrase" not in settings
        first, second = await make(api), await make(api)
        assert second["is_encrypted"]
        assert first["name"] != second["name"]
        assert (await api.get("/backups"))["total"] == 1
        with closing(sqlite3.connect(master.master.ground.folder.database)) as raw:
            assert PASS not in "".join(str(row) for row in raw.execute("SELECT * FROM meta"))
        refused = await refusal(api, "PUT", "/backups/settings", change | {"place": "s3"})
        assert refused.status == 422
        assert (await refusal(api, "PUT", "/backups/settings", change | {"passphrase": "short"})).status == 422


async def test_a_second_one_waits_its_turn_and_the_first_can_be_called_off(tmp_path, monkeypatch):
    is_held, may_go = asyncio.Event(), asyncio.Event()
    from ops_system.storage.database import Database

    copy = Database.backup

    async def held(self, target):
        is_held.set()
        await may_go.wait()
        await copy(self, target)

    async with run_master(tmp_path) as master, master.admin_client() as api:
        monkeypatch.setattr(Database, "backup", held)
        begun = (await api.post("/backups", {}))["operation"]
        await is_held.wait()
        refused = await refusal(api, "POST", "/backups", {})
        assert (refused.status, refused.body["details"]["reason"]) == (409, "backup_busy")
        await api.post(f"/operations/{begun['id']}/cancel")
        may_go.set()
        assert (await ended(api, begun))["state"] == "cancelled"
        assert list(master.master.ground.folder.archives.iterdir()) == []


async def test_a_full_disk_is_said_and_nothing_half_made_stays(tmp_path, monkeypatch):
    from ops_system.master.backups import making

    async with run_master(tmp_path) as master, master.admin_client() as api:
        monkeypatch.setattr(making, "RESERVE_BYTES", 1 << 60)
        operation = await ended(api, (await api.post("/backups", {}))["operation"])
        assert (operation["state"], operation["error"]["code"]) == ("failed", "storage_full")
        assert list(master.master.ground.folder.archives.iterdir()) == []


def run(capsys, *words: str) -> tuple[int, str]:
    code = main.run([str(word) for word in words])
    return code, capsys.readouterr().out.strip()


async def test_one_command_makes_a_master_of_a_backup_in_an_empty_folder(tmp_path, capsys, web_zip):
    async with run_master(tmp_path) as master, master.admin_client() as api:
        await api.upload(web_zip)
        await api.post("/systems", {"name": "kept"})
        key = master.master.ground.trust.ca_key_sha256
        assert master.master.ground.folder.provision.exists()
        secret = (tmp_path / "secret").write_text(f"{PASS}\n") and tmp_path / "secret"
        file = tmp_path / "moved.sealed"
        words = ("backup", "create", file, "-data_dir", tmp_path / "data", "-passphrase-file", secret)
        assert (await asyncio.to_thread(run, capsys, *words)) == (0, str(file))
    new = tmp_path / "new"
    words = ("backup", "restore", file, "-data_dir", new / "data", "-passphrase-file", secret)
    code, said = await asyncio.to_thread(run, capsys, *words)
    assert (code, "epoch 2" in said) == (0, True)
    assert (new / "data" / "provision.db").exists()
    async with run_master(new, is_set_up=False) as master, master.admin_client() as api:
        assert master.master.ground.trust.ca_key_sha256 == key
        assert [one["name"] for one in (await api.get("/systems"))["items"]] == ["kept"]
        package = (await api.get("/packages"))["items"][0]
        async with api.session.get(
            f"{master.url}/api/v1/packages/{package['name']}/{package['version']}/download"
        ) as answer:
            assert await answer.read() == web_zip.read_bytes()


async def test_backups_on_s3_are_sealed_and_come_back_from_there(tmp_path, capsys):
    async with s3_server(tmp_path / "s3") as server:
        flags = {
            "storage__minio__endpoint": server.endpoint,
            "storage__minio__ak": KEY,
            "storage__minio__sk": SECRET,
            "storage__minio__use_ssl": "0",
        }
        async with run_master(tmp_path, **flags) as master, master.admin_client() as api:
            assert (await refusal(api, "POST", "/backups", {"place": "s3"})).body["details"][
                "reason"
            ] == "needs_passphrase"
            backup = await make(api, place="s3", passphrase=PASS)
            assert (backup["place"], backup["is_encrypted"]) == ("s3", True)
            async with api.session.get(f"{master.url}/api/v1/backups/{backup['name']}/download") as answer:
                assert len(await answer.read()) == backup["size_bytes"]
            again = (await api.post(f"/backups/{backup['name']}/verify", {"passphrase": PASS}))["operation"]
            assert (await ended(api, again))["state"] == "succeeded"
        secret = tmp_path / "secret"
        secret.write_text(PASS)
        store = ("-minio_endpoint", server.endpoint, "-minio_ak", KEY, "-minio_sk", SECRET, "-minio_use_ssl", "0")
        words = ("-data_dir", tmp_path / "new", *store)
        code, said = await asyncio.to_thread(run, capsys, "backup", "list", *words)
        assert (code, backup["name"] in said) == (0, True)
        words = (*words, "-passphrase-file", secret)
        code, said = await asyncio.to_thread(run, capsys, "backup", "restore", "s3:latest", *words)
        assert (code, "epoch 2" in said) == (0, True)


async def test_no_restore_under_a_running_master(tmp_path, capsys):
    from ops_system.model.errors import SafetyRefusal

    async with run_master(tmp_path) as master, master.admin_client() as api:
        backup = await make(api)
        path = master.master.ground.folder.archives / backup["name"]
        with pytest.raises(SafetyRefusal, match="already running"):
            await asyncio.to_thread(run, capsys, "backup", "restore", path, "-data_dir", tmp_path / "data")
        before = {name: place.exists() for name, place in places(master.master.ground.folder).items()}
        assert all(before.values())


async def test_after_a_restore_workers_take_the_restored_wish_and_strangers_live(tmp_path, capsys):
    """The number of a wish made in the lost time must not be given out again for another wish."""
    spec = InstanceSpec(
        instance_id=InstanceId("ins-1"),
        generation=3,
        desired=Desired.RUNNING,
        system_id=SystemId("sys-1"),
        module_id=ModuleId("mod-1"),
        name="web",
        package=None,
        service=Manifest(name="web", version="1", entrypoint="run"),
    )
    async with run_master(tmp_path) as master:
        database = master.master.ground.database
        async with database.transaction() as tx:
            await tx.execute(
                "INSERT INTO instances (id, system_id, module_id, node_id, name, package, version, desired, generation,"
                " spec, created_ms) VALUES ('ins-1', 'sys-1', 'mod-1', 'nod-1', 'web', 'web', '1', 'running', 3, ?, 0)",
                (msgspec.json.encode(spec).decode(),),
            )
    file = tmp_path / "b.zip"
    data = ("-data_dir", tmp_path / "data")
    assert (await asyncio.to_thread(run, capsys, "backup", "create", file, *data))[0] == 0
    assert (await asyncio.to_thread(run, capsys, "backup", "restore", file, *data))[0] == 0
    async with run_master(tmp_path, is_set_up=False) as master, master.admin_client() as api:
        row = await master.master.ground.database.fetch_one("SELECT generation, spec FROM instances")
        restored = msgspec.json.decode(row["spec"], type=InstanceSpec)
        assert restored.generation == row["generation"] > 1_000_000_000
        lost = InstanceReport(
            instance_id=spec.instance_id,
            generation=4,  # of a wish that this data does not know
            state=State.RUNNING,
            health=HealthState.HEALTHY,
            at=datetime.now(UTC),
        )
        assert judge_report(restored, lost) is Take.DROP
        assert needs_apply(restored, lost)
        node = Principal(kind="node", id="nod-9", name="nod-9")
        details = {"reason": UNKNOWN}
        await master.master.ground.audit.record_alone(node, "instance.report", "instance:ins-new", "denied", details)
        (stranger,) = (await api.get("/backups/restored"))["strangers"]
        assert (stranger["node_id"], stranger["instance_id"]) == ("nod-9", "ins-new")
    assert UNKNOWN in inspect.getsource(observer)


@pytest.mark.parametrize("wait_for", ["ops.db.restored", "restore.ready", "ops.db.before-restore"])
async def test_a_restore_killed_anywhere_leaves_a_master_that_starts(tmp_path, capsys, wait_for):
    """kill -9 as soon as a trace of each stage is seen; what follows is the old master or the new one, whole."""
    data, file = tmp_path / "data", tmp_path / "b.zip"
    async with run_master(tmp_path) as master, master.admin_client() as api:
        await api.post("/systems", {"name": "old"})
        await asyncio.to_thread(run, capsys, "backup", "create", file, "-data_dir", data)
        await api.post("/systems", {"name": "newer"})
    program = (sys.executable, "-m", "ops_system.master.main", "backup", "restore", str(file), "-data_dir", str(data))
    process = await asyncio.create_subprocess_exec(*program, stderr=asyncio.subprocess.DEVNULL)
    async with asyncio.timeout(60):
        while process.returncode is None and not any(wait_for in path.name for path in data.iterdir()):  # noqa: ASYNC110 - another process writes them
            await asyncio.sleep(0)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    async with run_master(tmp_path, is_set_up=False) as master, master.admin_client() as api:
        names = {one["name"] for one in (await api.get("/systems"))["items"]}
        epoch = (await api.get("/backups/restored"))["epoch"]
        assert (names, epoch) in ((({"old", "newer"}), 1), ({"old"}, 2))
        assert not [path for path in data.iterdir() if ".restored" in path.name or path.name == "restore.ready"]

"""The shelf of kept commands on a real database."""

import pytest

from ops_system.master.audit.service import Audit
from ops_system.master.commands import library
from ops_system.master.commands.library import Library
from ops_system.master.commands.rules import NewSavedCommand
from ops_system.master.web.route import ListQuery
from ops_system.model.errors import Conflict, NotAllowed, NotFound
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations
from tests.fakes.clock import FakeClock
from tests.fakes.orchestration import ANN


@pytest.fixture
async def shelf(tmp_path):
    folder = DataFolder(tmp_path / "data", tmp_path / "data/ops.db", tmp_path / "data/uploads")
    folder.create()
    database = await Database.open(folder, load_migrations("ops_system.master"))
    clock = FakeClock()
    try:
        yield Library(database=database, audit=Audit(database, clock), clock=clock)
    finally:
        await database.close()


async def test_names_are_taken_once_and_what_is_gone_is_not_there(shelf):
    disk = await shelf.add(NewSavedCommand(name="disk", command="df"), ANN)
    load = await shelf.add(NewSavedCommand(name="load", argv=["uptime"], description="how busy"), ANN)
    with pytest.raises(Conflict):
        await shelf.add(NewSavedCommand(name="disk", command="df -h"), ANN)
    with pytest.raises(Conflict):
        await shelf.replace(load.id, NewSavedCommand(name="disk", command="df"), ANN)
    changed = await shelf.replace(disk.id, NewSavedCommand(name="disk", command="df -h"), ANN)
    assert (changed.id, (await shelf.get(disk.id)).command) == (disk.id, "df -h")
    assert [one.name for one in (await shelf.list_page(ListQuery(q="busy"))).items] == ["load"]
    await shelf.remove(disk.id, ANN)
    for ask in (shelf.get(disk.id), shelf.remove(disk.id, ANN)):
        with pytest.raises(NotFound):
            await ask


async def test_a_full_shelf_takes_no_more_and_lets_what_is_there_change(shelf, monkeypatch):
    monkeypatch.setattr(library, "MAX_SAVED", 1)
    kept = await shelf.add(NewSavedCommand(name="disk", command="df"), ANN)
    with pytest.raises(NotAllowed, match="forget one"):
        await shelf.add(NewSavedCommand(name="load", command="uptime"), ANN)
    await shelf.replace(kept.id, NewSavedCommand(name="disks", command="df -h"), ANN)

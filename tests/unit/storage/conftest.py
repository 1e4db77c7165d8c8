from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import Migration

ROWS = Migration(1, "rows", "CREATE TABLE rows (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);")


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    return folder


@pytest.fixture
async def db(folder: DataFolder) -> AsyncIterator[Database]:
    database = await Database.open(folder, (ROWS,))
    yield database
    await database.close()

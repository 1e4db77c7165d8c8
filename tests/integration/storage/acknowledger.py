"""A child process that writes rows and says each one's number on stdout only after its transaction returned.

acknowledger.py DATA [FULL|NORMAL] [CALLERS]
"""

import asyncio
import os
import sys
from pathlib import Path

from ops_system.model.errors import OpsError
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import Migration

ROWS = Migration(1, "rows", "CREATE TABLE rows (number INTEGER PRIMARY KEY, filler BLOB NOT NULL);")


async def write_rows(db: Database, caller: int, callers: int) -> None:
    row = await db.fetch_one("SELECT coalesce(max(number), 0) AS highest FROM rows")
    number = (row["highest"] // callers + 1) * callers + caller
    while True:
        try:
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO rows VALUES (?, randomblob(200))", (number,))
        except OpsError as error:
            os.write(1, f"refused {error.code}\n".encode())
            return
        os.write(1, f"{number}\n".encode())
        number += callers


async def main(data: str, synchronous: str = "FULL", callers: str = "16") -> None:
    folder = DataFolder(Path(data))
    folder.create()
    db = await Database.open(folder, (ROWS,), synchronous=synchronous)
    folder.mark_initialized()
    async with asyncio.TaskGroup() as group:
        for caller in range(int(callers)):
            group.create_task(write_rows(db, caller, int(callers)))
    await db.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

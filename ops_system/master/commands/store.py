"""The SQL of commands. Used by the commands service alone."""

import zlib
from collections.abc import Collection, Mapping

import msgspec

from ops_system.master.commands.rules import (
    Command,
    CommandQuery,
    CommandRun,
    NewSavedCommand,
    Outcome,
    Output,
    SavedCommand,
)
from ops_system.master.web.paging import like, order_by
from ops_system.master.web.route import ListQuery
from ops_system.model.operations import OperationState
from ops_system.model.stamps import from_ms, to_ms
from ops_system.storage.database import Queries, Row, Transaction

_RUN_SORTS: Mapping[str, str] = {"created_at": "o.created_ms", "state": "o.state", "created_by": "o.created_by"}
_SAVED_SORTS: Mapping[str, str] = {"name": "name", "created_at": "created_ms"}
_RUNS = (
    "SELECT r.operation_id AS id, r.command, o.state, o.created_ms, o.created_by,"
    " (SELECT count(*) FROM operation_targets t WHERE t.operation_id = o.id) AS nodes,"
    " (SELECT count(*) FROM operation_targets t WHERE t.operation_id = o.id AND t.state = 'failed') AS failed"
    " FROM command_runs r JOIN operations o ON o.id = r.operation_id"
)

_FROM_RUNS = "FROM command_runs r"
_MATCHING = (
    "WHERE r.command LIKE ?1 ESCAPE '\\' AND (?2 IS NULL OR NOT EXISTS (SELECT 1 FROM operation_targets t"
    " WHERE t.operation_id = r.operation_id AND t.node_id NOT IN (SELECT value FROM json_each(?2))))"
)


def plain(order: Command) -> Command:
    """Return the command alone, without what a longer order adds."""
    return Command(argv=order.argv, command=order.command, timeout_s=order.timeout_s, user=order.user)


async def insert_run(tx: Transaction, operation_id: str, order: Command) -> None:
    """Write a run beside its operation."""
    text = msgspec.json.encode(plain(order)).decode()
    await tx.execute("INSERT INTO command_runs (operation_id, command) VALUES (?, ?)", (operation_id, text))


async def find_run(reader: Queries, operation_id: str) -> CommandRun | None:
    """Return one run."""
    row = await reader.fetch_one(f"{_RUNS} WHERE r.operation_id = ?", (operation_id,))
    return None if row is None else _run(row)


async def list_runs(
    reader: Queries, query: CommandQuery, reached: Collection[str] | None
) -> tuple[list[CommandRun], int]:
    """Return one page, the newest first unless `sort` says otherwise, and how many match.

    `reached`: only runs whose every node is one of these; None: every run.
    """
    order = order_by(query.sort, _RUN_SORTS, "-created_at")
    nodes = None if reached is None else msgspec.json.encode(sorted(reached)).decode()
    total = await reader.fetch_one(f"SELECT count(*) AS n {_FROM_RUNS} {_MATCHING}", (like(query.q), nodes))
    rows = await reader.fetch_all(
        f"{_RUNS} {_MATCHING} ORDER BY {order}, r.operation_id DESC LIMIT ?3 OFFSET ?4",
        (like(query.q), nodes, query.limit, query.offset),
    )
    assert total is not None
    return [_run(row) for row in rows], int(total["n"])


async def save_result(tx: Transaction, operation_id: str, node_id: str, outcome: Outcome, output: Output) -> None:
    """Write what became of one node's part."""
    await tx.execute(
        "INSERT OR REPLACE INTO command_results (operation_id, node_id, outcome, stdout, stderr)"
        " VALUES (?, ?, ?, ?, ?)",
        (
            operation_id,
            node_id,
            msgspec.json.encode(outcome).decode(),
            zlib.compress(output.stdout),
            zlib.compress(output.stderr),
        ),
    )


async def list_results(reader: Queries, operation_id: str) -> dict[str, tuple[Outcome, Output]]:
    """Return what is written, by node."""
    rows = await reader.fetch_all("SELECT * FROM command_results WHERE operation_id = ?", (operation_id,))
    return {row["node_id"]: _result(row) for row in rows}


# --- the library ----------------------------------------------------------------------------------------------------
async def list_saved(reader: Queries, query: ListQuery) -> tuple[list[SavedCommand], int]:
    """Return one page and how many match."""
    matching = "FROM saved_commands WHERE name LIKE ?1 ESCAPE '\\' OR description LIKE ?1 ESCAPE '\\'"
    order = order_by(query.sort, _SAVED_SORTS, "name")
    total = await reader.fetch_one(f"SELECT count(*) AS n {matching}", (like(query.q),))
    rows = await reader.fetch_all(
        f"SELECT * {matching} ORDER BY {order}, id LIMIT ?2 OFFSET ?3", (like(query.q), query.limit, query.offset)
    )
    assert total is not None
    return [_saved(row) for row in rows], int(total["n"])


async def count_saved(reader: Queries) -> int:
    """Return how many are kept."""
    row = await reader.fetch_one("SELECT count(*) AS n FROM saved_commands")
    assert row is not None
    return int(row["n"])


async def find_saved(reader: Queries, saved_id: str) -> SavedCommand | None:
    """Return one."""
    row = await reader.fetch_one("SELECT * FROM saved_commands WHERE id = ?", (saved_id,))
    return None if row is None else _saved(row)


async def find_saved_by_name(reader: Queries, name: str) -> SavedCommand | None:
    """Return the one of this name."""
    row = await reader.fetch_one("SELECT * FROM saved_commands WHERE name = ?", (name,))
    return None if row is None else _saved(row)


async def put_saved(tx: Transaction, saved: SavedCommand, order: NewSavedCommand) -> None:
    """Write a new one, or over the one with this id."""
    text = msgspec.json.encode(plain(order)).decode()
    await tx.execute(
        "INSERT OR REPLACE INTO saved_commands (id, name, description, command, created_ms, created_by)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (saved.id, saved.name, saved.description, text, to_ms(saved.created_at), saved.created_by),
    )


async def delete_saved(tx: Transaction, saved_id: str) -> None:
    """Forget one."""
    await tx.execute("DELETE FROM saved_commands WHERE id = ?", (saved_id,))


# --- rows -----------------------------------------------------------------------------------------------------------
def _run(row: Row) -> CommandRun:
    order = msgspec.json.decode(row["command"], type=Command)
    return CommandRun(
        id=row["id"],
        argv=order.argv,
        command=order.command,
        timeout_s=order.timeout_s,
        user=order.user,
        state=OperationState(row["state"]),
        node_count=row["nodes"],
        failed_count=row["failed"],
        created_at=from_ms(row["created_ms"]),
        created_by=row["created_by"],
    )


def _result(row: Row) -> tuple[Outcome, Output]:
    output = Output()
    output.stdout += zlib.decompress(row["stdout"])
    output.stderr += zlib.decompress(row["stderr"])
    return msgspec.json.decode(row["outcome"], type=Outcome), output


def _saved(row: Row) -> SavedCommand:
    order = msgspec.json.decode(row["command"], type=Command)
    return SavedCommand(
        id=row["id"],
        name=row["name"],
        description=row["description"],
        argv=order.argv,
        command=order.command,
        timeout_s=order.timeout_s,
        user=order.user,
        created_at=from_ms(row["created_ms"]),
        created_by=row["created_by"],
    )

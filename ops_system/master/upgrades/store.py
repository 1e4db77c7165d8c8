"""The SQL of rollouts. Used by the services of this folder alone."""

from collections.abc import Iterable

import msgspec

from ops_system.master.packages.rules import PackageUser
from ops_system.master.upgrades.rules import Phase, Strategy, Target, Upgrade
from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.instances import InstanceSpec
from ops_system.model.reasons import Reason
from ops_system.storage.database import Queries, Row, Transaction

_OPEN = (
    "SELECT u.* FROM upgrades u JOIN operations o ON o.id = u.operation_id"
    " WHERE o.ended_ms IS NULL ORDER BY o.created_ms, o.id"
)


def _reason(text: str | None) -> Reason | None:
    return None if text is None else msgspec.json.decode(text, type=Reason)


def _text(reason: Reason | None) -> str | None:
    return None if reason is None else msgspec.json.encode(reason).decode()


def upgrade_of(row: Row) -> Upgrade:
    """Return the rollout in a row of `upgrades`."""
    return Upgrade(
        operation_id=row["operation_id"],
        module_id=row["module_id"],
        system_id=row["system_id"],
        from_version=row["from_version"],
        to_version=row["to_version"],
        strategy=msgspec.json.decode(row["strategy"], type=Strategy),
        note=row["note"],
        scope=msgspec.json.decode(row["scope"], type=dict[str, str]),
        failure=_reason(row["failure"]),
        bake_until_ms=row["bake_until_ms"],
    )


def _target(row: Row) -> Target:
    return Target(
        instance_id=InstanceId(row["instance_id"]),
        node_id=NodeId(row["node_id"]),
        wave=row["wave"],
        phase=Phase(row["phase"]),
        before=msgspec.json.decode(row["before"], type=InstanceSpec),
        is_touched=bool(row["is_touched"]),
        pid=row["pid"],
        reason=_reason(row["reason"]),
        baseline=msgspec.json.decode(row["baseline"], type=dict[str, float]),
    )


async def insert(tx: Transaction, upgrade: Upgrade, targets: Iterable[Target]) -> None:
    """Write a new rollout."""
    await tx.execute(
        "INSERT INTO upgrades (operation_id, module_id, system_id, from_version, to_version, strategy, note, scope)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            upgrade.operation_id,
            upgrade.module_id,
            upgrade.system_id,
            upgrade.from_version,
            upgrade.to_version,
            msgspec.json.encode(upgrade.strategy).decode(),
            upgrade.note,
            msgspec.json.encode(upgrade.scope).decode(),
        ),
    )
    for target in targets:
        await tx.execute(
            "INSERT INTO upgrade_targets (operation_id, instance_id, node_id, wave, phase, before)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                upgrade.operation_id,
                target.instance_id,
                target.node_id,
                target.wave,
                target.phase,
                msgspec.json.encode(target.before).decode(),
            ),
        )


async def save(tx: Transaction, upgrade: Upgrade) -> None:
    """Write what changes of a rollout itself."""
    await tx.execute(
        "UPDATE upgrades SET failure = ?, bake_until_ms = ? WHERE operation_id = ?",
        (_text(upgrade.failure), upgrade.bake_until_ms, upgrade.operation_id),
    )


async def save_target(tx: Transaction, operation_id: str, target: Target) -> None:
    """Write where an instance stands."""
    await tx.execute(
        "UPDATE upgrade_targets SET phase = ?, is_touched = ?, pid = ?, reason = ?, baseline = ?"
        " WHERE operation_id = ? AND instance_id = ?",
        (
            target.phase,
            int(target.is_touched),
            target.pid,
            _text(target.reason),
            msgspec.json.encode(target.baseline).decode(),
            operation_id,
            target.instance_id,
        ),
    )


async def find(reader: Queries, operation_id: str) -> Upgrade | None:
    """Return one rollout, ended or not."""
    row = await reader.fetch_one("SELECT * FROM upgrades WHERE operation_id = ?", (operation_id,))
    return None if row is None else upgrade_of(row)


async def list_open(reader: Queries) -> list[Upgrade]:
    """Return every rollout whose operation has not ended, the oldest first."""
    return [upgrade_of(row) for row in await reader.fetch_all(_OPEN)]


_ROLLED = (
    "SELECT DISTINCT m.id, s.name || '/' || m.name AS name FROM upgrades u JOIN modules m ON m.id = u.module_id"
    " JOIN systems s ON s.id = m.system_id JOIN operations o ON o.id = u.operation_id"
    " WHERE m.package = ?1 AND (u.from_version = ?2 OR u.to_version = ?2)"
)


async def list_package_returns(reader: Queries, package: str, version: str) -> list[PackageUser]:
    """Return the modules whose kept rollouts went from or to this package version; the id is the module's."""
    rows = await reader.fetch_all(f"{_ROLLED} ORDER BY 2", (package, version))
    return [PackageUser("rollout", row["id"], row["name"]) for row in rows]


async def list_package_rollouts(reader: Queries, package: str, version: str) -> list[PackageUser]:
    """Return the modules that are being rolled out from or to this package version; the id is the module's."""
    rows = await reader.fetch_all(f"{_ROLLED} AND o.ended_ms IS NULL ORDER BY 2", (package, version))
    return [PackageUser("rollout", row["id"], row["name"]) for row in rows]


async def find_target(reader: Queries, operation_id: str, instance_id: str) -> Target | None:
    """Return one instance of a rollout."""
    row = await reader.fetch_one(
        "SELECT * FROM upgrade_targets WHERE operation_id = ? AND instance_id = ?", (operation_id, instance_id)
    )
    return None if row is None else _target(row)


async def list_targets(reader: Queries, operation_id: str) -> list[Target]:
    """Return the instances of a rollout, in waves."""
    rows = await reader.fetch_all(
        "SELECT * FROM upgrade_targets WHERE operation_id = ? ORDER BY wave, instance_id", (operation_id,)
    )
    return [_target(row) for row in rows]


async def list_of_module(reader: Queries, module_id: str, limit: int, offset: int) -> tuple[list[Row], int]:
    """Return one page of a module's rollouts with their operations' state, the newest first."""
    total = await reader.fetch_one("SELECT count(*) AS n FROM upgrades WHERE module_id = ?", (module_id,))
    rows = await reader.fetch_all(
        "SELECT u.*, o.state, o.reverted, o.created_ms, o.ended_ms, o.created_by FROM upgrades u"
        " JOIN operations o ON o.id = u.operation_id WHERE u.module_id = ?"
        " ORDER BY o.created_ms DESC, o.id DESC LIMIT ? OFFSET ?",
        (module_id, limit, offset),
    )
    assert total is not None
    return list(rows), int(total["n"])

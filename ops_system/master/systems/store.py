"""The SQL of systems and modules. Used by the systems service alone."""

from collections.abc import Mapping

import msgspec

from ops_system.master.packages.rules import PackageUser
from ops_system.master.systems.rules import plan_of
from ops_system.master.web.paging import like, order_by
from ops_system.master.web.route import ListQuery
from ops_system.model.ids import ModuleId, SystemId
from ops_system.model.stamps import from_ms, to_ms
from ops_system.model.systems import Module, ModulePlan, System
from ops_system.storage.database import Queries, Row, Transaction

_SYSTEM = (
    "SELECT s.*, (SELECT count(*) FROM modules m WHERE m.system_id = s.id) AS modules,"
    " (SELECT json_group_object(v.name, v.value) FROM layered_values v"
    " WHERE v.kind = 'env' AND v.owner = s.id AND v.sealed IS NULL) AS env,"
    " (SELECT json_group_array(v.name) FROM layered_values v"
    " WHERE v.kind = 'env' AND v.owner = s.id AND v.sealed IS NOT NULL) AS env_secrets FROM systems s"
)
_SYSTEM_SORTS: Mapping[str, str] = {"name": "name", "created_at": "created_ms", "modules": "modules"}
_MODULE_SORTS: Mapping[str, str] = {
    "name": "name",
    "start_order": "start_order",
    "package": "package",
    "version": "version",
    "created_at": "created_ms",
}


def _system(row: Row) -> System:
    return System(
        id=SystemId(row["id"]),
        name=row["name"],
        description=row["description"],
        created_at=from_ms(row["created_ms"]),
        modules=row["modules"],
        env=msgspec.json.decode(row["env"], type=dict[str, str]),
        env_secrets=tuple(sorted(msgspec.json.decode(row["env_secrets"], type=list[str]))),
    )


def _module(row: Row) -> Module:
    plan = msgspec.json.decode(row["plan"], type=ModulePlan)
    return Module(
        id=ModuleId(row["id"]),
        system_id=SystemId(row["system_id"]),
        name=row["name"],
        package=row["package"],
        version=row["version"],
        start_order=row["start_order"],
        created_at=from_ms(row["created_ms"]),
        env_secrets=tuple(sorted(_sealed(row))),
        **{name: getattr(plan, name) for name in ModulePlan.__struct_fields__},
    )


def _sealed(row: Row) -> dict[str, bytes]:
    return msgspec.json.decode(row["secrets"], type=dict[str, bytes])


async def list_sealed(reader: Queries) -> dict[ModuleId, dict[str, bytes]]:
    """Return the sealed values of every module that has some."""
    rows = await reader.fetch_all("SELECT id, secrets FROM modules WHERE secrets <> '{}'")
    return {ModuleId(row["id"]): _sealed(row) for row in rows}


async def find_sealed(reader: Queries, module_id: str) -> dict[str, bytes]:
    """Return the sealed values of one module."""
    row = await reader.fetch_one("SELECT secrets FROM modules WHERE id = ?", (module_id,))
    return {} if row is None else _sealed(row)


async def save_sealed(tx: Transaction, module_id: str, sealed: Mapping[str, bytes]) -> None:
    """Write the sealed values of one module, all of them."""
    await tx.execute("UPDATE modules SET secrets = ? WHERE id = ?", (msgspec.json.encode(sealed).decode(), module_id))


async def find_system(reader: Queries, system_id: str) -> System | None:
    """Return one system."""
    row = await reader.fetch_one(f"{_SYSTEM} WHERE s.id = ?", (system_id,))
    return None if row is None else _system(row)


async def find_system_by_name(reader: Queries, name: str) -> System | None:
    """Return the system of this name."""
    row = await reader.fetch_one(f"{_SYSTEM} WHERE s.name = ?", (name,))
    return None if row is None else _system(row)


async def list_systems(reader: Queries, query: ListQuery, scope: Mapping[str, str]) -> tuple[list[System], int]:
    """Return one page of what a scope sees and how many match in all."""
    pattern = like(query.q)
    order = order_by(query.sort, _SYSTEM_SORTS, "name")
    where, values = "(s.name LIKE ? ESCAPE '\\' OR s.description LIKE ? ESCAPE '\\')", [pattern, pattern]
    if scope:
        reach, more = _reach(scope)
        of_system = "SELECT 1 FROM modules m WHERE m.system_id = s.id"
        where += f" AND (NOT EXISTS ({of_system}) OR EXISTS ({of_system} AND {reach}))"
        values += more
    total = await reader.fetch_one(f"SELECT count(*) AS n FROM systems s WHERE {where}", values)  # noqa: S608 - text made here, values bound
    rows = await reader.fetch_all(
        f"{_SYSTEM} WHERE {where} ORDER BY {order}, s.id LIMIT ? OFFSET ?", (*values, query.limit, query.offset)
    )
    assert total is not None
    return [_system(row) for row in rows], int(total["n"])


def _reach(scope: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return `may_reach` as a condition on a row `m` of modules, with its values."""
    parts, values = ["1"], list[str]()
    for key, value in scope.items():
        parts.append("coalesce(json_extract(m.plan, ?), ?) = ?")
        values += [f'$.placement.labels."{key}"', value, value]
    return " AND ".join(parts), values


async def is_name_taken(reader: Queries, name: str, system_id: str) -> bool:
    """Return whether another system has this name."""
    return await reader.fetch_one("SELECT 1 FROM systems WHERE name = ? AND id <> ?", (name, system_id)) is not None


async def insert_system(tx: Transaction, system: System) -> None:
    """Write a new system."""
    await tx.execute(
        "INSERT INTO systems (id, name, description, created_ms) VALUES (?, ?, ?, ?)",
        (system.id, system.name, system.description, to_ms(system.created_at)),
    )


async def update_system(tx: Transaction, system: System) -> None:
    """Write name and description."""
    await tx.execute(
        "UPDATE systems SET name = ?, description = ? WHERE id = ?", (system.name, system.description, system.id)
    )


async def delete_system(tx: Transaction, system_id: str) -> None:
    """Remove a system with its modules."""
    await tx.execute("DELETE FROM modules WHERE system_id = ?", (system_id,))
    await tx.execute("DELETE FROM systems WHERE id = ?", (system_id,))


async def find_module(reader: Queries, module_id: str) -> Module | None:
    """Return one module."""
    row = await reader.fetch_one("SELECT * FROM modules WHERE id = ?", (module_id,))
    return None if row is None else _module(row)


async def list_modules(reader: Queries, system_id: str) -> list[Module]:
    """Return a system's modules in start order."""
    rows = await reader.fetch_all("SELECT * FROM modules WHERE system_id = ? ORDER BY start_order, name", (system_id,))
    return [_module(row) for row in rows]


async def list_all_modules(reader: Queries) -> list[Module]:
    """Return the modules of every system."""
    return [_module(row) for row in await reader.fetch_all("SELECT * FROM modules")]


async def list_module_page(
    reader: Queries, system_id: str, query: ListQuery, scope: Mapping[str, str]
) -> tuple[list[Module], int]:
    """Return one page of what a scope sees of a system's modules and how many match in all."""
    reach, more = _reach(scope)
    values = (system_id, like(query.q), like(query.q), *more)
    order = order_by(query.sort, _MODULE_SORTS, "start_order")
    where = f"system_id = ? AND (name LIKE ? ESCAPE '\\' OR package LIKE ? ESCAPE '\\') AND {reach}"
    total = await reader.fetch_one(f"SELECT count(*) AS n FROM modules m WHERE {where}", values)  # noqa: S608 - text made here, values bound
    rows = await reader.fetch_all(
        f"SELECT * FROM modules m WHERE {where} ORDER BY {order}, name LIMIT ? OFFSET ?",  # noqa: S608 - see above
        (*values, query.limit, query.offset),
    )
    assert total is not None
    return [_module(row) for row in rows], int(total["n"])


async def list_package_users(reader: Queries, package: str, version: str) -> list[PackageUser]:
    """Return the modules that plan this package version."""
    rows = await reader.fetch_all(
        "SELECT m.id, s.name || '/' || m.name AS name FROM modules m JOIN systems s ON s.id = m.system_id"
        " WHERE m.package = ? AND m.version = ? ORDER BY 2",
        (package, version),
    )
    return [PackageUser("module", row["id"], row["name"]) for row in rows]


async def list_template_users(reader: Queries, template: str) -> list[str]:
    """Return the modules that mount a config template, `system/module`."""
    rows = await reader.fetch_all(
        "SELECT DISTINCT s.name || '/' || m.name AS name FROM modules m JOIN systems s ON s.id = m.system_id,"
        " json_each(m.plan, '$.config_mounts') mount WHERE json_extract(mount.value, '$.template') = ? ORDER BY 1",
        (template,),
    )
    return [row["name"] for row in rows]


async def list_modules_with_template(reader: Queries, template: str) -> list[Module]:
    """Return the modules that mount a config template."""
    rows = await reader.fetch_all(
        "SELECT * FROM modules WHERE id IN (SELECT m.id FROM modules m, json_each(m.plan, '$.config_mounts') mount"
        " WHERE json_extract(mount.value, '$.template') = ?)",
        (template,),
    )
    return [_module(row) for row in rows]


async def insert_module(tx: Transaction, module: Module) -> None:
    """Write a new module."""
    await tx.execute(
        "INSERT INTO modules (id, system_id, name, package, version, start_order, plan, created_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            module.id,
            module.system_id,
            module.name,
            module.package,
            module.version,
            module.start_order,
            msgspec.json.encode(plan_of(module)).decode(),
            to_ms(module.created_at),
        ),
    )


async def update_module(tx: Transaction, module: Module) -> None:
    """Write everything of a module but its ids."""
    await tx.execute(
        "UPDATE modules SET name = ?, package = ?, version = ?, start_order = ?, plan = ? WHERE id = ?",
        (
            module.name,
            module.package,
            module.version,
            module.start_order,
            msgspec.json.encode(plan_of(module)).decode(),
            module.id,
        ),
    )


async def delete_module(tx: Transaction, module_id: str) -> None:
    """Remove one module."""
    await tx.execute("DELETE FROM modules WHERE id = ?", (module_id,))

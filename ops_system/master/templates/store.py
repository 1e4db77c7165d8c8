"""The SQL of config templates. Used by the templates service alone."""

from collections.abc import Mapping

from ops_system.master.templates.rules import ConfigTemplate, TemplateVersion
from ops_system.master.web.paging import like, order_by
from ops_system.master.web.route import ListQuery
from ops_system.model.formats import Format
from ops_system.model.stamps import from_ms, from_ms_or_none, to_ms, to_ms_or_none
from ops_system.storage.database import Queries, Row, Transaction

_TEMPLATE = (
    "SELECT t.*, v.version, v.created_ms AS updated_ms, v.created_by AS updated_by,"
    " (SELECT max(a.version) FROM config_template_versions a"
    " WHERE a.template_id = t.id AND a.approved_ms IS NOT NULL) AS approved"
    " FROM config_templates t JOIN config_template_versions v ON v.template_id = t.id"
    " AND v.version = (SELECT max(n.version) FROM config_template_versions n WHERE n.template_id = t.id)"
)
_SORTS: Mapping[str, str] = {
    "name": "name",
    "format": "format",
    "version": "version",
    "updated_at": "updated_ms",
    "created_at": "created_ms",
}


def _template(row: Row) -> ConfigTemplate:
    return ConfigTemplate(
        id=row["id"],
        name=row["name"],
        format=Format(row["format"]),
        description=row["description"],
        version=row["version"],
        approved_version=row["approved"],
        created_at=from_ms(row["created_ms"]),
        created_by=row["created_by"],
        updated_at=from_ms(row["updated_ms"]),
        updated_by=row["updated_by"],
    )


def _version(row: Row) -> TemplateVersion:
    return TemplateVersion(
        version=row["version"],
        content=row["content"],
        note=row["note"],
        created_at=from_ms(row["created_ms"]),
        created_by=row["created_by"],
        approved_at=from_ms_or_none(row["approved_ms"]),
        approved_by=row["approved_by"],
    )


async def find(reader: Queries, template_id: str) -> ConfigTemplate | None:
    """Return one template."""
    row = await reader.fetch_one(f"{_TEMPLATE} WHERE t.id = ?", (template_id,))
    return None if row is None else _template(row)


async def find_by_name(reader: Queries, name: str) -> ConfigTemplate | None:
    """Return the template of this name."""
    row = await reader.fetch_one(f"{_TEMPLATE} WHERE t.name = ?", (name,))
    return None if row is None else _template(row)


async def list_page(reader: Queries, query: ListQuery) -> tuple[list[ConfigTemplate], int]:
    """Return one page, by name unless sorted otherwise, and how many match in all."""
    pattern, order = like(query.q), order_by(query.sort, _SORTS, "name")
    where = "name LIKE ? ESCAPE '\\' OR description LIKE ? ESCAPE '\\'"
    total = await reader.fetch_one(f"SELECT count(*) AS n FROM config_templates WHERE {where}", (pattern, pattern))  # noqa: S608 - text made here, values bound
    rows = await reader.fetch_all(
        f"SELECT * FROM ({_TEMPLATE}) WHERE {where} ORDER BY {order}, id LIMIT ? OFFSET ?",  # noqa: S608 - see above
        (pattern, pattern, query.limit, query.offset),
    )
    assert total is not None
    return [_template(row) for row in rows], int(total["n"])


async def find_version(reader: Queries, template_id: str, version: int) -> TemplateVersion | None:
    """Return one version."""
    row = await reader.fetch_one(
        "SELECT * FROM config_template_versions WHERE template_id = ? AND version = ?", (template_id, version)
    )
    return None if row is None else _version(row)


async def list_versions(reader: Queries, template_id: str, query: ListQuery) -> tuple[list[TemplateVersion], int]:
    """Return one page of versions, the newest first, and how many there are."""
    total = await reader.fetch_one(
        "SELECT count(*) AS n FROM config_template_versions WHERE template_id = ?", (template_id,)
    )
    rows = await reader.fetch_all(
        "SELECT * FROM config_template_versions WHERE template_id = ? ORDER BY version DESC LIMIT ? OFFSET ?",
        (template_id, query.limit, query.offset),
    )
    assert total is not None
    return [_version(row) for row in rows], int(total["n"])


async def insert(tx: Transaction, template: ConfigTemplate) -> None:
    """Write a new template; its first version comes beside."""
    await tx.execute(
        "INSERT INTO config_templates (id, name, format, description, created_ms, created_by)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            template.id,
            template.name,
            template.format,
            template.description,
            to_ms(template.created_at),
            template.created_by,
        ),
    )


async def save_description(tx: Transaction, template_id: str, description: str) -> None:
    """Write the description."""
    await tx.execute("UPDATE config_templates SET description = ? WHERE id = ?", (description, template_id))


async def insert_version(tx: Transaction, template_id: str, version: TemplateVersion) -> None:
    """Write a new version."""
    await tx.execute(
        "INSERT INTO config_template_versions (template_id, version, content, note, created_ms, created_by,"
        " approved_ms, approved_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            template_id,
            version.version,
            version.content,
            version.note,
            to_ms(version.created_at),
            version.created_by,
            to_ms_or_none(version.approved_at),
            version.approved_by,
        ),
    )


async def save_approval(tx: Transaction, template_id: str, version: TemplateVersion) -> None:
    """Write who approved a version."""
    await tx.execute(
        "UPDATE config_template_versions SET approved_ms = ?, approved_by = ? WHERE template_id = ? AND version = ?",
        (to_ms_or_none(version.approved_at), version.approved_by, template_id, version.version),
    )


async def delete(tx: Transaction, template_id: str) -> None:
    """Remove a template with its versions."""
    await tx.execute("DELETE FROM config_templates WHERE id = ?", (template_id,))

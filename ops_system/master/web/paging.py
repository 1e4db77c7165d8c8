"""How a list's `sort` becomes SQL. Called by the stores; column names come from the code, never from the caller."""

from collections.abc import Mapping

from ops_system.model.errors import Invalid


def order_by(sort: str, columns: Mapping[str, str], default: str) -> str:
    """Return the text after ORDER BY for `sort` (`field` or `-field`); `columns` maps field names to columns.

    `default` is used for an empty `sort`, in the same spelling. Raises `Invalid` for a field that cannot be sorted by.
    """
    wanted = sort or default
    field = wanted.removeprefix("-")
    if field not in columns:
        known = sorted(columns)
        message = f"sort: there is no field {field!r} here; use one of {', '.join(known)}"
        raise Invalid(message, problems=[message])
    return f"{columns[field]} {'DESC' if wanted.startswith('-') else 'ASC'}"


def like(text: str) -> str:
    """Return the LIKE pattern (escape character: backslash) of "contains `text`"."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"

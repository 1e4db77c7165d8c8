"""From the bytes of a request to the types a route names. Pure; every refusal says where and what (trust S20)."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ops_system.model.errors import Invalid, TooLarge, UnsupportedMedia

MAX_BODY_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_PAGE = 500
MAX_OFFSET = 2**53  # what JSON readers agree on, and well below what the database can count
JSON_MEDIA = "application/json"

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)
_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)


def check_media(content_type: str, encoding: str, wanted: str) -> None:
    """Raise `UnsupportedMedia` unless the header names `wanted` (parameters such as charset are ignored)."""
    given = content_type.partition(";")[0].strip().lower()
    if given != wanted:
        shown = given or "none"
        raise UnsupportedMedia(f"this route takes {wanted}; the request says {shown}", wanted=wanted, given=given)
    if encoding and encoding.lower() != "identity":
        raise UnsupportedMedia(f"the body is sent as {encoding}; send it plain", wanted="identity", given=encoding)


def check_size(size_bytes: int, limit_bytes: int = MAX_BODY_BYTES) -> None:
    """Raise `TooLarge` when a body has more bytes than allowed."""
    if size_bytes > limit_bytes:
        raise TooLarge(f"the body is larger than {limit_bytes} bytes", limit_bytes=limit_bytes)


def check_depth(raw: bytes, limit: int = MAX_DEPTH) -> None:
    """Raise `Invalid` when arrays and objects are nested deeper than `limit`."""
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return
    depth = 0
    for token in _TOKENS.finditer(raw):
        first = raw[token.start()]
        if first in b"[{":
            depth += 1
            if depth > limit:
                raise Invalid(f"the body is nested deeper than {limit}", problems=[f"$: nested deeper than {limit}"])
        elif first in b"]}":
            depth -= 1


def decode_body(raw: bytes, wanted: Any) -> Any:
    """Decode a JSON body to the struct type `wanted`; an empty body counts as `{}`."""
    check_size(len(raw))
    check_depth(raw)
    try:
        return msgspec.json.decode(raw or b"{}", type=wanted)
    except msgspec.ValidationError as error:
        problem = describe(error)
        raise Invalid(f"the body does not fit: {problem}", problems=[problem]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"the body is not JSON: {error}", problems=[f"$: {error}"]) from error


def describe(error: Exception) -> str:
    """Turn msgspec's words into `path: text`."""
    found = _AT.match(str(error))
    if found is None or found["path"] is None:
        return f"$: {error}"
    return f"{found['path']}: {found['what']}"


def decode_query(pairs: Mapping[str, list[str]], wanted: type[msgspec.Struct]) -> Any:
    """Decode query parameters to the struct type `wanted`; an unknown or repeated one is `Invalid`."""
    known = {field.encode_name for field in msgspec.structs.fields(wanted)}
    problems = [f"{name}: no such parameter" for name in pairs if name not in known]
    problems += [f"{name}: given {len(values)} times" for name, values in pairs.items() if len(values) > 1]
    if problems:
        hint = ", ".join(sorted(known)) or "none"
        raise Invalid(f"the query does not fit: {problems[0]} (this route knows: {hint})", problems=problems)
    try:
        query = msgspec.convert({name: values[0] for name, values in pairs.items()}, wanted, strict=False)
    except msgspec.ValidationError as error:
        problem = describe(error).removeprefix("$.")
        raise Invalid(f"the query does not fit: {problem}", problems=[problem]) from error
    _check_numbers(query)
    _check_page(query)
    return query


def _check_numbers(query: msgspec.Struct) -> None:
    """Numbers of a query are asked of the database, which knows 64 bits."""
    named = ((field.encode_name, getattr(query, field.name)) for field in msgspec.structs.fields(query))
    problems = [f"{name}: too large a number" for name, value in named if _is_beyond_64_bits(value)]
    if problems:
        raise Invalid(f"the query does not fit: {problems[0]}", problems=problems)


def _is_beyond_64_bits(value: object) -> bool:
    return isinstance(value, int) and not -(1 << 63) <= value < 1 << 63


def _check_page(query: msgspec.Struct) -> None:
    limit, offset = getattr(query, "limit", 1), getattr(query, "offset", 0)
    problems = []
    if isinstance(limit, int) and not 1 <= limit <= MAX_PAGE:
        problems.append(f"limit: must be from 1 to {MAX_PAGE}")
    if isinstance(offset, int) and not 0 <= offset <= MAX_OFFSET:
        problems.append(f"offset: must be from 0 to {MAX_OFFSET}")
    if problems:
        raise Invalid(f"the query does not fit: {problems[0]}", problems=problems)

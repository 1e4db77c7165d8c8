"""The shape of a JSON document against a msgspec struct: every fault at once, each with its JSON path.

msgspec itself stops at the first fault; people who write a document by hand want the whole list. Used for
service.json and for overrides of a module.
"""

import difflib
import json
from typing import Any, NoReturn

import msgspec
from msgspec import inspect

MAX_DOCUMENT_BYTES = 1024 * 1024
MAX_PROBLEM_CHARS = 300
MAX_INTEGER = 2**53  # beyond it JSON readers disagree

_WORDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "null",
}

_NEUTRAL: dict[type[inspect.Type], Any] = {inspect.StrType: "", inspect.IntType: 0, inspect.BoolType: False}
_SCALARS: dict[type[inspect.Type], type] = {inspect.StrType: str, inspect.IntType: int, inspect.BoolType: bool}


class Shape(msgspec.Struct, frozen=True):
    """The faults as `path: text`, their paths, and the document with neutral values in their place."""

    problems: list[str]
    paths: frozenset[str]
    repaired: Any

    def is_faulty(self, path: str) -> bool:
        """Return whether the value at `path`, or one around it, is not what the author wrote."""
        return any(path == bad or path.startswith((f"{bad}.", f"{bad}[")) for bad in self.paths)


def parse_json(data: bytes) -> tuple[Any, list[str]]:
    """Return the document and what is wrong with the text: it is no JSON, or a key stands twice."""
    if len(data) > MAX_DOCUMENT_BYTES:
        return None, [f"$: larger than {MAX_DOCUMENT_BYTES} bytes"]
    doubles: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                doubles.append(printable(f'$: the key "{key}" stands twice in one object'))
            seen[key] = value
        return seen

    try:
        document = json.loads(data.decode("utf-8-sig"), object_pairs_hook=collect, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        return None, [f"$: not UTF-8 text at byte {error.start}"]
    except json.JSONDecodeError as error:
        return None, [f"$: no valid JSON at line {error.lineno}, column {error.colno}: {error.msg}"]
    except ValueError as error:
        return None, [f"$: no valid JSON: {error}"]
    except RecursionError:
        return None, ["$: nested too deeply"]
    return document, doubles


def check_shape(document: Any, struct: type[msgspec.Struct]) -> Shape:
    """Compare the document with the struct: unknown and missing keys, wrong types, words that are not in a choice."""
    walker = _Walker()
    repaired = walker.walk(document, inspect.type_info(struct), "$")
    return Shape(walker.problems, frozenset(walker.paths), repaired)


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name} is no JSON number"
    raise ValueError(msg)


class _Walker:
    """One pass over a document; returns for each value itself or a neutral stand-in of the right type."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.paths: set[str] = set()

    def walk(self, value: Any, info: inspect.Type, path: str) -> Any:
        match info:
            case inspect.StructType():
                return self._struct(value, info, path)
            case inspect.DictType():
                return self._dict(value, info, path)
            case inspect.VarTupleType():
                return self._list(value, info, path)
            case inspect.UnionType():
                return self._union(value, info, path)
            case inspect.LiteralType():
                return self._literal(value, info, path)
            case _:
                return self._scalar(value, info, path)

    def _fault(self, path: str, text: str) -> None:
        self.problems.append(printable(f"{path}: {text}"))
        self.paths.add(path)

    def _expected(self, path: str, wanted: type, value: Any) -> None:
        self._fault(path, f"must be {_WORDS[wanted]}, not {_WORDS.get(type(value), 'this')}")

    def _struct(self, value: Any, info: inspect.StructType, path: str) -> Any:
        if not isinstance(value, dict):
            self._expected(path, dict, value)
            return _neutral(info)
        fields = {field.encode_name: field for field in info.fields}
        for key in value:
            if key not in fields:
                close = difflib.get_close_matches(key, list(fields), n=1, cutoff=0.5)
                hint = f'; did you mean "{close[0]}"?' if close else ""
                self._fault(f"{path}.{key}", f"unknown key{hint}")
        repaired: dict[str, Any] = {}
        for name, field in fields.items():
            if name in value:
                item = self.walk(value[name], field.type, f"{path}.{name}")
                if field.required or f"{path}.{name}" not in self.paths:  # else the field's default stands in
                    repaired[name] = item
            elif field.required:
                self._fault(f"{path}.{name}", "required, but missing")
                repaired[name] = _neutral(field.type)
        return repaired

    def _dict(self, value: Any, info: inspect.DictType, path: str) -> Any:
        if not isinstance(value, dict):
            self._expected(path, dict, value)
            return {}
        return {key: self.walk(item, info.value_type, f"{path}.{key}") for key, item in value.items()}

    def _list(self, value: Any, info: inspect.VarTupleType, path: str) -> Any:
        if not isinstance(value, list):
            self._expected(path, list, value)
            return []
        return [self.walk(item, info.item_type, f"{path}[{index}]") for index, item in enumerate(value)]

    def _union(self, value: Any, info: inspect.UnionType, path: str) -> Any:
        """`X | None`: the only union a document may have."""
        if value is None and any(isinstance(part, inspect.NoneType) for part in info.types):
            return None
        part = next(part for part in info.types if not isinstance(part, inspect.NoneType | inspect.CustomType))
        return self.walk(value, part, path)

    def _literal(self, value: Any, info: inspect.LiteralType, path: str) -> Any:
        if isinstance(value, str) and value in info.values:
            return value
        words = [str(word) for word in info.values]
        close = difflib.get_close_matches(value, words, n=1, cutoff=0.5) if isinstance(value, str) else []
        hint = f'; did you mean "{close[0]}"?' if close else ""
        self._fault(path, f"must be one of {', '.join(words)}{hint}")
        return words[0]

    def _scalar(self, value: Any, info: inspect.Type, path: str) -> Any:
        wanted = _SCALARS[type(info)]
        if type(value) is not wanted:
            self._expected(path, wanted, value)
            return wanted()
        if isinstance(value, str) and _is_unprintable(value):
            self._fault(path, "contains NUL, or half of a surrogate pair")
            return ""
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            self._fault(path, "is too large a number")
            return 0
        return value


def printable(text: str) -> str:
    """Return one line that no log, terminal or encoder stumbles over: keys of a document may hold anything."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text[:MAX_PROBLEM_CHARS])


def _is_unprintable(text: str) -> bool:
    return any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text)


def _neutral(info: inspect.Type) -> Any:
    """A value of the right type that says nothing."""
    if isinstance(info, inspect.StructType):
        return {field.encode_name: _neutral(field.type) for field in info.fields if field.required}
    if isinstance(info, inspect.LiteralType):
        return info.values[0]
    return _NEUTRAL.get(type(info))

"""Whether a text is what its format says: yaml, json, toml, properties, ini. Pure; a fault has line and column.

The master looks when a config template is saved and when it is rendered for an instance, the worker before it writes.
"""

import configparser
import json
import re
import tomllib
from enum import StrEnum
from typing import Any

import msgspec
import yaml

MAX_DEPTH = 64

_YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TOML_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")
_ESCAPE = re.compile(r"\\u(?![0-9A-Fa-f]{4})")


class Format(StrEnum):
    """What a config file is written in; `text` is looked at by nobody."""

    YAML = "yaml"
    JSON = "json"
    TOML = "toml"
    PROPERTIES = "properties"
    INI = "ini"
    TEXT = "text"


class Fault(msgspec.Struct, frozen=True):
    """What is wrong, and where; lines and columns count from 1, a column 0 is not known."""

    line: int
    column: int
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}" + (f", column {self.column}" if self.column else "")
        return f"{where}: {self.message}"


def find_fault(kind: Format, text: str) -> Fault | None:
    """Return the first fault of `text`, None when it is well."""
    match kind:
        case Format.YAML:
            return _yaml_fault(text)
        case Format.JSON:
            return _json_fault(text)
        case Format.TOML:
            return _toml_fault(text)
        case Format.INI:
            return _ini_fault(text)
        case Format.PROPERTIES:
            return _properties_fault(text)
        case Format.TEXT:
            return None


def _yaml_fault(text: str) -> Fault | None:
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_YAML):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                mark: Any = event.start_mark
                return Fault(mark.line + 1, mark.column + 1, "nested too deeply")
        for _ in yaml.compose_all(text, Loader=_YAML):  # names of anchors are looked up here
            pass
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        words = f"no valid YAML: {problem.problem or problem.context}"
        return Fault(1, 0, words) if mark is None else Fault(mark.line + 1, mark.column + 1, words)
    except yaml.YAMLError:
        return Fault(1, 0, "no valid YAML: a character that is not allowed")
    return None


def _json_fault(text: str) -> Fault | None:
    try:
        json.loads(text)
    except json.JSONDecodeError as problem:
        return Fault(problem.lineno, problem.colno, f"no valid JSON: {problem.msg}")
    except RecursionError:
        return Fault(1, 0, "no valid JSON: nested too deeply")
    return None


def _toml_fault(text: str) -> Fault | None:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        words = str(problem)
        place = _TOML_PLACE.search(words)
        line, column = (int(place[1]), int(place[2])) if place else (text.count("\n") + 1, 0)
        return Fault(line, column, f"no valid TOML: {words.partition(' (at ')[0]}")
    except RecursionError:
        return Fault(1, 0, "no valid TOML: nested too deeply")
    return None


def _ini_fault(text: str) -> Fault | None:
    parser = configparser.RawConfigParser(allow_no_value=True)
    try:
        parser.read_string(text)
    except configparser.MissingSectionHeaderError as problem:
        return Fault(problem.lineno, 1, "no valid INI: a key before the first [section]")
    except (configparser.DuplicateOptionError, configparser.DuplicateSectionError) as problem:
        return Fault(problem.lineno or 1, 1, "no valid INI: the same name stands here a second time")
    except configparser.ParsingError as problem:
        return Fault(
            problem.errors[0][0] if problem.errors else 1, 1, "no valid INI: neither [section] nor key = value"
        )
    return None


def _properties_fault(text: str) -> Fault | None:
    """Java's form: nearly everything is well; an escape has four hex digits, a key comes before its value."""
    is_continued = False
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.lstrip()
        if not is_continued and stripped[:1] in {"#", "!"}:
            continue
        bad = _ESCAPE.search(line)
        if bad is not None and not _is_escaped(line, bad.start()):
            return Fault(number, bad.start() + 1, "no valid properties: \\u wants four hexadecimal digits")
        if not is_continued and stripped[:1] in {"=", ":"}:
            return Fault(number, len(line) - len(stripped) + 1, "no valid properties: a value without a key")
        is_continued = (len(line) - len(line.rstrip("\\"))) % 2 == 1
    return None


def _is_escaped(line: str, place: int) -> bool:
    before = line[:place]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1

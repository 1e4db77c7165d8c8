"""`.packignore`: which files stay out of a package, by git's rules for patterns (gitignore(5)), without nested files.

`*.log` matches at any depth, `/build` and `a/b` from the root, `tmp/` only folders, `!keep.log` brings back; the last
matching pattern decides, and nothing below an ignored folder can be brought back.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

FILE_NAME = ".packignore"
DEFAULTS = (".git", ".hg", ".svn", "__pycache__", "*.pyc", ".DS_Store", "Thumbs.db", FILE_NAME)


@dataclass(frozen=True)
class _Pattern:
    regex: re.Pattern[str]
    is_negated: bool
    is_folder_only: bool


class IgnoreRules:
    """The defaults, then the lines of a `.packignore`."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._patterns = [pattern for line in (*DEFAULTS, *lines) if (pattern := _parse(line)) is not None]

    def is_ignored(self, path: str, *, is_dir: bool) -> bool:
        """Return whether this path (relative, slashes) is left out; ask for folders first and do not enter those."""
        for pattern in reversed(self._patterns):
            if (is_dir or not pattern.is_folder_only) and pattern.regex.match(path):
                return not pattern.is_negated
        return False


def _parse(line: str) -> _Pattern | None:
    """One line, or None for a comment and an empty one."""
    text = _strip_end(line.rstrip("\r\n"))
    if not text or text.startswith("#"):
        return None
    is_negated = text.startswith("!")
    text = text[1:] if is_negated else text
    is_folder_only = text.endswith("/")
    text = text.removesuffix("/")
    if not text:
        return None
    is_anchored = "/" in text
    regex = _to_regex(text.removeprefix("/"))
    return _Pattern(re.compile(regex if is_anchored else f"(?:.*/)?{regex}"), is_negated, is_folder_only)


def _strip_end(line: str) -> str:
    """Trailing spaces do not count unless escaped."""
    while line.endswith(" ") and not line.endswith("\\ "):
        line = line[:-1]
    return line


_TOKEN = re.compile(
    r"(?P<folders>(?:(?<=/)|\A)\*{2,}/)|(?P<inside>(?<=/)\*{2,}\Z)|(?P<star>\*+)|(?P<one>\?)"
    r"|(?P<set>\[(?:!(?:\]|[^\]/])|\]|[^\]/!])[^\]/]*\])|\\(?P<plain>.)|(?P<char>.)",
    re.DOTALL,
)


def _to_regex(pattern: str) -> str:
    parts: list[str] = []
    for match in _TOKEN.finditer(pattern):
        if match["folders"]:
            parts.append("(?:.*/)?")
        elif match["inside"]:
            parts.append(".+")
        elif match["star"]:
            parts.append("[^/]*")
        elif match["one"]:
            parts.append("[^/]")
        elif match["set"]:
            parts.append(_set_regex(match["set"]))
        else:
            parts.append(re.escape(match["plain"] or match["char"]))
    return "".join(parts) + r"\Z"


def _set_regex(text: str) -> str:
    """`[a-z]` or `[!a-z]`; one that makes no sense, such as `[z-a]`, stands for itself."""
    inside = text[1:-1]
    if "--" in inside:  # means a difference of sets in Python's patterns to come
        return re.escape(text)
    is_negated = inside.startswith("!")
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside[1:] if is_negated else inside)
    regex = f"(?!/)[{'^' if is_negated else ''}{escaped}]"
    try:
        re.compile(regex)
    except re.error:
        return re.escape(text)
    return regex

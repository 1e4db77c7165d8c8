"""Command lines of every role: Go-style flags, words for commands, one-line errors that name the nearest known thing.

A flag takes one dash or two, `_` and `-` are alike, the value follows after a space or `=`, and flags may stand before
or after the words: `master -data_dir=D token create ci --role viewer`. `--` ends the flags. The last of two wins.

    COMMANDS = Program("ops-master", "…", (Command((), "run the master", flags=SCHEMA.flags()),
                                           Command(("user", "create"), "…", arguments=(Argument("NAME"),), flags=…)))
    def serve(argv: list[str]) -> int:
        parsed = parse(COMMANDS, argv)
        …
    def main() -> int:
        return run_role("ops-master", serve)
"""

import difflib
import ipaddress
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TextIO
from urllib.parse import urlsplit

from ops_system import __version__
from ops_system.model.errors import Invalid, OpsError, SafetyRefusal, UsageError
from ops_system.model.language import is_chinese
from ops_system.model.quantities import parse_duration_s, parse_size_bytes

EXIT_FINE, EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED = 0, 1, 2, 3
_WIDTH = 30
_CHINESE = {
    ": ": "：",
    "usage:": "用法：",
    "[flags]": "[选项]",
    "flags (one dash or two, - and _ alike):": "选项（一个或两个横线均可，- 与 _ 等同）：",
    " (default {})": "（默认 {}）",
    "this text, or the version; then exit": "显示本说明或版本，然后退出",
}


class Secret:
    """A text that shows itself only on request, so that no repr, log line or error carries it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(***)" if self._text else "Secret()"


Value = str | int | float | bool | tuple[str, ...] | dict[str, str] | Secret


@dataclass(frozen=True)
class Kind:
    """How a value is written and what it becomes. `read` raises Invalid. `suffix` is the unit in a field's name."""

    metavar: str
    read: Callable[[str], Value]
    natives: tuple[type, ...] = ()  # YAML scalars that may be written without quotes; list: a YAML list of texts
    suffix: str = ""
    is_switch: bool = False  # present or not; takes no value


def _read_bool(text: str) -> bool:
    match text.strip().lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
    raise Invalid(f'"{text}" is neither 1 nor 0')


def _read_port(text: str) -> int:
    digits = text.strip().removeprefix(":")
    if not (digits.isascii() and digits.isdigit() and int(digits[:6]) <= 65535):  # noqa: PLR2004 - the largest port
        raise Invalid(f'"{text}" is not a port; write 0 to 65535 (0 takes a free one)')
    return int(digits)


def _read_list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _read_networks(text: str) -> tuple[str, ...]:
    networks = _read_list(text)
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            words = f'"{network}" is no address and no network; write 10.0.0.7, 10.0.0.0/24 or fd00::/8'
            raise Invalid(words) from None
    return networks


def _read_labels(text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    for part in _read_list(text):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise Invalid(f'"{part}" is not a label; write KEY=VALUE,KEY=VALUE')
        labels[key.strip()] = value.strip()
    return labels


def _read_url(text: str) -> str:
    if not text:
        return text
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise Invalid("this is no address of a server; write http://HOST:PORT or https://HOST:PORT")
    return text.rstrip("/")


TEXT = Kind("TEXT", str)
URL = Kind("URL", _read_url)
SECRET = Kind("SECRET", Secret)
BOOL = Kind("0|1", _read_bool, (bool, int))
SWITCH = Kind("", _read_bool, is_switch=True)
PORT = Kind("PORT", _read_port, (int,))
LIST = Kind("A,B", _read_list, (list,))
NETWORKS = Kind("NETWORK,…", _read_networks, (list,))
LABELS = Kind("K=V,…", _read_labels)
SIZE = Kind("SIZE", parse_size_bytes, (int,), "_bytes")


def choice(*words: str) -> Kind:
    """A kind that takes one of `words`."""

    def read(text: str) -> str:
        if text in words:
            return text
        raise Invalid(f'"{text}" is none of {", ".join(words)}{nearest(text, words)}')

    return Kind("|".join(words), read)


def choices(*words: str) -> Kind:
    """A kind that takes some of `words`, separated by commas."""
    one = choice(*words)

    def read(text: str) -> tuple[str, ...]:
        return tuple(str(one.read(part)) for part in _read_list(text))

    return Kind("A,B", read, (list,))


def integer(minimum: int = 0, maximum: int = 2**31 - 1) -> Kind:
    """A whole number within bounds."""

    def read(text: str) -> int:
        digits = text.strip()
        if not (digits.isascii() and digits.isdigit() and minimum <= int(digits[:12]) <= maximum):
            raise Invalid(f'"{text}" is not a whole number from {minimum} to {maximum}')
        return int(digits)

    return Kind("N", read, (int,))


def duration(minimum_s: float = 0.0) -> Kind:
    """A duration of at least `minimum_s`; the field it fills ends in `_s`."""

    def read(text: str) -> float:
        seconds = parse_duration_s(text)
        if seconds < minimum_s:
            raise Invalid(f'"{text}" is too short; the least is {minimum_s:g}s')
        return seconds

    return Kind("DURATION", read, suffix="_s")


@dataclass(frozen=True)
class Flag:
    """One flag. `default` is shown in the help only; a flag that was not given is absent from `Parsed`."""

    name: str
    kind: Kind
    help: str
    default: str = ""


@dataclass(frozen=True)
class Argument:
    """A word that is no command. The last one of a command may be optional, or take all words that are left."""

    name: str
    is_optional: bool = False
    is_many: bool = False

    def usage(self) -> str:
        """Return it as help shows it: `NAME`, `[NAME]`, `NAME…`."""
        shown = f"{self.name}…" if self.is_many else self.name
        return f"[{shown}]" if self.is_optional else shown


@dataclass(frozen=True)
class Command:
    """What a program does on these words. No words: what it does when none are given."""

    words: tuple[str, ...]
    help: str
    arguments: tuple[Argument, ...] = ()
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True)
class Program:
    """A whole command line. A flag that several commands take must be of one kind in all of them.

    `chinese` has each English help and default in Chinese; words that are Chinese already need none.
    """

    name: str
    help: str
    commands: tuple[Command, ...]
    chinese: Mapping[str, str] = field(default_factory=dict)

    def known_flags(self) -> dict[str, Flag]:
        """Every flag by its canonical name."""
        return {canonical(flag.name): flag for command in self.commands for flag in command.flags}


@dataclass(frozen=True)
class Parsed:
    """A command line that was understood. `texts` holds the flags as written, by canonical name (`data-dir`)."""

    command: tuple[str, ...]
    arguments: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    many: tuple[str, ...] = ()  # the words of an argument that takes all that are left

    def text(self, name: str, default: str = "") -> str:
        """Return a flag's text or the default."""
        return self.texts.get(canonical(name), default)

    def has(self, name: str) -> bool:
        """Return whether the flag was given."""
        return canonical(name) in self.texts

    def read(self, name: str, kind: Kind, default: str) -> Value:
        """Return a flag's value of that kind; `default` is read when the flag was not given. Raises UsageError."""
        return read_value(kind, self.text(name, default), f"-{name}")

    def switch(self, name: str, *, default: bool = False) -> bool:
        """Return a `SWITCH` or `BOOL` flag's value."""
        return self.read(name, BOOL, "1" if default else "0") is True


class Answered(Exception):
    """The command line asked for text (`--help`, `--version`); `run_role` prints it and ends with 0."""


def canonical(name: str) -> str:
    """Return the one spelling of a flag: no leading dashes, `-` for `_`."""
    return name.lstrip("-").replace("_", "-")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean "…"?` for the closest known name, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f'; did you mean "{found[0]}"?' if found else ""


def read_value(kind: Kind, text: str, where: str) -> Value:
    """Return the value of `text`; a UsageError says `where` and what is wrong, without the text of a secret."""
    try:
        return kind.read(text)
    except Invalid as error:
        raise UsageError(f"{where}: {error.message}") from error


def parse(program: Program, argv: Sequence[str]) -> Parsed:
    """Understand `argv` (without the program's own name). Raises UsageError, or Answered for help and version."""
    flags_part = list(argv[: argv.index("--")] if "--" in argv else argv)
    if any(token in {"-h", "-help", "--help"} for token in flags_part):
        raise Answered(help_text(program, in_chinese=is_chinese(os.environ)))
    if any(token in {"-version", "--version"} for token in flags_part):
        raise Answered(f"{program.name} {__version__}")
    words, texts = _split(program, argv)
    command, rest = _find_command(program, words)
    _refuse_foreign_flags(program, command, texts)
    for flag in command.flags:
        text = texts.get(canonical(flag.name))
        if text is not None and not text.startswith("@"):
            read_value(flag.kind, text, f"-{flag.name}")
    return Parsed(command.words, _name_arguments(command, rest), texts, _many(command, rest))


def _split(program: Program, argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Part the words from the flags."""
    known = program.known_flags()
    words: list[str] = []
    texts: dict[str, str] = {}
    tokens = iter(argv)
    for token in tokens:
        if token == "--":  # noqa: S105 - the end of the flags, no password
            words.extend(tokens)
        elif token == "-" or not token.startswith("-"):  # noqa: S105 - a lone dash is standard input
            words.append(token)
        else:
            name, text = _read_flag(known, token, tokens)
            texts[name] = text
    return words, texts


def _read_flag(known: dict[str, Flag], token: str, rest: Iterable[str]) -> tuple[str, str]:
    written, equals, text = token.partition("=")
    name = canonical(written)
    flag = known.get(name)
    if flag is None:
        raise UsageError(f"unknown flag {written}{_nearest_flag(name, known)}; --help lists them all")
    if equals or flag.kind.is_switch:
        return name, text if equals else "1"
    following = next(iter(rest), None)
    if following is None or (following.startswith("-") and following != "-"):
        raise UsageError(f"{written} needs a value: {written}={flag.kind.metavar}")
    return name, following


def _nearest_flag(name: str, known: dict[str, Flag]) -> str:
    names = {**{key: flag.name for key, flag in known.items()}, "help": "help", "version": "version"}
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean -{names[found[0]]}?" if found else ""


def _find_command(program: Program, words: list[str]) -> tuple[Command, list[str]]:
    """The command with the most matching words, and the words left over for its arguments."""
    matching = [command for command in program.commands if tuple(words[: len(command.words)]) == command.words]
    best = max(matching, key=lambda command: len(command.words), default=None)
    if best is not None and (best.words or not words or best.arguments):
        return best, words[len(best.words) :]
    known = [" ".join(command.words) for command in program.commands if command.words]
    if not words:
        raise UsageError(f"{program.name} wants a command: {', '.join(known)}; --help explains them")
    wanted = " ".join(words)
    inside = [name for name in known if name.startswith(f"{words[0]} ")]
    if inside:
        raise UsageError(f'unknown command "{wanted}"; "{words[0]}" takes: {", ".join(inside)}')
    close = difflib.get_close_matches(words[0], [name.split(maxsplit=1)[0] for name in known], n=1, cutoff=0.5)
    hint = "".join(f'; did you mean "{name}"?' for name in known if close and name.split()[0] == close[0])
    raise UsageError(f'unknown command "{wanted}"{hint or "; --help lists them all"}')


def _refuse_foreign_flags(program: Program, command: Command, texts: dict[str, str]) -> None:
    own = {canonical(flag.name) for flag in command.flags}
    for name in texts:
        if name not in own:
            users = [" ".join((program.name, *other.words)) for other in program.commands if _takes(other, name)]
            here = " ".join((program.name, *command.words))
            raise UsageError(f'"{here}" takes no flag -{name}; it belongs to "{users[0]}"')


def _takes(command: Command, name: str) -> bool:
    return any(canonical(flag.name) == name for flag in command.flags)


def _name_arguments(command: Command, rest: list[str]) -> dict[str, str]:
    shown = " ".join(command.words) or "this command"
    if len(rest) > len(command.arguments) and not _takes_many(command):
        raise UsageError(f'unexpected "{rest[len(command.arguments)]}" after "{shown}"; --help explains it')
    named = dict(zip((argument.name for argument in command.arguments), rest, strict=False))
    for argument in command.arguments:
        if argument.name not in named and not argument.is_optional:
            raise UsageError(f'"{shown}" needs {argument.name}')
    return named


def _takes_many(command: Command) -> bool:
    return bool(command.arguments) and command.arguments[-1].is_many


def _many(command: Command, rest: list[str]) -> tuple[str, ...]:
    return tuple(rest[len(command.arguments) - 1 :]) if _takes_many(command) else ()


def help_text(program: Program, *, in_chinese: bool) -> str:
    """Return the help of a whole program: its commands, then every flag once with its default."""
    words = {**_CHINESE, **program.chinese} if in_chinese else {}

    def say(text: str) -> str:
        return words.get(text, text)

    lines = [f"{program.name} {__version__}{say(': ')}{say(program.help)}", "", say("usage:")]
    for command in program.commands:
        arguments = [argument.usage() for argument in command.arguments]
        usage = " ".join((program.name, *command.words, *arguments, *([say("[flags]")] if command.flags else [])))
        lines += [f"  {usage}", f"        {say(command.help)}"]
    flags = program.known_flags()
    lines += ["", say("flags (one dash or two, - and _ alike):")] if flags else []
    for flag in sorted(flags.values(), key=lambda flag: canonical(flag.name)):
        head = f"  -{flag.name} {flag.kind.metavar}".rstrip()
        default = say(" (default {})").format(say(flag.default)) if flag.default else ""
        gap = " " * (_WIDTH - len(head)) if len(head) < _WIDTH - 1 else f"\n{' ' * _WIDTH}"
        lines.append(f"{head}{gap}{say(flag.help)}{default}")
    last = say("this text, or the version; then exit")
    return "\n".join([*lines, f"  {'--help, --version':<{_WIDTH - 2}}{last}"])


def run_role(
    name: str,
    serve: Callable[[list[str]], int],
    argv: list[str] | None = None,
    told: TextIO | None = None,
) -> int:
    """Run a role's command line and return its exit code; an OpsError becomes one line on stderr.

    `told` takes what else would go to this process's stdout and stderr.
    """
    try:
        return serve(sys.argv[1:] if argv is None else argv)
    except Answered as answer:
        (told or sys.stdout).write(f"{answer}\n")
        return EXIT_FINE
    except KeyboardInterrupt:
        (told or sys.stderr).write(f"{name}: stopped by {signal.Signals.SIGINT.name}\n")
        return EXIT_FAILED
    except (OpsError, BaseExceptionGroup) as error:
        first = _ops_error_in(error)
        if first is None:
            raise
        (told or sys.stderr).write(f"{name}: {' '.join(first.message.split())}\n")
        return _exit_code(first)


def _exit_code(error: OpsError) -> int:
    match error:
        case UsageError():
            return EXIT_USAGE
        case SafetyRefusal():
            return EXIT_REFUSED
        case _:
            return EXIT_FAILED


def _ops_error_in(error: BaseException) -> OpsError | None:
    """The error to show: itself, or the first of a group made of nothing but OpsErrors (task groups wrap them)."""
    if isinstance(error, BaseExceptionGroup):
        found = [_ops_error_in(inner) for inner in error.exceptions]
        return found[0] if all(found) else None
    return error if isinstance(error, OpsError) else None

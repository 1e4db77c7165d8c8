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
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from ops_system import __version__
from ops_system.errorwords import CHINESE as CHINESE_ERRORS
from ops_system.model.errors import OpsError, SafetyRefusal, UsageError, Worded
from ops_system.model.kinds import BOOL, Kind, Value, read_value
from ops_system.model.language import Said, is_chinese

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
        hint = _nearest_flag(name, known)
        raise UsageError("unknown flag {flag}{hint}; --help lists them all", flag=written, hint=hint)
    if equals or flag.kind.is_switch:
        return name, text if equals else "1"
    following = next(iter(rest), None)
    if following is None or (following.startswith("-") and following != "-"):
        raise UsageError("{flag} needs a value: {flag}={metavar}", flag=written, metavar=flag.kind.metavar)
    return name, following


def _nearest_flag(name: str, known: dict[str, Flag]) -> Said:
    names = {**{key: flag.name for key, flag in known.items()}, "help": "help", "version": "version"}
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return Said("; did you mean -{name}?", name=names[found[0]]) if found else Said("")


def _find_command(program: Program, words: list[str]) -> tuple[Command, list[str]]:
    """The command with the most matching words, and the words left over for its arguments."""
    matching = [command for command in program.commands if tuple(words[: len(command.words)]) == command.words]
    best = max(matching, key=lambda command: len(command.words), default=None)
    if best is not None and (best.words or not words or best.arguments):
        return best, words[len(best.words) :]
    known = [" ".join(command.words) for command in program.commands if command.words]
    if not words:
        wants = "{program} wants a command: {known}; --help explains them"
        raise UsageError(wants, program=program.name, known=", ".join(known))
    wanted = " ".join(words)
    inside = [name for name in known if name.startswith(f"{words[0]} ")]
    if inside:
        takes = 'unknown command "{command}"; "{noun}" takes: {known}'
        raise UsageError(takes, command=wanted, noun=words[0], known=", ".join(inside))
    close = difflib.get_close_matches(words[0], [name.split(maxsplit=1)[0] for name in known], n=1, cutoff=0.5)
    similar = [name for name in known if close and name.split()[0] == close[0]]
    meant = similar if len(similar) == 1 else close  # a noun with twenty verbs is named once
    hint = Said('; did you mean "{name}"?', name=meant[0]) if meant else Said("; --help lists them all")
    raise UsageError('unknown command "{command}"{hint}', command=wanted, hint=hint)


def _refuse_foreign_flags(program: Program, command: Command, texts: dict[str, str]) -> None:
    own = {canonical(flag.name) for flag in command.flags}
    for name in texts:
        if name not in own:
            users = [" ".join((program.name, *other.words)) for other in program.commands if _takes(other, name)]
            here = " ".join((program.name, *command.words))
            refusal = '"{command}" takes no flag -{flag}; it belongs to "{user}"'
            raise UsageError(refusal, command=here, flag=name, user=users[0])


def _takes(command: Command, name: str) -> bool:
    return any(canonical(flag.name) == name for flag in command.flags)


def _name_arguments(command: Command, rest: list[str]) -> dict[str, str]:
    shown = " ".join(command.words) or Said("this command")
    if len(rest) > len(command.arguments) and not _takes_many(command):
        unexpected = 'unexpected "{word}" after "{command}"; --help explains it'
        raise UsageError(unexpected, word=rest[len(command.arguments)], command=shown)
    named = dict(zip((argument.name for argument in command.arguments), rest, strict=False))
    for argument in command.arguments:
        if argument.name not in named and not argument.is_optional:
            raise UsageError('"{command}" needs {argument}', command=shown, argument=argument.name)
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
    except KeyboardInterrupt as stop:
        (told or sys.stderr).write(f"{name}: stopped by {str(stop) or signal.Signals.SIGINT.name}\n")
        return EXIT_FAILED
    except (OpsError, BaseExceptionGroup) as error:
        first = _ops_error_in(error)
        if first is None:
            raise
        (told or sys.stderr).write(f"{name}: {' '.join(words_of(first).split())}\n")
        return _exit_code(first)


def words_of(error: OpsError) -> str:
    """Return what went wrong in the language of the environment, in English where it has no other words."""
    if isinstance(error, Worded) and is_chinese(os.environ):
        return error.said.translated(CHINESE_ERRORS)
    return error.message


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

"""Completion in bash, zsh and fish: small scripts that ask `ops __complete` for every word, also names of things."""

import contextlib

from ops_system.cli import EXIT_FINE, Argument, canonical
from ops_system.client.acts import Entry, Special, arguments_of, flags_of
from ops_system.client.connection import Master
from ops_system.client.desk import Desk
from ops_system.client.resolve import NOUNS, Names
from ops_system.model.errors import OpsError, UsageError

WITHIN_S = 2.0  # a shell does not wait longer for a master that is away
_SCRIPTS = {
    "bash": r"""# bash completion of ops: eval "$(ops completion bash)"
_ops_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" current="${COMP_WORDS[COMP_CWORD]}" last="" word
    local -a typed
    read -ra typed <<<"$line"
    case "$line" in *[[:space:]]) typed+=("") ;; esac
    last="${typed[${#typed[@]}-1]}"
    local before="${last%"$current"}"
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("${word#"$before"}")
    done < <("${typed[0]}" __complete -- "${typed[@]:1}" 2>/dev/null)
}
complete -o default -F _ops_complete ops
""",
    "zsh": r"""#compdef ops
# zsh completion of ops: eval "$(ops completion zsh)"
_ops() {
    local -a found
    found=("${(@f)$(ops __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    compadd -Q -a found
}
(( $+functions[compdef] )) && compdef _ops ops
""",
    "fish": r"""# fish completion of ops: ops completion fish | source
function __ops_complete
    set -l typed (commandline -opc) (commandline -ct)
    ops __complete -- $typed[2..-1] 2>/dev/null
end
complete -c ops -f -a '(__ops_complete)'
""",
}


def print_script(desk: Desk) -> int:
    """`ops completion SHELL`."""
    shell = desk.parsed.arguments["SHELL"]
    if shell not in _SCRIPTS:
        raise UsageError('"{text}" is none of {known}', text=shell, known=", ".join(_SCRIPTS))
    desk.print(_SCRIPTS[shell].rstrip("\n"))
    return EXIT_FINE


def complete(desk: Desk) -> int:
    """`ops __complete -- WORDS`: one candidate a line for the last word; nothing, and no error, where none is known."""
    from ops_system.client.program import ENTRIES

    for word in candidates(list(desk.rest), ENTRIES, desk):
        desk.print(word)
    return EXIT_FINE


def candidates(typed: list[str], entries: tuple[Entry, ...], desk: Desk) -> list[str]:
    """Return what the last word of `typed` may become."""
    *before, current = typed or [""]
    words, expected = _read(before, entries)
    if expected is not None:
        found = expected.split("|") if "|" in expected else _context_names(desk) if expected == "context" else []
    elif current.startswith("-"):
        found = _flags(words, entries)
    else:
        found = [*_verbs(words, entries), *_names(words, entries, desk)]
    return [word for word in dict.fromkeys(found) if word.startswith(current)]


def _read(before: list[str], entries: tuple[Entry, ...]) -> tuple[list[str], str | None]:
    """Part words from flags; the second answer is what the flag at the end waits for, None when there is none."""
    kinds = {canonical(flag.name): flag for entry in entries for flag in flags_of(entry) if not flag.kind.is_switch}
    words, waiting = list[str](), ""
    for token in before:
        name, equals, _ = token.partition("=")
        if waiting:
            waiting = ""
        elif token.startswith("-"):
            waiting = canonical(name) if canonical(name) in kinds and not equals else ""
        else:
            words.append(token)
    if not waiting:
        return words, None
    return words, "context" if waiting == "context" else kinds[waiting].kind.metavar


def _matching(words: list[str], entries: tuple[Entry, ...]) -> list[Entry]:
    return [entry for entry in entries if list(entry.words) == words[: len(entry.words)]]


def _verbs(words: list[str], entries: tuple[Entry, ...]) -> list[str]:
    place = len(words)
    longer = [entry for entry in entries if len(entry.words) > place and list(entry.words[:place]) == words]
    return sorted({entry.words[place] for entry in longer} - {"__complete"})


def _flags(words: list[str], entries: tuple[Entry, ...]) -> list[str]:
    from ops_system.client.program import flag_names

    return flag_names(_matching(words, entries) or entries)


def _names(words: list[str], entries: tuple[Entry, ...], desk: Desk) -> list[str]:
    """Names of things for the argument that comes next."""
    entry = max(_matching(words, entries), key=lambda one: len(one.words), default=None)
    arguments = arguments_of(entry) if entry is not None else ()
    place = len(words) - (len(entry.words) if entry is not None else 0)
    if not arguments or (place >= len(arguments) and not arguments[-1].is_many):
        return []
    noun = arguments[min(place, len(arguments) - 1)].name
    with contextlib.suppress(OpsError):
        return _known(noun, words, desk)
    return []


def _known(noun: str, words: list[str], desk: Desk) -> list[str]:
    if noun == "CONTEXT":
        return _context_names(desk)
    if noun == "SHELL":
        return sorted(_SCRIPTS)
    with contextlib.closing(Master(desk.master.context, timeout_s=WITHIN_S)) as master:
        return _names_of_things(noun, words, master, desk)


def _names_of_things(noun: str, words: list[str], master: Master, desk: Desk) -> list[str]:
    names = Names(master, desk.words)
    match noun:
        case "MODULE":
            return sorted(names.modules())
        case "INSTANCE":
            return sorted(names.instances())
        case "OPERATION":
            rows, _ = master.pages("/operations", limit=30)
            return [str(row["id"]) for row in rows]
        case "PACKAGE":
            return sorted({str(row["name"]) for row in names.rows("/packages")})
        case "VERSION":
            wanted = words[-1]
            return [str(row["version"]) for row in names.rows("/packages") if row["name"] == wanted]
    return sorted(names.by_id(noun).values()) if noun in NOUNS else []


def _context_names(desk: Desk) -> list[str]:
    return [context.name for context in desk.book().contexts]


COMPLETION = (
    Special(
        ("completion",),
        ('bash, zsh or fish: eval "$(ops completion bash)"', '命令补全：eval "$(ops completion bash)"'),
        print_script,
        (Argument("SHELL"),),
        needs_master=False,
    ),
    Special(("__complete",), ("asked by shells", "供 shell 调用"), complete, needs_master=False),
)

"""The whole command line of `ops`, put together from the tables, and the part of it that the typed words mean."""

from collections.abc import Iterable, Sequence

from ops_system import __version__
from ops_system.cli import Flag, Program, canonical, help_text
from ops_system.client.access import ACCESS
from ops_system.client.acts import GLOBAL_FLAGS, Entry, command_of, flags_of
from ops_system.client.catalogue import CATALOGUE
from ops_system.client.coming import COMING
from ops_system.client.completion import COMPLETION
from ops_system.client.fleet import FLEET
from ops_system.client.helpwords import CHINESE
from ops_system.client.images import IMAGES
from ops_system.client.installs import INSTALLS
from ops_system.client.keeping import KEEPING
from ops_system.client.logs import LOGS
from ops_system.client.power import POWER
from ops_system.client.pushing import PUSHING
from ops_system.client.render import pad
from ops_system.client.rolling import ROLLING
from ops_system.client.runs import RUNS
from ops_system.client.services import SERVICES
from ops_system.client.stories import STORIES
from ops_system.client.terminal import TERMINAL
from ops_system.client.watching import WATCHING
from ops_system.client.words import Words

NAME = "ops"
ENTRIES: tuple[Entry, ...] = (
    *COMING,
    *FLEET,
    *RUNS,
    *TERMINAL,
    *CATALOGUE,
    *PUSHING,
    *IMAGES,
    *SERVICES,
    *ROLLING,
    *LOGS,
    *STORIES,
    *KEEPING,
    *INSTALLS,
    *POWER,
    *WATCHING,
    *ACCESS,
    *COMPLETION,
)
BY_API_ONLY = frozenset(
    {
        "GET /live",  # the console's stream; `watch` and `-f` are its counterparts
        "GET /setup",  # the first administrator is made on the machine itself
        "POST /setup",
        "POST /worker/enrol",  # workers alone
        "GET /worker/link",
        "GET /worker/packages/{sha256}",
        "GET /images/{name}/{version}/content",  # regional clients alone
    }
)
_COLUMN = 16


def words_of(argv: Sequence[str]) -> list[str]:
    """Return the words that are no flag and no value of a flag."""
    words, waiting = [], _waiting(GLOBAL_FLAGS)
    tokens = iter(argv)
    for token in tokens:
        name, equals, _ = token.partition("=")
        if not token.startswith("-") or token == "-":  # noqa: S105 - a lone dash is standard input
            words.append(token)
            if len(words) == 1:
                waiting = _waiting(flag for entry in ENTRIES if entry.words[0] == token for flag in flags_of(entry))
        elif canonical(name) in waiting and not equals:
            next(tokens, None)
    return words


def _waiting(flags: Iterable[Flag]) -> set[str]:
    """Which flags take the next word as their value."""
    return {canonical(flag.name) for flag in flags if not flag.kind.is_switch}


def program_for(argv: Sequence[str], words: Words) -> Program:
    """Return the commands of the noun that was typed; all of them when none is known."""
    typed = words_of(argv)
    nouns = {entry.words[0] for entry in ENTRIES}
    chosen = [entry for entry in ENTRIES if typed and entry.words[0] == typed[0]] if set(typed[:1]) <= nouns else []
    commands = tuple(command_of(entry, words.language) for entry in (chosen or ENTRIES))
    return Program(NAME, words.say("about"), commands, CHINESE)


def completed(argv: Sequence[str]) -> list[str]:
    """Return argv with `list` (or `show`) added where a noun stands alone: `ops nodes` lists nodes."""
    typed = words_of(argv)
    verbs = {entry.words[1:] for entry in ENTRIES if typed and entry.words[0] == typed[0]}
    if len(typed) == 1:
        for verb in ("list", "show"):
            if (verb,) in verbs:
                return [*argv, verb]
    return list(argv)


def entry_of(words: tuple[str, ...]) -> Entry:
    """Return the entry with exactly these words."""
    return next(entry for entry in ENTRIES if entry.words == words)


def help_for(argv: Sequence[str], words: Words) -> str:
    """Return the help that was asked for: of one command, of a noun, or the overview."""
    typed = [word for word in words_of(argv) if word != "help"]
    found = [entry for entry in ENTRIES if list(entry.words[: len(typed)]) == typed]
    exact = [entry for entry in ENTRIES if typed and list(entry.words) == typed[: len(entry.words)]]
    chosen = found or exact or [entry for entry in ENTRIES if typed and entry.words[0] == typed[0]]
    if not typed or not chosen:
        return overview(words)
    commands = tuple(command_of(entry, words.language) for entry in chosen)
    return help_text(Program(NAME, words.say("about"), commands, CHINESE), in_chinese=words.language == 1)


def overview(words: Words) -> str:
    """Return every noun with its verbs."""
    lines = [f"{NAME} {__version__}: {words.say('about')}", words.say("help.start"), "", words.say("help.nouns")]
    for noun in dict.fromkeys(entry.words[0] for entry in ENTRIES if entry.words[0] != "__complete"):
        verbs = [" ".join(entry.words[1:]) for entry in ENTRIES if entry.words[0] == noun and len(entry.words) > 1]
        alone = [entry.help[words.language] for entry in ENTRIES if entry.words == (noun,)]
        lines.append(f"  {pad(noun, _COLUMN)}{', '.join(sorted(verbs)) or ' '.join(alone)}")
    return "\n".join(lines)


def flag_names(entries: Iterable[Entry]) -> list[str]:
    """Return the flags of these commands as they are written."""
    return sorted(
        {f"-{flag.name}" if len(flag.name) == 1 else f"--{flag.name}" for e in entries for flag in flags_of(e)}
    )

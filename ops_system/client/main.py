"""`ops`: understand what was typed, carry it out, explain what was refused."""

import signal
import sys

from ops_system.cli import EXIT_FAILED, EXIT_USAGE, Answered, parse, run_role
from ops_system.client.acts import Act
from ops_system.client.desk import Around, Desk, explain
from ops_system.client.perform import perform
from ops_system.client.program import NAME, completed, entry_of, help_for, overview, program_for
from ops_system.client.shapes import Refused
from ops_system.client.words import Words

_HELP = {"-h", "-help", "--help"}


def main() -> int:
    """Run the command line of this process and return its exit code."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `ops … | head` ends quietly, as other tools do
    return run_role(NAME, lambda argv: run(argv, Around()))


def run(argv: list[str], around: Around) -> int:
    """Carry out one command. Raises OpsError other than the master's refusals, which are explained here."""
    words = Words(around.environ)
    typed, rest = _part(argv)
    if _HELP & set(typed) or typed[:1] == ["help"]:
        raise Answered(help_for([token for token in typed if token not in _HELP], words))
    if not typed:
        around.stderr.write(overview(words) + "\n")
        return EXIT_USAGE
    typed = completed(typed)
    parsed = parse(program_for(typed, words), typed)
    desk = Desk(parsed, rest, around, words)
    try:
        entry = entry_of(parsed.command)
        return perform(entry, desk) if isinstance(entry, Act) else entry.run(desk)
    except Refused as refused:
        first, *more = explain(refused, desk, words)
        around.stderr.write("\n".join([f"{NAME}: {first}", *more]) + "\n")
        return EXIT_FAILED
    finally:
        desk.close()


def _part(argv: list[str]) -> tuple[list[str], list[str]]:
    """Part what is for `ops` from what stands behind `--` and is for a command on a node."""
    if "--" not in argv:
        return argv, []
    place = argv.index("--")
    return argv[:place], argv[place + 1 :]


if __name__ == "__main__":
    sys.exit(main())

"""Finding the process of a takeover: by its PID file, its name, its number, or by what was learned of it. Blocks.

A PID file is believed only when nobody else could have written it, and only about the program that was taken over.
"""

import os
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from ops_system.model.ids import InstanceId
from ops_system.model.reasons import Reason
from ops_system.model.takeover import Takeover
from ops_system.processes.adopt import (
    MAX_PID_FILE_BYTES,
    CannotTake,
    Facts,
    Guard,
    choose_leader,
    describe,
    find_difference,
    find_obstacle,
    is_like,
    is_named,
    is_same,
    is_same_program,
    parse_pid_file,
)
from ops_system.processes.adopt_facts import read_all, read_ancestors, read_boot_time_s

_NO_FILES_BELOW = ("/proc/", "/sys/", "/dev/")
BOOT_SLACK_S = 2.0


class Tree(msgspec.Struct, frozen=True):
    """A leader and everything below it, itself left out."""

    leader: Facts
    below: tuple[Facts, ...]


def make_guard(in_care: Mapping[int, InstanceId], masters: Iterable[int] = ()) -> Guard:
    """Return what is out of bounds for this process."""
    own_pid = os.getpid()
    own_program = sys.executable if getattr(sys, "frozen", False) else ""
    return Guard(own_pid, _own_uid(), read_ancestors(own_pid), frozenset(masters), in_care, own_program)


def _own_uid() -> int | None:
    if sys.platform == "win32":
        return None
    else:  # noqa: RET505 - mypy takes code behind an early return for unreachable on one system
        return os.geteuid()


def find_tree(takeover: Takeover, guard: Guard, boot_id: str, *, is_first: bool = False) -> Tree:
    """Return whom this takeover takes now. Raises CannotTake.

    `is_first`: nobody was taken yet, so that a PID file older than the boot is refused. Later it is believed about a
    living process of the same program: clocks jump, and a second copy would be worse.
    """
    table = read_all()
    leader = _find_leader(takeover, guard, boot_id, table, is_first=is_first)
    obstacle = find_obstacle(leader, guard) or find_difference(leader, takeover)
    if obstacle is not None:
        raise CannotTake(obstacle)
    below = _below(leader, table)
    kept = next((one for one in below if one.pid == guard.own_pid or one.pid in guard.in_care or one.marker), None)
    if kept is not None:
        words = f"{describe(leader)} has {describe(kept)} below it, which is in care already"
        raise CannotTake(Reason("holds_others", words, {"pid": leader.pid, "other": kept.pid}))
    return Tree(leader, below)


def _find_leader(
    takeover: Takeover, guard: Guard, boot_id: str, table: Mapping[int, Facts], *, is_first: bool
) -> Facts:
    learned = takeover.learned
    if learned is not None and not is_first:
        same = table.get(learned.pid)
        if same is not None and not same.is_dead and is_same(same, learned, boot_id):
            return same
    match takeover.strategy:
        case "pidfile":
            return _by_pid_file(takeover, table, is_first=is_first)
        case "match":
            return _by_name(takeover, guard, table)
        case _:
            return _by_pid(takeover, guard, table, is_first=is_first)


def _by_name(takeover: Takeover, guard: Guard, table: Mapping[int, Facts]) -> Facts:
    named = [facts for facts in table.values() if is_named(facts, takeover.process_name)]
    differences = {facts.pid: find_difference(facts, takeover) for facts in named}
    fitting = [facts for facts in named if differences[facts.pid] is None]
    free = [facts for facts in fitting if find_obstacle(facts, guard) is None]
    if fitting and not free:
        raise CannotTake(find_obstacle(fitting[0], guard) or _gone(fitting[0].pid))
    only = next(iter(differences.values())) if len(named) == 1 else None
    if only is not None:
        raise CannotTake(only)
    return choose_leader(free, table, f'"{takeover.process_name}"')


def _by_pid(takeover: Takeover, guard: Guard, table: Mapping[int, Facts], *, is_first: bool) -> Facts:
    learned = takeover.learned
    if is_first or learned is None:
        facts = table.get(takeover.pid)
        if facts is None or facts.is_dead:
            raise CannotTake(_gone(takeover.pid))
        return facts
    alike = [facts for facts in table.values() if is_like(facts, learned) and find_obstacle(facts, guard) is None]
    return choose_leader(alike, table, f"what ran as pid {takeover.pid}")


def find_lookalike(takeover: Takeover, guard: Guard) -> Facts | None:
    """Return a living process that is just like the one taken over, though the strategy does not find it.

    In doubt it is the service: it is taken, and no second copy started. Raises CannotTake for several of them.
    """
    learned = takeover.learned
    if learned is None:
        return None
    table = read_all()
    alike = [facts for facts in table.values() if is_like(facts, learned) and find_obstacle(facts, guard) is None]
    return choose_leader(alike, table, "what was taken over") if alike else None


def _gone(pid: int) -> Reason:
    return Reason("process_gone", f"there is no process {pid}", {"pid": pid})


def _below(leader: Facts, table: Mapping[int, Facts]) -> tuple[Facts, ...]:
    found: dict[int, Facts] = {}
    grown = {leader.pid}
    while grown:
        children = [one for one in table.values() if one.ppid in grown and one.pid not in found and not one.is_dead]
        found.update({one.pid: one for one in children})
        grown = {one.pid for one in children}
    found.pop(leader.pid, None)
    return tuple(found[pid] for pid in sorted(found))


# --- PID files -------------------------------------------------------------------------------------------------------
def _by_pid_file(takeover: Takeover, table: Mapping[int, Facts], *, is_first: bool) -> Facts:
    path = takeover.pid_file
    pid, written_at_s, owner = read_pid_file(path)
    facts = table.get(pid)
    if facts is None or facts.is_dead:
        words = f"the PID file {path} names process {pid}, which does not run"
        raise CannotTake(Reason("pid_file_stale", words, {"path": path, "pid": pid}))
    if not is_same_program(facts, takeover):
        words = f"the PID file {path} names {describe(facts)}, which is another program"
        raise CannotTake(Reason("pid_file_stale", words, {"path": path, "pid": pid}))
    if is_first and written_at_s < read_boot_time_s() - BOOT_SLACK_S:
        words = f"the PID file {path} is older than the last boot"
        raise CannotTake(Reason("pid_file_stale", words, {"path": path, "pid": pid}))
    if owner is not None and facts.uid is not None and owner not in {0, _own_uid(), facts.uid}:
        words = f"the PID file {path} belongs to user id {owner}, who is neither root nor the process's own user"
        raise CannotTake(Reason("pid_file_unsafe", words, {"path": path, "uid": owner}))
    return facts


def read_pid_file(path: str) -> tuple[int, float, int | None]:
    """Return the number, when it was written (Unix seconds), and whose the file is. Raises CannotTake."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        if f"{os.path.realpath(Path(path).parent)}/".startswith(_NO_FILES_BELOW) or Path(path).is_symlink():
            raise CannotTake(_unsafe(path, "leads through a link, or to no file of the disk"))
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise CannotTake(Reason("pid_file_missing", f"there is no PID file {path}", {"path": path})) from None
    except OSError as problem:
        raise CannotTake(_unsafe(path, f"cannot be read ({problem.strerror})")) from None
    try:
        found = os.fstat(descriptor)
        _check_file(found, path)
        data = os.read(descriptor, MAX_PID_FILE_BYTES * 16 + 1)
    finally:
        os.close(descriptor)
    return parse_pid_file(data, path), found.st_mtime, None if sys.platform == "win32" else found.st_uid


def _check_file(found: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise CannotTake(_unsafe(path, "is no regular file"))
    if sys.platform != "win32" and found.st_mode & stat.S_IWOTH:
        raise CannotTake(_unsafe(path, "can be written by anybody"))


def _unsafe(path: str, why: str) -> Reason:
    return Reason("pid_file_unsafe", f"the PID file {path} {why}", {"path": path})

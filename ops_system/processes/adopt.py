"""Whom a takeover may take: pure rules over what was read of the processes. Used by `adopt_find` and the process list.

Exact or not at all: executable, working directory and user must be those that were named; of several matches that are
not one tree none is chosen; init, the kernel, ourselves and what is in care already are nobody's to take.
"""

import hashlib
import posixpath
import re
from collections.abc import Iterable, Mapping

import msgspec

from ops_system.model.ids import InstanceId
from ops_system.model.reasons import Reason
from ops_system.model.takeover import INIT_PID, Learned, Takeover

KTHREADD_PID = 2
DELETED = " (deleted)"
MAX_PID_FILE_BYTES = 64
SHOWN_CHARS = 80
_ROLES = frozenset({"ops-master", "ops-worker", "ops-regional", "ops-agent"})
_ROLE_MODULE = re.compile(r"ops_system\.(master|worker|regional|installer)(\.|\Z)")
_KEEPER = "ops-keeper"
_KEEPER_SCRIPT = "/processes/keeper.py"


class Facts(msgspec.Struct, frozen=True):
    """One process as it was read; empty where it could not be. `uid` is the effective one, None where unknown."""

    pid: int
    ppid: int
    start_time: int
    name: str = ""
    cmdline: tuple[str, ...] = ()
    executable: str = ""
    work_dir: str = ""
    uid: int | None = None
    cgroup: str = ""
    marker: str | None = None
    is_dead: bool = False
    pgrp: int = 0
    sid: int = 0


class Guard(msgspec.Struct, frozen=True):
    """Who asks, and what is out of bounds. `own_uid` None: this system has no users to tell apart."""

    own_pid: int
    own_uid: int | None
    ancestors: frozenset[int] = frozenset()
    masters: frozenset[int] = frozenset()
    in_care: Mapping[int, InstanceId] = {}
    own_program: str = ""  # of an executable of ours; empty when an interpreter runs us


class CannotTake(Exception):
    """Nothing can be taken. `candidates`: those among which no choice is made."""

    def __init__(self, reason: Reason, candidates: tuple[Facts, ...] = ()) -> None:
        super().__init__(reason.message)
        self.reason = reason
        self.candidates = candidates


# Nothing runs, as far as anybody can tell: a start command may be run. Every other refusal leaves a doubt.
NOT_RUNNING = frozenset({"no_match", "process_gone", "pid_file_missing", "pid_file_empty", "pid_file_stale"})


# --- who is out of bounds --------------------------------------------------------------------------------------------
def find_obstacle(facts: Facts, guard: Guard) -> Reason | None:
    """Return why this process may not be taken over, None when it may."""
    code = _obstacle(facts, guard)
    if code is None:
        return None
    owner = guard.in_care.get(facts.pid) or facts.marker
    words = f"{describe(facts)} {_WORDS[code]}"
    params: dict[str, str | int | float] = {"pid": facts.pid}
    if code == "already_in_care" and owner:
        words, params = f"{words} as instance {owner}", {**params, "instance_id": owner}
    return Reason(code, words, params)


_WORDS = {
    "ended": "has ended",
    "init": "is the system's first process",
    "kernel_thread": "belongs to the kernel",
    "worker": "is this worker, or another one",
    "worker_ancestor": "has this worker among its own children",
    "master": "is a master",
    "keeper": "is a keeper of a service in care; take the service's own process",
    "already_in_care": "is in care already",
    "other_user": "belongs to another user than the worker's, which may not look into it or signal it",
}


def _obstacle(facts: Facts, guard: Guard) -> str | None:
    checks = {
        "ended": facts.is_dead,
        "init": facts.pid == INIT_PID,
        "keeper": is_keeper(facts.cmdline),
        "kernel_thread": is_kernel_thread(facts),
        "worker": facts.pid == guard.own_pid or _is_worker(facts, guard),
        "worker_ancestor": facts.pid in guard.ancestors,
        "master": facts.pid in guard.masters or _is_role(facts, "", ""),
        "already_in_care": facts.pid in guard.in_care or facts.marker is not None,
        "other_user": guard.own_uid not in {None, 0, facts.uid},
    }
    return next((code for code, is_so in checks.items() if is_so), None)


def is_kernel_thread(facts: Facts) -> bool:
    """True for what runs inside the kernel: kthreadd and its children (Linux)."""
    is_below = KTHREADD_PID in {facts.pid, facts.ppid}
    return is_below and not facts.cmdline and not facts.executable


def is_keeper(cmdline: tuple[str, ...]) -> bool:
    """True for the command line of a keeper."""
    return cmdline[1:2] == (_KEEPER,) or any(word.endswith(_KEEPER_SCRIPT) for word in cmdline[1:4])


def _is_worker(facts: Facts, guard: Guard) -> bool:
    is_own_program = bool(guard.own_program) and bare(facts.executable) == guard.own_program
    return is_own_program or _is_role(facts, "ops-worker", "worker")


def _is_role(facts: Facts, program: str, module: str) -> bool:
    """True for one of our own roles: this one, or any when the names are empty."""
    names = {posixpath.basename(word) for word in facts.cmdline[:2]}
    if names & ({program} if program else _ROLES):
        return True
    if "-m" not in facts.cmdline[1:8]:
        return False
    word = facts.cmdline[facts.cmdline.index("-m") + 1 : facts.cmdline.index("-m") + 2]
    found = _ROLE_MODULE.match(word[0]) if word else None
    return found is not None and (not module or found[1] == module)


def describe(facts: Facts) -> str:
    """Return a process in a few words."""
    words = " ".join(facts.cmdline) or f"[{facts.name}]"
    shown = printable(words[:SHOWN_CHARS]) + ("…" if len(words) > SHOWN_CHARS else "")
    return f"pid {facts.pid} ({shown})"


def printable(text: str) -> str:
    """Return the text on one line, without control characters and halves of characters."""
    return "".join(char if char.isprintable() else "?" for char in text).encode(errors="replace").decode()


# --- who matches -----------------------------------------------------------------------------------------------------
def is_named(facts: Facts, wanted: str) -> bool:
    """True when the process goes by this name, or its command line is this text.

    A name alone is compared with the process's name, its program and its first argument. With more words, the first is
    the name and the rest must stand in the command line: `java -jar shop.jar`.
    """
    line = " ".join(facts.cmdline)
    if wanted in {facts.name, line}:
        return True
    first, _, rest = wanted.partition(" ")
    first_word = facts.cmdline[0] if facts.cmdline else ""
    names = {facts.name, first_word, _basename(first_word), facts.executable, _basename(facts.executable)} - {""}
    return first in names and rest.strip() in " ".join(facts.cmdline[1:])


def find_difference(facts: Facts, takeover: Takeover) -> Reason | None:
    """Return in what the process is another one than was named, None when nothing differs."""
    differences = (
        ("another_executable", "executable", takeover.executable, bare(facts.executable)),
        ("another_work_dir", "working directory", takeover.work_dir, bare(facts.work_dir)),
    )
    for code, what, wanted, actual in differences:
        if wanted and posixpath.normpath(wanted) != actual:
            words = f"{describe(facts)} has the {what} {actual or 'that nobody may read'}, not {wanted}"
            return Reason(code, words, {"pid": facts.pid, "wanted": wanted, "actual": actual})
    if takeover.uid is not None and facts.uid != takeover.uid:
        words = f"{describe(facts)} runs as user id {facts.uid}, not {takeover.uid}"
        return Reason("another_user", words, {"pid": facts.pid, "wanted": takeover.uid, "actual": str(facts.uid)})
    return None


def choose_leader(matches: Iterable[Facts], table: Mapping[int, Facts], what: str) -> Facts:
    """Return the one match that all others descend from. Raises CannotTake for none and for several trees."""
    found = {facts.pid: facts for facts in matches if not facts.is_dead}
    tops = [facts for facts in found.values() if not _has_ancestor_in(facts, found, table)]
    if not tops:
        raise CannotTake(Reason("no_match", f"no process matches {printable(what)[:200]}"))
    if len(tops) > 1:
        listed = ", ".join(str(facts.pid) for facts in tops[:10])
        words = f"{len(tops)} processes match {printable(what)[:200]} and are not one tree: pids {listed}; name one"
        params: dict[str, str | int | float] = {"count": len(tops), "pids": listed}
        raise CannotTake(Reason("ambiguous", words, params), tuple(tops))
    return tops[0]


def _has_ancestor_in(facts: Facts, found: Mapping[int, Facts], table: Mapping[int, Facts]) -> bool:
    seen = {facts.pid}
    pid = facts.ppid
    while pid in table and pid not in seen:
        if pid in found:
            return True
        seen.add(pid)
        pid = table[pid].ppid
    return False


def learn(facts: Facts, boot_id: str) -> Learned:
    """Return what to remember of a leader, to know it and its like again."""
    return Learned(
        boot_id=boot_id,
        pid=facts.pid,
        start_time=facts.start_time,
        executable=bare(facts.executable),
        uid=-1 if facts.uid is None else facts.uid,
        cmdline_sha256=hash_cmdline(facts.cmdline),
    )


def is_like(facts: Facts, learned: Learned) -> bool:
    """True when a process is, or could be another start of, the one that was learned."""
    same = bare(facts.executable) == learned.executable and facts.uid in {learned.uid, None}
    return same and hash_cmdline(facts.cmdline) == learned.cmdline_sha256


def is_same(facts: Facts, learned: Learned, boot_id: str) -> bool:
    """True when it is the very process that was learned."""
    return (boot_id, facts.pid, facts.start_time) == (learned.boot_id, learned.pid, learned.start_time)


def is_same_program(facts: Facts, takeover: Takeover) -> bool:
    """True unless the process is known to run another program than the one taken over."""
    if takeover.executable:
        return bare(facts.executable) == posixpath.normpath(takeover.executable)
    return takeover.learned is None or _basename(facts.executable) == _basename(takeover.learned.executable)


def hash_cmdline(cmdline: tuple[str, ...]) -> str:
    """Return the SHA-256 of a command line, however long."""
    return hashlib.sha256("\0".join(cmdline).encode(errors="surrogatepass")).hexdigest()


def bare(path: str) -> str:
    """Return a path of /proc without the kernel's note that the file was replaced."""
    return path.removesuffix(DELETED)


def _basename(path: str) -> str:
    return posixpath.basename(bare(path))


# --- pid files and control groups ------------------------------------------------------------------------------------
def parse_pid_file(data: bytes, path: str) -> int:
    """Return the number in a PID file: digits, perhaps more lines behind it (PostgreSQL). Raises CannotTake."""
    words = data.split(b"\n", 1)[0].strip()
    if not data.strip():
        raise CannotTake(Reason("pid_file_empty", f"the PID file {path} is empty", {"path": path}))
    if not words.isdigit() or len(words) > 10 or len(data) > MAX_PID_FILE_BYTES * 16:  # noqa: PLR2004 - digits of 2^32
        shown = printable(words[:40].decode(errors="replace"))
        raise CannotTake(Reason("pid_file_garbage", f'the PID file {path} holds "{shown}", no pid', {"path": path}))
    return int(words)


def parse_cgroup(text: str) -> str:
    """Return the control group of a /proc/PID/cgroup: systemd's own (v2, else `name=systemd`), else the first."""
    lines = [line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2]  # noqa: PLR2004 - N:NAMES:PATH
    by_rank = sorted(lines, key=lambda line: {"": 1, "name=systemd": 0}.get(line[1], 2))
    paths = [line[2] for line in by_rank]
    return next((path for path in paths if path != "/"), paths[0] if paths else "")


def unit_of(cgroup: str) -> str:
    """Return the systemd unit a control group belongs to: the innermost service or scope; empty for none."""
    names = [name for name in cgroup.split("/") if name.endswith((".service", ".scope"))]
    return names[-1] if names else ""


def is_whole_unit(leader: Facts, members: Iterable[Facts]) -> bool:
    """True when a service unit is this process's own: nobody in it is its parent or older than it."""
    if not unit_of(leader.cgroup).endswith(".service"):
        return False
    others = [facts for facts in members if facts.cgroup == leader.cgroup and facts.pid != leader.pid]
    return all(facts.pid != leader.ppid and facts.start_time >= leader.start_time for facts in others)

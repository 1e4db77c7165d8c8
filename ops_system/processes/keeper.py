r"""The keeper: one small process that starts every entrypoint of a worker, waits for it, and notes how it ended.

It is the entrypoints' parent and outlives the worker, so an exit code is known even when the worker died meanwhile; the
next worker on the same state folder talks to it again. As the reaper of orphans it also takes in what an entrypoint
leaves behind. It ends when no worker is there and no child is left. Used by `keepers`, which starts it as a program of
its own: nothing but the standard library here, and everything imported at the start, because an update may replace the
files under it.

    arguments                STATE_DIR, only to be known by; descriptor 0 is the link to the first worker, 3 listens
    STATE/keeper-1.sock      where the next worker connects; what the last one asked is done before it is answered.
                             It listens before the first start is asked for, so none can be overlooked
    RUN_DIR/exit             "NUMBER STATUS\n" after blanks, the wait(2) status, written before the end is told

Both ways frames of NUL-separated fields after their length: `group` names the file that takes the pid of the instance's
next start into its control group; `start` and its answers `started`, `ended`; a worker that connects is first told
`hello`, every start that lives, every end that could not be noted (full disk), and `ready`. Unknown ones are ignored.
"""

import contextlib
import ctypes
import os
import queue
import select
import signal
import socket
import struct
import sys
import threading

LINK_FD, LISTENER_FD = 0, 3
ARGUMENT = "ops-keeper"  # how a frozen worker is told to be one
SOCKET = "keeper-1.sock"  # a change of the protocol changes the number; an older keeper then ends with its children
MAX_FRAME_BYTES = 16 * 1024 * 1024
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_LENGTH = struct.Struct(">I")
_UNCHANGEABLE = {"SIGKILL", "SIGSTOP"}
_ALL_SIGNALS = tuple(n for n in signal.valid_signals() if getattr(n, "name", "") not in _UNCHANGEABLE)
_DEAF_TO = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2")
_NOTE_BYTES = 32  # always as long, so that nothing of an older note is left behind it
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as shells do
_WORTH_A_THREAD = 4

Fields = list[bytes]


# --- frames ----------------------------------------------------------------------------------------------------------
def pack(*fields: str | bytes | int) -> bytes:
    """Return one frame. Raises ValueError when a field holds a NUL or all are too long."""
    parts = [field if isinstance(field, bytes) else os.fsencode(str(field)) for field in fields]
    if any(b"\0" in part for part in parts):
        raise ValueError("embedded null byte")
    data = b"\0".join(parts)
    if len(data) > MAX_FRAME_BYTES:
        raise ValueError("arguments and environment are too long")
    return _LENGTH.pack(len(data)) + data


class Frames:
    """Puts a stream together again."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Fields]:
        """Return the frames that are complete now."""
        rest = self._rest
        rest += data
        found, at = [], 0
        while len(rest) - at >= _LENGTH.size:
            end = at + _LENGTH.size + _LENGTH.unpack_from(rest, at)[0]
            if end > len(rest):
                break
            found.append(bytes(rest[at + _LENGTH.size : end]).split(b"\0"))
            at = end
        del rest[:at]
        return found


def parse_note(data: bytes, number: int) -> int | None:
    """Return the wait status that start `number` noted; None when it is another start's note or not complete.

    Number 0 is a start of which only the processes were found: any complete note is its own.
    """
    words = data.split()
    is_complete = data.endswith(b"\n") and len(words) == 2 and all(word.isdigit() for word in words)  # noqa: PLR2004
    if not is_complete or (number and int(words[0]) != number):
        return None
    return int(words[1])


class Start:
    """One entrypoint: what was asked, and who it became."""

    def __init__(self, fields: Fields) -> None:
        """Read `ID NUMBER RUN_DIR DIR STDOUT STDERR ARGC ARGV... NAME=VALUE...`."""
        self.instance_id, self.number, self.run_dir, self.dir, self.stdout, self.stderr, argc = fields[:7]
        self.argv = fields[7 : 7 + int(argc)]
        self.env = dict(field.split(b"=", 1) for field in fields[7 + int(argc) :])
        self.pid = 0
        self.start_time = 0
        self.error: OSError | None = None
        self.group = b""

    def started(self) -> bytes:
        """Return the answer."""
        return pack("started", self.instance_id, self.number, self.pid, self.start_time)


# --- starting --------------------------------------------------------------------------------------------------------
class Spawner:
    """posix_spawn(3) called in libc itself: each call waits for its exec, and so two threads can make two at a time."""

    _FLAGS = 0x80 | 0x08 | 0x04  # spawn.h: POSIX_SPAWN_SETSID, POSIX_SPAWN_SETSIGMASK, POSIX_SPAWN_SETSIGDEF
    _OPAQUE_BYTES = 1024  # more than any libc's posix_spawnattr_t, posix_spawn_file_actions_t or sigset_t
    _APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND

    def __init__(self, libc: ctypes.CDLL) -> None:
        self._libc = libc
        self._attributes = ctypes.create_string_buffer(self._OPAQUE_BYTES)
        signals = ctypes.create_string_buffer(self._OPAQUE_BYTES)
        libc.posix_spawnattr_init(self._attributes)
        libc.posix_spawnattr_setflags(self._attributes, ctypes.c_short(self._FLAGS))
        libc.sigemptyset(signals)
        libc.posix_spawnattr_setsigmask(self._attributes, signals)
        for number in _ALL_SIGNALS:
            libc.sigaddset(signals, int(number))
        libc.posix_spawnattr_setsigdefault(self._attributes, signals)

    def spawn(self, start: Start, argv: Fields) -> int:
        """Execute `argv` in a session of its own and return its pid. Raises OSError."""
        libc, pid = self._libc, ctypes.c_int()
        actions = ctypes.create_string_buffer(self._OPAQUE_BYTES)
        libc.posix_spawn_file_actions_init(actions)
        try:
            errors = (
                libc.posix_spawn_file_actions_addchdir_np(actions, start.dir),
                libc.posix_spawn_file_actions_addopen(actions, 0, b"/dev/null", os.O_RDONLY, 0),
                libc.posix_spawn_file_actions_addopen(actions, 1, start.stdout, self._APPEND, 0o640),
                libc.posix_spawn_file_actions_addopen(actions, 2, start.stderr, self._APPEND, 0o640),
            )
            env = [b"%s=%s" % pair for pair in start.env.items()]
            error = max(errors) or libc.posix_spawn(
                ctypes.byref(pid), argv[0], actions, self._attributes, _strings(argv), _strings(env)
            )
        finally:
            libc.posix_spawn_file_actions_destroy(actions)
        if error:
            raise OSError(error, os.strerror(error))
        return pid.value


def _strings(items: Fields) -> "ctypes.Array[ctypes.c_char_p]":
    return (ctypes.c_char_p * (len(items) + 1))(*items, None)


def _make_spawner() -> Spawner | None:
    """None where libc cannot (macOS, glibc before 2.29): fork does it there."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return Spawner(libc) if hasattr(libc, "posix_spawn_file_actions_addchdir_np") else None


class Groups:
    """Puts what was started into its control group, by a thread of its own.

    The kernel may take 10 to 50 ms for one (it waits for a grace period of RCU), and the next end of a process must not
    wait for that. A pid whose turn has not come is not reaped, so that nobody else can have it.
    """

    def __init__(self, *, may_have_thread: bool = True) -> None:
        """Without a thread (this process forks) each is done at once."""
        self._jobs: queue.SimpleQueue[tuple[bytes, int]] = queue.SimpleQueue()
        self._waiting: set[int] = set()
        self._changed = threading.Condition()
        self._may_have_thread = may_have_thread
        self._thread: threading.Thread | None = None

    def take(self, group: bytes, pid: int) -> None:
        """Put this process into the group of this file soon; at once where no thread more is allowed."""
        with self._changed:
            has_thread = self._has_thread()
            if has_thread:
                self._waiting.add(pid)
        if has_thread:
            self._jobs.put((group, pid))
        else:
            _join(group, pid)

    def _has_thread(self) -> bool:
        if self._thread is None and self._may_have_thread:
            thread = threading.Thread(target=self._work, daemon=True)
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread
        return self._thread is not None

    def settle(self, pid: int) -> None:
        """Return once nothing is to be done with this pid any more."""
        with self._changed:
            self._changed.wait_for(lambda: pid not in self._waiting)

    def _work(self) -> None:
        while True:
            group, pid = self._jobs.get()
            _join(group, pid)
            with self._changed:
                self._waiting.discard(pid)
                self._changed.notify_all()


def _join(group: bytes, pid: int) -> None:
    with contextlib.suppress(OSError):
        fd = os.open(group, os.O_WRONLY)
        try:
            os.write(fd, b"%d" % pid)
        finally:
            os.close(fd)


def spawn(start: Start, spawner: Spawner | None, groups: Groups) -> None:
    """Execute the entrypoint: it has a pid then, or an error."""
    way = spawner.spawn if spawner is not None else _spawn_by_fork
    try:
        try:
            start.pid = way(start, start.argv)
        except OSError as error:
            if error.errno != 8:  # noqa: PLR2004 - ENOEXEC: a script without #! is a shell's, as everywhere
                raise
            start.pid = way(start, [b"/bin/sh", *start.argv])
        if start.group:
            groups.take(start.group, start.pid)
        start.start_time = read_start_time(start.pid)
    except OSError as error:
        start.error = error


def spawn_all(starts: "list[Start]", spawner: Spawner | None, groups: Groups) -> None:
    """Execute many, two at a time."""
    todo = starts[::-1]

    def work() -> None:
        with contextlib.suppress(IndexError):
            while True:
                spawn(todo.pop(), spawner, groups)

    other = threading.Thread(target=work)
    if spawner is not None and len(starts) >= _WORTH_A_THREAD:
        with contextlib.suppress(RuntimeError):  # no thread more is allowed here
            other.start()
    work()
    if other.ident is not None:
        other.join()


def _spawn_by_fork(start: Start, argv: Fields) -> int:
    """Do the same without posix_spawn's setsid, which macOS's Python lacks; this process has one thread only."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.chdir(start.dir)
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(start.stdout, append, 0o640), 1)
        os.dup2(os.open(start.stderr, append, 0o640), 2)
        for item in _ALL_SIGNALS:
            with contextlib.suppress(OSError):
                signal.signal(item, signal.SIG_DFL)
        os.execve(argv[0], argv, start.env)  # noqa: S606 - no shell is meant
    except OSError as error:
        os.write(2, _complaint(start, error))
    finally:
        os._exit(_NOT_FOUND)


def _complaint(start: Start, error: OSError) -> bytes:
    return b"cannot execute " + start.argv[0] + f": {error.strerror}\n".encode()


def _complain(start: Start, error: OSError) -> None:
    with contextlib.suppress(OSError), open(start.stderr, "ab") as file:  # noqa: PTH123 - bytes path
        file.write(_complaint(start, error))


def _write_note(path: bytes, note: bytes) -> None:
    """Overwrite in place: truncating a file makes ext4 write it out at once, and a restart would wait for the disk."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.write(fd, note.rjust(_NOTE_BYTES))
    finally:
        os.close(fd)


def read_start_time(pid: int) -> int:
    """Return the start time in clock ticks since boot (proc(5)); 0 where the system does not tell."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            data = os.read(fd, 4096)
        finally:
            os.close(fd)
    except OSError:
        return 0
    return int(data[data.rindex(b")") + 2 :].split(b" ", 20)[19])


# --- the process -----------------------------------------------------------------------------------------------------
class Keeper:
    """See the module."""

    def __init__(self, listener: socket.socket, link: socket.socket) -> None:
        self._listener = listener
        self._link: socket.socket | None = None
        self._frames = Frames()
        self._unsent = bytearray()
        self._spawner = _make_spawner()
        self._starts: dict[int, Start] = {}
        self._unnoted: dict[bytes, bytes] = {}
        self._group_of: dict[bytes, bytes] = {}
        self._groups = Groups(may_have_thread=self._spawner is not None)
        self._poll = select.poll()
        self._wake = self._hear_children()
        self._poll.register(listener, select.POLLIN)
        self._serve(link)

    def _hear_children(self) -> int:
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._poll.register(read, select.POLLIN)
        return read

    def run(self) -> None:
        """Work until no worker is there and no child is left."""
        while self._reap() or self._link is not None:
            ready = dict(self._poll.poll())
            if self._wake in ready:
                os.read(self._wake, 4096)
            if self._link is not None and (events := ready.get(self._link.fileno())):
                self._use_link(events)
            if self._listener.fileno() in ready:
                self._accept()

    # --- children
    def _reap(self) -> bool:
        """Wait for everything that ended, orphans too; False when no child is left."""
        while True:
            try:
                pid, status = self._reap_one()
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            start = self._starts.pop(pid, None)
            if start is not None:
                self._tell_end(start, status)

    def _reap_one(self) -> tuple[int, int]:
        if sys.platform != "linux":
            return os.waitpid(-1, os.WNOHANG)
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return 0, 0
        self._groups.settle(found.si_pid)
        return os.waitpid(found.si_pid, 0)

    def _start(self, starts: list[Start]) -> None:
        """Start all that was asked for, then answer; meanwhile nothing is reaped, so no end is met before its start."""
        for start in starts:
            self._unnoted.pop(start.instance_id, None)
            start.group = self._group_of.pop(start.instance_id, b"")
        spawn_all(starts, self._spawner, self._groups)
        for start in starts:
            if start.error is None:
                start.argv, start.env = [], {}  # needed only once
                self._starts[start.pid] = start
            else:
                _complain(start, start.error)
                code = _NOT_FOUND if isinstance(start.error, FileNotFoundError) else _NOT_EXECUTABLE
                self._tell_end(start, code << 8)
        self._send(b"".join(start.started() for start in starts if start.error is None))

    def _tell_end(self, start: Start, status: int) -> None:
        ended = pack("ended", start.instance_id, start.number, status)
        try:
            _write_note(start.run_dir + b"/exit", b"%s %d\n" % (start.number, status))
        except OSError:
            self._unnoted[start.instance_id] = ended
        self._send(ended)

    # --- the worker
    def _serve(self, link: socket.socket) -> None:
        link.setblocking(False)
        self._link, self._frames, self._unsent = link, Frames(), bytearray()
        self._poll.register(link, select.POLLIN)
        told = [start.started() for start in self._starts.values()]
        self._send(b"".join([pack("hello", os.getpid()), *told, *self._unnoted.values(), pack("ready")]))

    def _accept(self) -> None:
        """Let the next worker in, after all that the last one had asked for."""
        with contextlib.suppress(OSError):
            link, _ = self._listener.accept()
            while self._link is not None and self._read_link():
                pass
            self._drop_link()
            self._serve(link)

    def _use_link(self, events: int) -> None:
        if events & select.POLLOUT:
            self._flush()
        if events & ~select.POLLOUT:
            self._read_link()

    def _read_link(self) -> bool:
        """Do what was asked; False when there is nothing more for now."""
        assert self._link is not None
        try:
            data = self._link.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._drop_link()
            return False
        starts: list[Start] = []
        for kind, *fields in self._frames.feed(data):
            if kind == b"group":
                self._group_of[fields[0]] = fields[1]
            elif kind == b"start":
                starts.append(Start(fields))
        if starts:
            self._start(starts)
        return True

    def _send(self, data: bytes) -> None:
        if self._link is not None:
            self._unsent += data
            self._flush()

    def _flush(self) -> None:
        if self._link is None:
            return
        try:
            while self._unsent:
                del self._unsent[: self._link.send(self._unsent)]
        except BlockingIOError:
            self._poll.modify(self._link, select.POLLIN | select.POLLOUT)
        except OSError:
            self._drop_link()
        else:
            self._poll.modify(self._link, select.POLLIN)

    def _drop_link(self) -> None:
        if self._link is not None:
            self._poll.unregister(self._link)
            self._link.close()
            self._link = None


def main() -> int:
    """Be the keeper."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for name in _DEAF_TO:
        signal.signal(signal.Signals[name], lambda *_: None)
    link, listener = socket.socket(fileno=os.dup(LINK_FD)), socket.socket(fileno=os.dup(LISTENER_FD))
    os.close(LISTENER_FD)
    os.dup2(null := os.open(os.devnull, os.O_RDWR), LINK_FD)
    os.close(null)
    os.chdir("/")
    listener.setblocking(False)
    Keeper(listener, link).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

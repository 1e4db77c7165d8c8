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

Both ways frames of NUL-separated fields after their length: `start` and its answers `started`, `ended`; a worker that
connects is first told `hello`, every start that lives, every end that could not be noted (full disk), and `ready`.
"""

import contextlib
import ctypes
import os
import select
import signal
import socket
import struct
import sys

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
        """Read `start ID NUMBER RUN_DIR DIR STDOUT STDERR ARGC ARGV... NAME=VALUE...`."""
        self.instance_id, self.number, self.run_dir, self.dir, self.stdout, self.stderr, argc = fields[1:8]
        self.argv = fields[8 : 8 + int(argc)]
        self.env = dict(field.split(b"=", 1) for field in fields[8 + int(argc) :])
        self.pid = 0
        self.start_time = 0

    def started(self) -> bytes:
        """Return the answer."""
        return pack("started", self.instance_id, self.number, self.pid, self.start_time)

    def forget_request(self) -> None:
        """Drop what is needed only once."""
        self.argv, self.env = [], {}


# --- starting --------------------------------------------------------------------------------------------------------
def spawn(start: Start) -> int:
    """Execute the entrypoint in a session of its own. Raises OSError."""
    os.chdir(start.dir)
    try:
        return _spawn(start, start.argv)
    except OSError as error:
        if error.errno != 8:  # noqa: PLR2004 - ENOEXEC: a script without #! is a shell's, as everywhere
            raise
        return _spawn(start, [b"/bin/sh", *start.argv])
    finally:
        os.chdir("/")


def _spawn(start: Start, argv: Fields) -> int:
    if sys.platform != "linux":
        return _spawn_by_fork(start, argv)
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, start.stdout, append, 0o640),
        (os.POSIX_SPAWN_OPEN, 2, start.stderr, append, 0o640),
    ]
    return os.posix_spawn(
        argv[0], argv, start.env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_ALL_SIGNALS
    )


def _spawn_by_fork(start: Start, argv: Fields) -> int:
    """Do the same without posix_spawn's setsid, which macOS's Python lacks; this process has one thread only."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
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
    return b"cannot execute " + (start.argv[0] if start.argv else b"") + f": {error.strerror}\n".encode()


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
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 - a hot path
            data = file.read()
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
        self._starts: dict[int, Start] = {}
        self._unnoted: dict[bytes, bytes] = {}
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
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            start = self._starts.pop(pid, None)
            if start is not None:
                self._tell_end(start, status)

    def _start(self, fields: Fields) -> None:
        start = Start(fields)
        self._unnoted.pop(start.instance_id, None)
        try:
            start.pid = spawn(start)
        except OSError as error:
            _complain(start, error)
            code = _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
            self._tell_end(start, code << 8)
            return
        start.start_time = read_start_time(start.pid)
        start.forget_request()
        self._starts[start.pid] = start
        self._send(start.started())

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
        for fields in self._frames.feed(data):
            if fields[0] == b"start":
                self._start(fields)
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

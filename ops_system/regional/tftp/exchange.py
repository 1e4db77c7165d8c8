"""One transfer on its socket: ACKs are answered where they arrive, so a block costs no turn of a task.

reader: ACK ──> sender.hear_ack ──> blocks in memory are sent at once
└──> blocks that must be read first: the task reads ahead in a thread, then sends
task:   nothing heard for sender.wait_s ──> the same blocks again, or the end
"""

import asyncio
import contextlib
import errno
import logging
import socket

from ops_system.regional.tftp.packet import (
    Ack,
    Data,
    Error,
    ErrorCode,
    MalformedPacketError,
    OptionAck,
    Packet,
    pack,
    parse,
)
from ops_system.regional.tftp.rules import Sender
from ops_system.regional.tftp.sources import Source

_log = logging.getLogger(__name__)

READ_BYTES = 2048
_ACKS_AT_ONCE = 64
_NO_ROOM = frozenset({errno.ENOBUFS, errno.EAGAIN})


class Exchange:
    """Sends what `sender` makes due. `wire` is connected to the client and does not block."""

    def __init__(self, wire: socket.socket, source: Source, sender: Sender) -> None:
        self._wire, self._source, self._sender = wire, source, sender
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._left = range(0)  # due, but not in memory yet
        self._sent_s = 0.0
        self._outcome = ""
        self._error: OSError | None = None

    async def run(self) -> str:
        """Send everything; return how it ended: sent, aborted, silent, failed. Raises OSError of the socket."""
        self._loop.add_reader(self._wire, self._take)
        try:
            self._send(self._sender.due())
            while not self._outcome:
                if self._left:
                    await self._read_ahead()
                else:
                    await self._wait()
            if self._error is not None:
                raise self._error
            return self._outcome
        finally:
            self._loop.remove_reader(self._wire)

    async def _wait(self) -> None:
        """Wait for something to do; when nothing was heard since the last send for long enough, send again."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._sent_s + self._sender.wait_s):
                await self._wake.wait()
        if self._wake.is_set() or self._loop.time() < self._sent_s + self._sender.wait_s:
            return
        again = self._sender.hear_nothing()
        if again:
            self._send(again)
        else:
            self._end("silent")

    async def _read_ahead(self) -> None:
        offset, length = self._sender.place_of(self._left.start)
        try:
            await self._source.fill(offset, length)
        except OSError as error:
            _log.warning("TFTP: %s", error)
            self._put(Error(ErrorCode.UNDEFINED, "this boot file cannot be read any more"))
            self._end("failed")
            return
        self._send(self._left)

    def _take(self) -> None:
        """Hear what arrived, all of it before anything is sent: the last ACK of many says most."""
        due = range(0)
        for _ in range(_ACKS_AT_ONCE):
            try:
                data = self._wire.recv(READ_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                self._fail(error)
                return
            packet = _parsed(data)
            if isinstance(packet, Error):
                self._end("aborted")
                return
            if isinstance(packet, Ack):
                due = self._sender.hear_ack(packet.number, self._loop.time() - self._sent_s) or due
        if self._sender.is_done:
            self._end("sent")
        elif due:
            self._send(due)

    def _send(self, due: range) -> None:
        """Send blocks. A full queue of the card is a loss like any other: the rest comes when it is missed."""
        self._sent_s = self._loop.time()
        self._left = range(0)
        for number in due:
            if number == 0:
                packet: Packet = OptionAck(self._sender.terms.said)
            elif (content := self._source.peek(*self._sender.place_of(number))) is None:
                self._left = range(number, due.stop)
                self._wake.set()
                return
            else:
                packet = Data(number, content)
            if not self._put(packet):
                return

    def _put(self, packet: Packet) -> bool:
        try:
            self._wire.send(pack(packet))
        except OSError as error:
            if error.errno not in _NO_ROOM:
                self._fail(error)
            return False
        return True

    def _fail(self, error: OSError) -> None:
        self._error = error
        self._end("failed")

    def _end(self, outcome: str) -> None:
        self._outcome = self._outcome or outcome
        self._wake.set()


def _parsed(data: bytes) -> Packet | None:
    try:
        return parse(data)
    except MalformedPacketError:
        return None

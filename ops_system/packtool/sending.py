"""Streams bytes of a zip to the master, whole or a part, and hashes them meanwhile. Used by `push` and `resume`."""

import http.client
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ops_system.model.errors import Unavailable
from ops_system.model.quantities import format_size
from ops_system.packtool.archive import Built
from ops_system.packtool.wire import Answer, Master, name_of, read_answer
from ops_system.packtool.words import Words
from ops_system.runtime.outgoing import Outgoing


@dataclass
class Sender:
    """One package on its way. `sent_bytes` is how much of it has left."""

    connection: http.client.HTTPConnection
    master: Master
    built: Built
    outgoing: Outgoing
    words: Words
    progress: Callable[[int], None]
    sent_bytes: int = 0

    def send_whole(self, signature: str) -> Answer:
        """Send everything in one request. Raises Unavailable when the connection breaks."""
        headers = {"Content-Type": "application/zip", **({"X-Ops-Signature": signature} if signature else {})}
        return self.send("POST", "/api/v1/packages", headers, 0, self.built.size_bytes)

    def send(self, method: str, path: str, headers: Mapping[str, str], start: int, count: int) -> Answer:
        """Send `count` bytes from `start` on as the body of one request. Raises Unavailable, the connection closed."""
        self.sent_bytes = start
        try:
            self.connection.putrequest(method, path, skip_accept_encoding=True)
            self.connection.putheader("Authorization", f"Bearer {self.master.token.reveal()}")
            self.connection.putheader("Content-Length", str(count))
            for name, value in headers.items():
                self.connection.putheader(name, value)
            self.connection.endheaders()
            try:
                self._stream(start, count)
            except (ConnectionError, ssl.SSLError) as broken:
                return self._last_words(broken)
            return read_answer(self.connection)
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            sizes = {"sent": format_size(self.sent_bytes), "total": format_size(self.built.size_bytes)}
            raise Unavailable(self.words.say("push.cut", **sizes, problem=name_of(error))) from error

    def _stream(self, start: int, count: int) -> None:
        for piece in self.outgoing.pieces(start, count):
            self.connection.send(piece)
            self.sent_bytes += len(piece)
            self.progress(self.sent_bytes)

    def _last_words(self, broken: OSError) -> Answer:
        """A server that refuses answers and closes while we still send; its answer says more than the broken pipe."""
        try:
            answer = read_answer(self.connection)
        except (OSError, http.client.HTTPException):
            raise broken from None
        self.connection.close()
        return answer

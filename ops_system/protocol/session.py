"""Which question an answer belongs to, and until when it is awaited. Sans-I/O: `now_s` is an argument.

One `Calls` per link and direction; `runtime.link` is its only caller. An answer that comes after its deadline, twice,
or to a question nobody asked is told apart and dropped.
"""

import msgspec

from ops_system.model import errors
from ops_system.model.errors import Invalid, OpsError
from ops_system.protocol.codec import encode_body
from ops_system.protocol.frames import Reply, Request

_ERRORS: dict[str, type[OpsError]] = {
    one.code: one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, OpsError) and "code" in vars(one)  # a code of its own
}


class Calls:
    """The open questions of one link."""

    def __init__(self) -> None:
        self._next_id = 1
        self._deadlines: dict[int, float] = {}

    def open(self, kind: str, body: msgspec.Struct, now_s: float, timeout_s: float) -> Request:
        """Return the frame that asks. Its `request_id` is new for this link; the answer is due `timeout_s` from now."""
        request_id = self._next_id
        self._next_id += 1
        self._deadlines[request_id] = now_s + timeout_s
        return Request(request_id=request_id, kind=kind, body=encode_body(body))

    def settle(self, reply: Reply) -> bool:
        """Close the question this answers; False when it is not open (late, doubled or made up)."""
        return self._deadlines.pop(reply.request_id, None) is not None

    def abandon(self, request_id: int) -> None:
        """Forget a question whose asker has gone."""
        self._deadlines.pop(request_id, None)

    def expire(self, now_s: float) -> list[int]:
        """Close and return the questions whose deadline is reached."""
        due = [request_id for request_id, deadline_s in self._deadlines.items() if deadline_s <= now_s]
        for request_id in due:
            del self._deadlines[request_id]
        return due

    def next_deadline_s(self) -> float | None:
        """Return when `expire` has work next; None when nothing is open."""
        return min(self._deadlines.values(), default=None)

    def __len__(self) -> int:
        return len(self._deadlines)


def answer(request: Request, body: msgspec.Struct) -> Reply:
    """Return the good answer to a question."""
    return Reply(request_id=request.request_id, body=encode_body(body))


def refuse(request: Request, error: OpsError) -> Reply:
    """Return the answer that says why there is none."""
    return Reply(request_id=request.request_id, error_code=error.code, error_message=error.message)


def error_from(code: str, message: str) -> OpsError:
    """Return the error a peer named by its code; an unknown code keeps its words as a plain `OpsError`."""
    return _ERRORS.get(code, OpsError)(message or code)


def body_of(reply: Reply) -> msgspec.Raw:
    """Return the body of a good answer, or raise the error the peer gave."""
    if reply.error_code:
        raise error_from(reply.error_code, reply.error_message)
    if not bytes(reply.body):
        raise Invalid("the answer has neither a body nor an error")
    return reply.body

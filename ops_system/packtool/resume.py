"""A large package in parts: what has arrived stays on the master, and the next part begins there.

    POST /api/v1/uploads {size_bytes, sender_key} the master answers with the unfinished upload of this file, if any
    PUT  /api/v1/uploads/ID?offset=N              parts; what of them arrived stays, also of one that broke off
    POST /api/v1/uploads/ID/complete {sha256}     found while sending; the master compares it with what it received

A connection that breaks is opened anew; a push that was killed goes on with the next one.
"""

import time

import msgspec

from ops_system.model.errors import Unavailable
from ops_system.packtool.sending import Sender
from ops_system.packtool.sign import OwnSignature
from ops_system.packtool.wire import Answer, ask
from ops_system.runtime.outgoing import sender_key

PART_BYTES = 128 * 1024 * 1024
TRIES = 6
RETRY_S = 0.5
_PATH = "/api/v1/uploads"
_CREATED, _OK, _NOT_FOUND, _CONFLICT = 201, 200, 404, 409
COMPLETE_S = 900.0  # the master reads the whole package, and may pass it on to an S3 server
_AGAIN = frozenset({_NOT_FOUND, 429, 502, 503, 504})  # look where it stands, and go on from there


class _Upload(msgspec.Struct, frozen=True):
    id: str
    received_bytes: int


class _Announcement(msgspec.Struct, frozen=True):
    size_bytes: int
    sender_key: str


class _Refusal(msgspec.Struct, frozen=True):
    details: dict[str, object] = {}


class _Completion(msgspec.Struct, frozen=True):
    signature: str
    sha256: str


def send_in_parts(sender: Sender, signature: OwnSignature) -> Answer:
    """Bring what is missing and complete the upload; return the master's last word, a refusal included.

    Raises Unavailable when `TRIES` in a row brought nothing new, Invalid when the signature is for other bytes.
    """
    failures, reached = 0, -1
    while True:
        try:
            answer = _send_rest(sender, signature)
            if not _is_passing(answer):
                return answer
            problem = None
        except Unavailable as broken:
            problem = broken
        failures, reached = (0 if sender.sent_bytes > reached else failures + 1), max(reached, sender.sent_bytes)
        if failures >= TRIES:
            if problem is not None:
                raise problem
            return answer
        time.sleep(RETRY_S * 2.0**failures)


def _send_rest(sender: Sender, signature: OwnSignature) -> Answer:
    announced = _Announcement(sender.built.size_bytes, sender_key(sender.built.path))
    answer = ask(sender.connection, sender.master, _PATH, sender.words, body=msgspec.json.encode(announced))
    if answer.status not in {_CREATED, _OK}:
        return answer
    upload = msgspec.json.decode(answer.body, type=_Upload)
    offset, size_bytes = upload.received_bytes, sender.built.size_bytes
    while offset < size_bytes:
        answer = _send_part(sender, upload.id, offset, min(PART_BYTES, size_bytes - offset))
        if answer.status != _OK:
            return answer
        offset = msgspec.json.decode(answer.body, type=_Upload).received_bytes
    if sender.connection.sock is not None:
        sender.connection.sock.settimeout(COMPLETE_S)
    sha256 = sender.outgoing.sha256()
    signature.check(sha256, sender.words)
    body = msgspec.json.encode(_Completion(signature.text, sha256))
    return ask(sender.connection, sender.master, f"{_PATH}/{upload.id}/complete", sender.words, body=body)


def _send_part(sender: Sender, upload_id: str, offset: int, count: int) -> Answer:
    headers = {"Content-Type": "application/octet-stream"}
    return sender.send("PUT", f"{_PATH}/{upload_id}?offset={offset}", headers, offset, count)


def _is_passing(answer: Answer) -> bool:
    """Whether asking again helps: the master is busy, or the upload stands elsewhere than we think."""
    if answer.status != _CONFLICT:
        return answer.status in _AGAIN
    try:
        details = msgspec.json.decode(answer.body, type=_Refusal).details
    except msgspec.MsgspecError:
        return False
    return "received_bytes" in details or "id" in details

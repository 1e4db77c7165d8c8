"""Uploads a package over HTTP: asks first whether it is there, then brings it.

    GET  /api/v1/packages/NAME/VERSION   200 same sha256: done · 200 other: conflict · 404: go on
    POST /api/v1/packages                a small one, whole
    …    /api/v1/uploads                 a large one in parts, resumed where an earlier push broke off (`resume`)

Both end with 201 new · 200 same bytes · 409 other bytes · 401, 403, 413, 422: the reason.
`ZIP.sig`, where it lies beside the zip, travels along in base64.
"""

import contextlib
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from ops_system.model.errors import Conflict, Forbidden, Invalid, OpsError, Unauthenticated, Unavailable
from ops_system.packtool.archive import Built
from ops_system.packtool.resume import send_in_parts
from ops_system.packtool.sending import Sender
from ops_system.packtool.sign import read_own_signature
from ops_system.packtool.wire import Answer, Master, ask, connect, refuse_plain
from ops_system.packtool.words import Words
from ops_system.runtime.outgoing import Outgoing

WHOLE_BYTES = 16 * 1024 * 1024  # up to here one request is quicker than going on after a break
_CREATED, _UNAUTHENTICATED, _FORBIDDEN, _OK = 201, 401, 403, 200


class _Stored(msgspec.Struct, frozen=True):
    sha256: str


class _Refusal(msgspec.Struct, frozen=True):
    message: str = ""
    details: dict[str, object] = {}


def push_package(master: Master, built: Built, words: Words, progress: Callable[[int], None]) -> str:
    """Bring the package to the master; return the words for what happened.

    Raises UsageError, Unauthenticated, Forbidden, Conflict, Invalid, Unavailable.
    """
    refuse_plain(master, words)
    names = {"name": built.manifest.name, "version": built.manifest.version}
    with contextlib.closing(connect(master, words)) as connection, Outgoing(built.path) as outgoing:
        path = f"/api/v1/packages/{quote(names['name'])}/{quote(names['version'])}"
        found = _judge(ask(connection, master, path, words), built, words)
        if found:
            return found
        signature = read_own_signature(built.path, built.size_bytes, words)
        sender = Sender(connection, master, built, outgoing, words, progress)
        if built.size_bytes > WHOLE_BYTES:
            answer = send_in_parts(sender, signature)
        else:
            signature.check(outgoing.sha256(), words)
            answer = sender.send_whole(signature.text)
        sha256 = outgoing.sha256()
    if answer.status == _CREATED:
        return words.say("pushed", **names, sha256=sha256)
    if answer.status == _OK:
        return words.say("pushed.same", **names)
    raise _refusal(answer, built, words)


def _judge(answer: Answer, built: Built, words: Words) -> str:
    """What the master's answer to "is it there?" means: done, or an empty text to go on."""
    if answer.status in {_UNAUTHENTICATED, _FORBIDDEN}:
        raise _refusal(answer, built, words)
    if answer.status != _OK:
        return ""
    names = {"name": built.manifest.name, "version": built.manifest.version}
    try:
        stored = msgspec.json.decode(answer.body, type=_Stored)
    except msgspec.MsgspecError:
        return ""
    if stored.sha256 != built.sha256:
        raise Conflict(words.say("push.conflict", **names))
    return words.say("pushed.same", **names)


def _refusal(answer: Answer, built: Built, words: Words) -> OpsError:
    refusal = _Refusal()
    with contextlib.suppress(msgspec.MsgspecError):
        refusal = msgspec.json.decode(answer.body, type=_Refusal)
    match answer.status:
        case 401:
            return Unauthenticated(words.say("push.token"))
        case 403 if refusal.details.get("wanted") == "publisher":
            return Forbidden(refusal.message)
        case 403:
            return Forbidden(f"{words.say('push.forbidden')} ({refusal.message})")
        case 409:
            return Conflict(words.say("push.conflict", name=built.manifest.name, version=built.manifest.version))
        case 422:
            found = refusal.details.get("problems", [])
            problems = [str(problem) for problem in found] if isinstance(found, list) else []
            return Invalid(refusal.message, problems=problems)
    return Unavailable(words.say("push.answer", status=answer.status, message=refusal.message or "-"))

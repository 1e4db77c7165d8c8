"""The errors of the product: a stable code, words for a person, flat details. Raised by every role.

The same three travel on HTTP (contract, section 4) and on the worker link; the console translates the code.
"""

from typing import ClassVar

from ops_system.model.language import Said

Detail = str | int | float | bool | None | list[str]


class OpsError(Exception):
    """A failure somebody can act on. `message` says what, where, and what to do."""

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, **details: Detail) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Invalid(OpsError):
    """The request cannot mean anything; `details["problems"]` lists every fault as `path: text`."""

    code = "invalid"
    http_status = 422


class NotFound(OpsError):
    """No such object."""

    code = "not_found"
    http_status = 404


class Conflict(OpsError):
    """Another object or another writer is in the way."""

    code = "conflict"
    http_status = 409


class NotAllowed(OpsError):
    """The object's state forbids the move; nothing changed."""

    code = "not_allowed"
    http_status = 409


class NodeOffline(OpsError):
    """The node has no live link."""

    code = "node_offline"
    http_status = 409


class Unauthenticated(OpsError):
    """No valid credential."""

    code = "unauthenticated"
    http_status = 401


class Forbidden(OpsError):
    """The credential does not permit this."""

    code = "forbidden"
    http_status = 403


class StepUpRequired(OpsError):
    """A browser session must prove its password or TOTP again."""

    code = "step_up_required"
    http_status = 403


class Misdirected(OpsError):
    """The Host header names no address of this server."""

    code = "misdirected"
    http_status = 421


class TooLarge(OpsError):
    """More bytes than the limit."""

    code = "too_large"
    http_status = 413


class UnsupportedMedia(OpsError):
    """The content type is not the one this route takes."""

    code = "unsupported_media"
    http_status = 415


class RateLimited(OpsError):
    """Too many tries; `details["retry_after_s"]` says when to come back."""

    code = "rate_limited"
    http_status = 429


class StorageFull(OpsError):
    """The disk is full; reading goes on, writing resumes when there is room."""

    code = "storage_full"
    http_status = 507


class Unavailable(OpsError):
    """A part this needs is away; try again."""

    code = "unavailable"
    http_status = 503


class TimedOut(OpsError):
    """No answer in time; the effect is unknown."""

    code = "timeout"
    http_status = 504


class Worded(OpsError):
    """An error that a program tells a person at its terminal: its sentence exists in Chinese too (`errorwords`)."""

    def __init__(self, template: str, **values: object) -> None:
        self.said = Said(template, **values)
        super().__init__(str(self.said))


class Unreadable(Worded, Invalid):
    """A value that was not written as it must be."""


class UsageError(Worded):
    """A wrong flag, key or value at start: exit code 2."""

    code = "usage"
    http_status = 422


class SafetyRefusal(Worded):
    """Refused for safety (port in use, damaged data, another copy running): exit code 3."""

    code = "refused"
    http_status = 503

"""Channels, notices and deliveries, and what each may be: pure. Used by service, store, senders and API.

Notice    one thing that happened to one object
Bundle    notices told together: one message
Delivery  a bundle on its way to one channel: pending --2xx--> sent, --five failures--> failed
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

import msgspec

from ops_system.master.outbound.rules import MAX_PORT, read_url
from ops_system.master.web.route import ListQuery
from ops_system.model.alerts import Severity
from ops_system.model.errors import Invalid
from ops_system.model.reasons import Reason

MAX_NAME = 64
MAX_CHANNELS = 50
MAX_SECRET_CHARS = 1024
MAX_RECIPIENTS = 50
MAX_LISTED = 20  # objects named in one message; the others are counted
MAX_UNLISTED = 1000  # alerts whose message says only how many there are
KEPT_DELIVERIES = 200  # per channel
RETRY_AFTER_S = (30.0, 120.0, 600.0, 3600.0)  # after the first, second … failure; then it is given up
GATHER_S = 0.5  # what happens together is told together
WINDOW_S = 10.0  # one message per channel
SAME_AGAIN_AFTER = timedelta(minutes=10)
KEEP_TOLD = timedelta(days=90)
TOO_OLD_AFTER = timedelta(days=1)  # news of yesterday, and what a restored backup still had in its outbox

_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z")
_HOST = re.compile(r"[A-Za-z0-9_.-]{1,253}\Z|[0-9A-Fa-f:.]{2,45}\Z")


class ChannelKind(StrEnum):
    """The protocol a channel speaks."""

    WEBHOOK = "webhook"
    EMAIL = "email"
    DINGTALK = "dingtalk"
    WECOM = "wecom"
    FEISHU = "feishu"
    SLACK = "slack"


class EventKind(StrEnum):
    """What a channel can subscribe to."""

    INSTANCE_FAILED = "instance_failed"
    NODE_OFFLINE = "node_offline"
    NODE_QUARANTINED = "node_quarantined"
    ALERT = "alert"


_WITH_SECRET = frozenset({ChannelKind.WEBHOOK, ChannelKind.DINGTALK, ChannelKind.FEISHU})
_RANK = list(Severity)
Language = Literal["en", "zh"]


# --- what is told ----------------------------------------------------------------------------------------------------
class Notice(msgspec.Struct, frozen=True):
    """One thing that happened. `code` and `params` make the sentence (`words`), `lines` follow it as they are.

    `subject` is the object as `kind:id`; `path` is its page in the console. `event` is what channels subscribe to;
    `channels` names those that get it in any case, and only those. `texts` has the sentence by language where a rule
    brings its own. `state` and `alert_id` are of the alert it tells of: `firing`, `no_data` or `resolved`.
    """

    event: str
    subject: str
    severity: Severity
    code: str
    params: dict[str, str | int | float]
    at: datetime
    lines: tuple[str, ...] = ()
    path: str = ""
    since: datetime | None = None  # a state rather than an event: told once as long as it lasts
    texts: dict[str, str] = {}
    channels: tuple[str, ...] = ()
    state: str = ""
    alert_id: str = ""

    def is_for(self, channel_id: str, events: Iterable[str]) -> bool:
        """Whether a channel that subscribes to these events gets it."""
        return channel_id in self.channels if self.channels else self.event in events


class Bundle(msgspec.Struct, frozen=True):
    """One message: the first notices, how many there are of each code in all, and which alerts are not listed."""

    notices: tuple[Notice, ...]
    counts: dict[str, int]
    unlisted: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many notices it stands for."""
        return sum(self.counts.values())

    @property
    def severity(self) -> Severity:
        """The worst of them."""
        return max((notice.severity for notice in self.notices), key=_RANK.index)


def bundle_of(notices: Iterable[Notice], base: Bundle | None = None) -> Bundle:
    """Return a message of these notices, added to those of `base`."""
    listed, counts = (list(base.notices), dict(base.counts)) if base else ([], {})
    unlisted = list(base.unlisted) if base else []
    for notice in notices:
        counts[notice.code] = counts.get(notice.code, 0) + 1
        if len(listed) < MAX_LISTED:
            listed.append(notice)
        elif notice.alert_id and len(unlisted) < MAX_UNLISTED:
            unlisted.append(notice.alert_id)
    return Bundle(tuple(listed), counts, tuple(unlisted))


def is_repetition(told_at: datetime | None, now: datetime, since: datetime | None = None) -> bool:
    """Whether the same was told of the same object a moment ago, or since it began. A clock set back hides nothing."""
    if told_at is None or told_at > now:
        return False
    return now - told_at < SAME_AGAIN_AFTER or (since is not None and told_at >= since)


def due_of_next(last_at: datetime | None, now: datetime) -> datetime:
    """Return when the next message of a channel may go whose last one was made at `last_at`."""
    soon = now + timedelta(seconds=GATHER_S)
    if last_at is None or last_at > now:
        return soon
    return max(soon, last_at + timedelta(seconds=WINDOW_S))


# --- deliveries ------------------------------------------------------------------------------------------------------
class DeliveryState(StrEnum):
    """How far a message has come."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"


class StoredDelivery(msgspec.Struct, frozen=True):
    """A row of the outbox. `due_at` is None once it has ended."""

    id: int
    channel_id: str
    bundle: Bundle
    state: DeliveryState
    attempts: int
    due_at: datetime | None
    error: Reason | None
    created_at: datetime
    ended_at: datetime | None


class Delivery(msgspec.Struct, frozen=True):
    """A message as the API shows it. `title` is in the channel's language; `events` counts what it tells."""

    id: int
    title: str
    severity: Severity
    events: int
    state: DeliveryState
    attempts: int
    error: Reason | None
    created_at: datetime
    next_attempt_at: datetime | None
    ended_at: datetime | None


def after_attempt(
    row: StoredDelivery, error: Reason | None, now: datetime, *, may_retry: bool = True
) -> StoredDelivery:
    """Return the row after one more attempt, failed with `error` or not."""
    attempts = row.attempts + 1
    changes: dict[str, object] = {"attempts": attempts, "error": error, "due_at": None, "ended_at": now}
    if error is None:
        changes["state"] = DeliveryState.SENT
    elif not may_retry or attempts > len(RETRY_AFTER_S):
        changes["state"] = DeliveryState.FAILED
    else:
        changes |= {"due_at": now + timedelta(seconds=RETRY_AFTER_S[attempts - 1]), "ended_at": None}
    return msgspec.structs.replace(row, **changes)


# --- channels --------------------------------------------------------------------------------------------------------
class EmailSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mail server and addresses, as shown. `tls`: `starttls` (mostly port 587) or `tls` (mostly 465)."""

    host: str
    sender: str
    recipients: tuple[str, ...]
    port: int = 587
    tls: Literal["starttls", "tls"] = "starttls"
    username: str = ""


class NewEmailSettings(EmailSettings, frozen=True, forbid_unknown_fields=True):
    """A mail server with its password, which is never shown again. Without `username` nobody logs in."""

    password: str | None = None


class LastDelivery(msgspec.Struct, frozen=True):
    """How the newest message fared."""

    state: DeliveryState
    at: datetime
    attempts: int
    error: Reason | None


class Channel(msgspec.Struct, frozen=True):
    """A channel as the API shows it. `target` tells people where it leads, without tokens."""

    id: str
    name: str
    kind: ChannelKind
    language: Language
    enabled: bool
    events: tuple[EventKind, ...]
    target: str
    email: EmailSettings | None
    has_secret: bool
    created_at: datetime
    created_by: str
    updated_at: datetime
    last_delivery: LastDelivery | None = None


class Secrets(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is sealed of a channel."""

    url: str = ""
    secret: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return "Secrets(…)"


class NewChannel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A channel to make: with `email` for mail, else with `url`. `secret` signs (webhook, DingTalk, Feishu)."""

    name: str
    kind: ChannelKind
    language: Language = "en"
    enabled: bool = True
    events: tuple[EventKind, ...] = tuple(EventKind)
    url: str | None = None
    secret: str | None = None
    email: NewEmailSettings | None = None


class ChannelPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a channel changes; absent keys stay. `secret` null takes it away.

    `email` replaces the settings; the password stays unless another is given, but for another server or user name.
    """

    name: str | msgspec.UnsetType = msgspec.UNSET
    language: Language | msgspec.UnsetType = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET
    events: tuple[EventKind, ...] | msgspec.UnsetType = msgspec.UNSET
    url: str | msgspec.UnsetType = msgspec.UNSET
    secret: str | msgspec.UnsetType | None = msgspec.UNSET
    email: NewEmailSettings | msgspec.UnsetType = msgspec.UNSET


class DeliveryQuery(ListQuery, frozen=True):
    """`state` filters, `alert_id` keeps those that tell of this alert; the newest come first."""

    state: str = ""
    alert_id: str = ""


def made_channel(channel_id: str, body: NewChannel, actor: str, now: datetime) -> tuple[Channel, Secrets]:
    """Return the channel that `body` asks for, and its secrets. Raises `Invalid` with every fault."""
    email = None if body.email is None else _shown(body.email)
    password = body.email.password or "" if body.email else ""
    secrets = Secrets(body.url or "", body.secret or "", password)
    channel = Channel(
        id=channel_id,
        name=body.name,
        kind=body.kind,
        language=body.language,
        enabled=body.enabled,
        events=_once(body.events),
        target="",
        email=email,
        has_secret=False,
        created_at=now,
        created_by=actor,
        updated_at=now,
    )
    return _checked(channel, secrets), secrets


def patched_channel(channel: Channel, secrets: Secrets, patch: ChannelPatch, now: datetime) -> tuple[Channel, Secrets]:
    """Return channel and secrets with the patch's keys laid over them. Raises `Invalid` with every fault."""
    given = {name: value for name, value in msgspec.structs.asdict(patch).items() if value is not msgspec.UNSET}
    kept: dict[str, Any] = {name: given[name] for name in ("name", "language", "enabled") if name in given}
    if isinstance(patch.events, tuple):
        kept["events"] = _once(patch.events)
    if "url" in given or "secret" in given:
        told = {name: given[name] or "" for name in ("url", "secret") if name in given}
        secrets = msgspec.structs.replace(secrets, **told)
    if isinstance(patch.email, NewEmailSettings):
        shown = _shown(patch.email)
        secrets = msgspec.structs.replace(secrets, password=_password(patch.email, channel.email, secrets))
        kept["email"] = shown
    changed = msgspec.structs.replace(channel, **kept, updated_at=now)
    return _checked(changed, secrets), secrets


def _password(email: NewEmailSettings, before: EmailSettings | None, secrets: Secrets) -> str:
    """Return the password to keep: the old one is not handed to another server or user."""
    if email.password is not None:
        return email.password
    same = before is not None and all(
        getattr(before, name) == getattr(email, name) for name in ("host", "port", "tls", "username")
    )
    return secrets.password if same else ""


def _shown(email: NewEmailSettings) -> EmailSettings:
    return EmailSettings(**{name: getattr(email, name) for name in EmailSettings.__struct_fields__})


def _once(events: Iterable[EventKind]) -> tuple[EventKind, ...]:
    return tuple(dict.fromkeys(events))


def _checked(channel: Channel, secrets: Secrets) -> Channel:
    """Return the channel with its target. Raises `Invalid` with every fault."""
    problems = [*_name_problems(channel.name), *_secret_problems(channel, secrets)]
    target = ""
    if channel.kind is ChannelKind.EMAIL:
        problems += _email_problems(channel.email, secrets)
        problems += ["$.url: a mail channel has none; give email"] if secrets.url else []
        if channel.email is not None:
            target = f"{', '.join(channel.email.recipients)} ({channel.email.host}:{channel.email.port})"
    else:
        problems += [f"$.email: a {channel.kind} channel has none; give url"] if channel.email else []
        try:
            target = str(read_url(secrets.url))
        except Invalid as fault:
            problems.append(fault.message)
    if problems:
        raise Invalid("; ".join(problems), problems=problems)
    return msgspec.structs.replace(channel, target=target, has_secret=bool(secrets.secret or secrets.password))


def _name_problems(name: str) -> list[str]:
    bad = [character for character in name if unicodedata.category(character).startswith("C")]
    if 1 <= len(name) <= MAX_NAME and name == name.strip() and not bad:
        return []
    return [f"$.name: 1 to {MAX_NAME} visible characters, no space at either end"]


def _secret_problems(channel: Channel, secrets: Secrets) -> list[str]:
    problems = []
    for field, text in (("$.secret", secrets.secret), ("$.email.password", secrets.password)):
        if len(text) > MAX_SECRET_CHARS or any(not character.isprintable() for character in text):
            problems.append(f"{field}: at most {MAX_SECRET_CHARS} printable characters")
    if secrets.secret and channel.kind not in _WITH_SECRET:
        problems.append(f"$.secret: a {channel.kind} channel signs nothing")
    if channel.kind is ChannelKind.WEBHOOK and not secrets.secret:
        problems.append("$.secret: a webhook is signed; give the secret that its receiver checks with")
    return problems


def _email_problems(email: EmailSettings | None, secrets: Secrets) -> list[str]:
    if email is None:
        return ["$.email: a mail channel needs it"]
    problems = []
    if not _HOST.match(email.host):
        problems.append("$.email.host: a host name or an address")
    if not 1 <= email.port <= MAX_PORT:
        problems.append(f"$.email.port: from 1 to {MAX_PORT}")
    if not 1 <= len(email.recipients) <= MAX_RECIPIENTS:
        problems.append(f"$.email.recipients: 1 to {MAX_RECIPIENTS}")
    addresses = {"$.email.sender": email.sender}
    addresses |= {f"$.email.recipients[{index}]": text for index, text in enumerate(email.recipients)}
    problems += [f"{where}: not a mail address" for where, text in addresses.items() if not _is_address(text)]
    if len(email.username) > MAX_SECRET_CHARS or any(not character.isprintable() for character in email.username):
        problems.append("$.email.username: printable characters")
    if bool(email.username) != bool(secrets.password):
        problems.append("$.email.password: user name and password come together; another server needs it again")
    return problems


def _is_address(text: str) -> bool:
    return bool(_ADDRESS.match(text)) and text.isascii() and text.isprintable()


def counted(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return codes and how often, the most frequent first."""
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))

"""What a channel says, in English or Chinese, and the shape its receiver wants: pure.

Signatures and shapes follow the pages of DingTalk, WeCom, Feishu and Slack on custom bots (incoming webhooks), and
docs/channels.md for our own webhook. Names and log lines come from strangers: they are cut, stripped of control
characters, and sent as plain text, never as markup (trust S12).
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec

from ops_system.master.channels.rules import Bundle, Channel, ChannelKind, Language, Notice, Secrets, counted
from ops_system.model.reasons import Reason

MAX_WORD_CHARS = 200
MAX_LINE_CHARS = 500
MAX_TEXT_BYTES = 15_000
MAX_WECOM_BYTES = 2_000  # WeCom cuts a text message at 2048
TIMESTAMP_HEADER = "X-Ops-Timestamp"
SIGNATURE_HEADER = "X-Ops-Signature"
DELIVERY_HEADER = "X-Ops-Delivery"

_WORDS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "info": "INFO",
        "warning": "WARNING",
        "critical": "CRITICAL",
        "instance_failed": "Instance {name} on node {node} failed",
        "node_offline": "Node {name} is offline",
        "node_quarantined": "Node {name} is quarantined: a second machine has its identity",
        "node_back": "Node {name} is back",
        "instance_recovered": "Instance {name} on node {node} is no longer failed",
        "alert_firing": "{rule}: {name} {value}",
        "alert_no_data": "{rule}: {name} sends no data",
        "alert_resolved": "Resolved: {rule}: {name}",
        "channel_test": "Test message of channel {name}",
        "several": "{count} events: {list}",
        "several.instance_failed": "instances failed {count}",
        "several.node_offline": "nodes offline {count}",
        "several.node_quarantined": "nodes quarantined {count}",
        "several.node_back": "nodes back {count}",
        "several.instance_recovered": "instances recovered {count}",
        "several.alert_firing": "alerts firing {count}",
        "several.alert_no_data": "alerts without data {count}",
        "several.alert_resolved": "alerts resolved {count}",
        "more": "… and {count} more",
        "between": ", ",
    },
    "zh": {
        "info": "信息",
        "warning": "警告",
        "critical": "严重",
        "instance_failed": "节点 {node} 上的实例 {name} 失败",
        "node_offline": "节点 {name} 离线",
        "node_quarantined": "节点 {name} 已隔离：另一台机器使用了同一身份",
        "node_back": "节点 {name} 已恢复在线",
        "instance_recovered": "节点 {node} 上的实例 {name} 已不再失败",
        "alert_firing": "{rule}：{name} {value}",
        "alert_no_data": "{rule}：{name} 没有数据",
        "alert_resolved": "已恢复：{rule}：{name}",
        "channel_test": "通知渠道 {name} 的测试消息",
        "several": "{count} 个事件：{list}",
        "several.instance_failed": "实例失败 {count}",
        "several.node_offline": "节点离线 {count}",
        "several.node_quarantined": "节点隔离 {count}",
        "several.node_back": "节点恢复 {count}",
        "several.instance_recovered": "实例恢复 {count}",
        "several.alert_firing": "告警触发 {count}",
        "several.alert_no_data": "告警无数据 {count}",
        "several.alert_resolved": "告警恢复 {count}",
        "more": "…… 另有 {count} 个",
        "between": "，",
    },
}


class Post(msgspec.Struct, frozen=True):
    """One HTTP request; POST, always JSON."""

    url: str
    body: bytes
    headers: dict[str, str]


class WebhookItem(msgspec.Struct, frozen=True):
    """One notice, as our own webhook tells it."""

    event: str
    subject: str
    severity: str
    code: str
    params: dict[str, str | int | float]
    title: str
    lines: tuple[str, ...]
    url: str
    at: datetime
    state: str = ""
    alert_id: str = ""


class WebhookBody(msgspec.Struct, frozen=True):
    """The body of our own webhook. `id` is the same at each attempt: a receiver can tell repetitions by it."""

    id: str
    channel: str
    severity: str
    title: str
    text: str
    total: int
    items: tuple[WebhookItem, ...]
    sent_at: datetime


# --- words -----------------------------------------------------------------------------------------------------------
def clean(text: str, max_chars: int = MAX_LINE_CHARS) -> str:
    """Return one printable line of at most so many characters."""
    line = "".join(char if char.isprintable() else " " for char in text).strip()
    return line if len(line) <= max_chars else line[: max_chars - 1] + "…"


def say(language: Language, code: str, params: Mapping[str, str | int | float]) -> str:
    """Return the sentence of a code; one that has no words here says code and parameters."""
    words = {name: clean(str(value), MAX_WORD_CHARS) for name, value in params.items()}
    template = _WORDS[language].get(code)
    if template is None:
        return clean(" ".join([code, *(f"{name}={value}" for name, value in words.items())]))
    return template.format_map(_Blanks(words))


def sentence_of(notice: Notice, language: Language) -> str:
    """Return the sentence of a notice: its own where it brings one."""
    own = notice.texts.get(language, "")
    return clean(own) if own else say(language, notice.code, notice.params)


class _Blanks(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"


def title_of(bundle: Bundle, language: Language) -> str:
    """Return the one line that says what happened."""
    if bundle.total == 1:
        return sentence_of(bundle.notices[0], language)
    parts = [say(language, f"several.{code}", {"count": count}) for code, count in counted(bundle.counts)]
    between = _WORDS[language]["between"]
    return _WORDS[language]["several"].format(count=bundle.total, list=between.join(parts))


def text_of(bundle: Bundle, language: Language, public_url: str) -> str:
    """Return the whole message as plain text: title, what happened to whom, when, and where to look."""
    words = _WORDS[language]
    first = bundle.notices[0]
    told = [f"[{words[bundle.severity]}] {title_of(bundle, language)}"]
    if bundle.total == 1:
        told += [clean(line) for line in first.lines]
    else:
        told += [f"• {sentence_of(notice, language)}" for notice in bundle.notices]
    rest = bundle.total - len(bundle.notices)
    if rest:
        told.append(words["more"].format(count=rest))
    told.append(f"{first.at:%Y-%m-%d %H:%M:%S} UTC")
    told.append(link(public_url, first.path if bundle.total == 1 else ""))
    return cut("\n".join(told), MAX_TEXT_BYTES)


def link(public_url: str, path: str) -> str:
    """Return the page of an object in the console."""
    return public_url.rstrip("/") + quote(path or "/")


def cut(text: str, max_bytes: int) -> str:
    """Return the text with at most so many bytes in UTF-8."""
    raw = text.encode()
    return text if len(raw) <= max_bytes else raw[: max_bytes - 3].decode(errors="ignore") + "…"


# --- shapes ----------------------------------------------------------------------------------------------------------
def post_of(
    channel: Channel, secrets: Secrets, bundle: Bundle, *, message_id: str, at: datetime, public_url: str
) -> Post:
    """Return the request that brings a bundle to a channel that is no mail channel."""
    text = text_of(bundle, channel.language, public_url)
    match channel.kind:
        case ChannelKind.DINGTALK:
            body: Any = {"msgtype": "text", "text": {"content": text}}
            return _json_post(dingtalk_url(secrets, at), body)
        case ChannelKind.WECOM:
            return _json_post(secrets.url, {"msgtype": "text", "text": {"content": cut(text, MAX_WECOM_BYTES)}})
        case ChannelKind.FEISHU:
            safe = text.replace("<", "＜")  # <at user_id="all"> would call everybody, also within a text
            return _json_post(secrets.url, {"msg_type": "text", "content": {"text": safe}} | feishu_sign(secrets, at))
        case ChannelKind.SLACK:
            safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            return _json_post(secrets.url, {"text": safe})
        case _:
            return _webhook_post(channel, secrets, bundle, message_id=message_id, at=at, public_url=public_url)


def _json_post(url: str, body: Any, **headers: str) -> Post:
    return Post(url, msgspec.json.encode(body), {"Content-Type": "application/json; charset=utf-8", **headers})


def _webhook_post(
    channel: Channel, secrets: Secrets, bundle: Bundle, *, message_id: str, at: datetime, public_url: str
) -> Post:
    language = channel.language
    body = WebhookBody(
        id=message_id,
        channel=channel.name,
        severity=bundle.severity,
        title=title_of(bundle, language),
        text=text_of(bundle, language, public_url),
        total=bundle.total,
        items=tuple(_item(notice, language, public_url) for notice in bundle.notices),
        sent_at=at,
    )
    post = _json_post(secrets.url, body)
    stamp = str(int(at.timestamp()))
    headers = {
        TIMESTAMP_HEADER: stamp,
        SIGNATURE_HEADER: webhook_signature(secrets.secret, stamp, post.body),
        DELIVERY_HEADER: message_id,
    }
    return msgspec.structs.replace(post, headers=post.headers | headers)


def _item(notice: Notice, language: Language, public_url: str) -> WebhookItem:
    return WebhookItem(
        event=notice.event,
        subject=notice.subject,
        severity=notice.severity,
        code=notice.code,
        params=notice.params,
        title=sentence_of(notice, language),
        lines=tuple(clean(line) for line in notice.lines),
        url=link(public_url, notice.path),
        at=notice.at,
        state=notice.state,
        alert_id=notice.alert_id,
    )


def webhook_signature(secret: str, stamp: str, body: bytes) -> str:
    """Return `v1=` and the HMAC-SHA256 (hex) over timestamp, a dot, and the body as sent."""
    return "v1=" + hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def dingtalk_url(secrets: Secrets, at: datetime) -> str:
    """Return the robot's URL, signed when a secret is set: HMAC-SHA256 keyed by it over `milliseconds LF secret`."""
    if not secrets.secret:
        return secrets.url
    stamp = str(int(at.timestamp() * 1000))
    made = hmac.new(secrets.secret.encode(), f"{stamp}\n{secrets.secret}".encode(), hashlib.sha256).digest()
    between = "&" if "?" in secrets.url else "?"
    return f"{secrets.url}{between}timestamp={stamp}&sign={quote_plus(base64.b64encode(made))}"


def feishu_sign(secrets: Secrets, at: datetime) -> dict[str, str]:
    """Return the fields that sign: an HMAC-SHA256 over nothing, keyed by `seconds LF secret`."""
    if not secrets.secret:
        return {}
    stamp = str(int(at.timestamp()))
    made = hmac.new(f"{stamp}\n{secrets.secret}".encode(), b"", hashlib.sha256).digest()
    return {"timestamp": stamp, "sign": base64.b64encode(made).decode()}


# --- answers ---------------------------------------------------------------------------------------------------------
class _ChatAnswer(msgspec.Struct, frozen=True):
    """What the chat platforms say: 0 is fine. DingTalk and WeCom `errcode`, Feishu `code`."""

    errcode: int | None = None
    code: int | None = None


_CODED: Iterable[ChannelKind] = frozenset({ChannelKind.DINGTALK, ChannelKind.WECOM, ChannelKind.FEISHU})


def fault_of(kind: ChannelKind, status: int, body: bytes) -> Reason | None:
    """Return why an answer is a refusal, None when the message was taken. Of the body only a number is repeated."""
    if not 200 <= status < 300:  # noqa: PLR2004 - HTTP's successes
        return Reason("answered", f"it answered with status {status}", {"status": status})
    if kind not in _CODED:
        return None
    try:
        told = msgspec.json.decode(body, type=_ChatAnswer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        told = _ChatAnswer()
    number = told.errcode if told.errcode is not None else told.code
    if number == 0:
        return None
    shown = -1 if number is None else number
    return Reason("answered_error", f"it answered with error {shown}", {"number": shown})


# --- mail ------------------------------------------------------------------------------------------------------------
def mail_of(channel: Channel, bundle: Bundle, *, message_id: str, at: datetime, public_url: str) -> bytes:
    """Return a mail as sent after DATA, without dot-stuffing; the same `Message-ID` at each attempt."""
    assert channel.email is not None
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = clean(f"[{_WORDS[channel.language][bundle.severity]}] {title_of(bundle, channel.language)}")
    mail["From"] = channel.email.sender
    mail["To"] = ", ".join(channel.email.recipients)
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = f"<{message_id}.{channel.id}@{channel.email.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text_of(bundle, channel.language, public_url))
    return mail.as_bytes()

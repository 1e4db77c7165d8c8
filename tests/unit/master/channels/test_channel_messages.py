import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import SMTP
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from ops_system.master.channels.messages import (
    MAX_WECOM_BYTES,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    fault_of,
    mail_of,
    post_of,
    say,
    text_of,
    title_of,
)
from ops_system.master.channels.rules import (
    ChannelKind,
    EventKind,
    NewChannel,
    Notice,
    Severity,
    bundle_of,
    made_channel,
)
from ops_system.master.channels.senders import stuffed
from tests.unit.master.channels.test_channel_rules import MAIL

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
URL = "https://ops.example"


CODES = (
    *(kind for kind in EventKind if kind is not EventKind.ALERT),
    "node_back",
    "instance_recovered",
    "alert_firing",
    "alert_no_data",
    "alert_resolved",
)


def notice(name="n1", event=EventKind.NODE_OFFLINE, lines=(), **params):
    return Notice(
        event, f"node:{name}", Severity.CRITICAL, event, {"name": name, **params}, NOW, lines, f"/nodes/{name}"
    )


def shaped(kind, notices=None, language="en", secret=None, url="https://hooks.example/x?token=t"):
    channel, secrets = made_channel("chn_1", NewChannel("ops", kind, language, url=url, secret=secret), "ann", NOW)
    return post_of(channel, secrets, bundle_of(notices or [notice()]), message_id="7", at=NOW, public_url=URL)


def test_one_notice_says_what_when_and_where_to_look():
    failed = notice("web", EventKind.INSTANCE_FAILED, ("gave up after 5 restarts",), node="n1")
    assert text_of(bundle_of([failed]), "en", URL).split("\n") == [
        "[CRITICAL] Instance web on node n1 failed",
        "gave up after 5 restarts",
        "2026-11-21 12:00:00 UTC",
        "https://ops.example/nodes/web",
    ]
    assert title_of(bundle_of([failed]), "zh") == "节点 n1 上的实例 web 失败"


def test_a_mass_event_lists_twenty_and_counts_the_rest():
    many = [notice(f"n{number}") for number in range(30)] + [notice("web", EventKind.INSTANCE_FAILED, node="n1")]
    bundle = bundle_of(many)
    assert title_of(bundle, "en") == "31 events: nodes offline 30, instances failed 1"
    assert title_of(bundle, "zh") == "31 个事件：节点离线 30，实例失败 1"
    lines = text_of(bundle, "en", URL).split("\n")
    assert (len(lines), lines[1], lines[21], lines[-1]) == (24, "• Node n0 is offline", "… and 11 more", f"{URL}/")


def test_every_event_has_words_in_both_languages():
    for language in ("en", "zh"):
        for code in (*CODES, "channel_test"):
            words = say(language, code, {"name": "web", "node": "n1", "rule": "busy", "value": "97"})
            assert words != code
            assert "=" not in words
        for code in CODES:
            assert "count=" not in say(language, f"several.{code}", {"count": 2})
    assert say("en", "disk_full", {"node": "n1"}) == "disk_full node=n1"
    assert "?" in say("en", "node_offline", {})


def test_a_rule_brings_its_own_sentence_for_one_language():
    own = msgspec.structs.replace(notice(), texts={"zh": "节点\x1b n1 太忙"})
    assert (title_of(bundle_of([own]), "zh"), title_of(bundle_of([own]), "en")) == (
        "节点  n1 太忙",
        "Node n1 is offline",
    )


def test_names_of_strangers_stay_text():
    evil = notice('<at user_id="all"></at>\n<!channel>\x1b[31m{0.__class__}&')
    text = text_of(bundle_of([evil]), "en", URL)
    assert len(text.split("\n")) == 3
    assert "\x1b" not in text
    assert "{0.__class__}" in text
    assert "<" not in json.loads(shaped(ChannelKind.FEISHU, [evil]).body)["content"]["text"]
    slack = json.loads(shaped(ChannelKind.SLACK, [evil]).body)["text"]
    assert "&lt;!channel&gt;" in slack
    assert slack.count("&") == slack.count("&amp;") + slack.count("&lt;") + slack.count("&gt;")


def test_a_webhook_is_signed_over_its_time_and_body():
    post = shaped(ChannelKind.WEBHOOK, secret="hush")
    stamp = post.headers[TIMESTAMP_HEADER]
    made = hmac.new(b"hush", f"{stamp}.".encode() + post.body, hashlib.sha256).hexdigest()
    assert post.headers[SIGNATURE_HEADER] == f"v1={made}"
    assert int(stamp) == NOW.timestamp()
    told = json.loads(post.body)
    assert (told["id"], told["channel"], told["severity"], told["total"]) == ("7", "ops", "critical", 1)
    assert told["items"][0] | {"at": ""} == {
        "event": "node_offline",
        "subject": "node:n1",
        "severity": "critical",
        "code": "node_offline",
        "params": {"name": "n1"},
        "title": "Node n1 is offline",
        "lines": [],
        "url": "https://ops.example/nodes/n1",
        "at": "",
        "state": "",
        "alert_id": "",
    }
    assert post.url == "https://hooks.example/x?token=t"


def test_dingtalk_is_signed_in_its_url():
    post = shaped(ChannelKind.DINGTALK, secret="SECabc")
    query = parse_qs(urlsplit(post.url).query)
    stamp = query["timestamp"][0]
    made = hmac.new(b"SECabc", f"{stamp}\nSECabc".encode(), hashlib.sha256).digest()
    assert (query["token"], query["sign"]) == (["t"], [base64.b64encode(made).decode()])
    assert int(stamp) == NOW.timestamp() * 1000
    told = json.loads(post.body)
    assert told["msgtype"] == "text"
    assert told["text"]["content"].startswith("[CRITICAL] Node n1 is offline")
    assert shaped(ChannelKind.DINGTALK).url == "https://hooks.example/x?token=t"


def test_feishu_is_signed_in_its_body():
    told = json.loads(shaped(ChannelKind.FEISHU, secret="hush").body)
    made = hmac.new(f"{told['timestamp']}\nhush".encode(), b"", hashlib.sha256).digest()
    assert (told["sign"], told["msg_type"]) == (base64.b64encode(made).decode(), "text")
    assert int(told["timestamp"]) == NOW.timestamp()
    assert "sign" not in json.loads(shaped(ChannelKind.FEISHU).body)


def test_wecom_gets_what_it_takes():
    told = json.loads(shaped(ChannelKind.WECOM, [notice("节" * 100 + str(number)) for number in range(20)], "zh").body)
    assert told["msgtype"] == "text"
    assert len(told["text"]["content"].encode()) <= MAX_WECOM_BYTES
    assert told["text"]["content"].endswith("…")


@pytest.mark.parametrize(
    ("kind", "status", "body", "code"),
    [
        ("webhook", 204, b"", None),
        ("webhook", 500, b"secret words", "answered"),
        ("webhook", 302, b"", "answered"),
        ("slack", 200, b"ok", None),
        ("slack", 404, b"no_service", "answered"),
        ("dingtalk", 200, b'{"errcode":0,"errmsg":"ok"}', None),
        ("dingtalk", 200, b'{"errcode":310000,"errmsg":"sign not match"}', "answered_error"),
        ("wecom", 200, b'{"errcode":0,"errmsg":"ok"}', None),
        ("wecom", 200, b"<html>", "answered_error"),
        ("feishu", 200, b'{"code":0,"msg":"success","data":{}}', None),
        ("feishu", 200, b'{"code":19021,"msg":"sign match fail"}', "answered_error"),
        ("feishu", 200, b"\xff", "answered_error"),
    ],
)
def test_what_an_answer_means(kind, status, body, code):
    fault = fault_of(ChannelKind(kind), status, body)
    assert (fault and fault.code) == code
    assert "secret words" not in str(fault)


def test_a_mail_is_plain_text_with_one_identity():
    channel, _ = made_channel("chn_1", msgspec.structs.replace(MAIL, language="zh"), "ann", NOW)
    raw = mail_of(channel, bundle_of([notice("节点\r\nBcc: x@y")]), message_id="7", at=NOW, public_url=URL)
    mail = message_from_bytes(raw, policy=SMTP)
    assert mail["Subject"] == "[严重] 节点 节点  Bcc: x@y 离线"
    assert (mail["Bcc"], mail["To"], mail["From"]) == (None, "a@example.com", "ops@example.com")
    assert mail["Message-ID"] == "<7.chn_1@example.com>"
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().splitlines()[0] == "[严重] 节点 节点  Bcc: x@y 离线"


def test_dots_are_stuffed():
    assert stuffed(b".a\n..b\r\nc\n") == b"..a\r\n...b\r\nc\r\n.\r\n"

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from ops_system.master.channels.rules import (
    MAX_LISTED,
    RETRY_AFTER_S,
    Bundle,
    ChannelKind,
    ChannelPatch,
    DeliveryState,
    EventKind,
    NewChannel,
    NewEmailSettings,
    Notice,
    Secrets,
    Severity,
    StoredDelivery,
    after_attempt,
    bundle_of,
    due_of_next,
    is_repetition,
    made_channel,
    patched_channel,
)
from ops_system.model.errors import Invalid
from ops_system.model.reasons import Reason

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOOK = NewChannel("ops", ChannelKind.WEBHOOK, url="https://hooks.example/token-81", secret="hush")
MAIL = NewChannel(
    "mail",
    ChannelKind.EMAIL,
    email=NewEmailSettings("smtp.example", "ops@example.com", ("a@example.com",), username="ops", password="pw"),
)


def notice(number=1, code="node_offline", severity=Severity.CRITICAL):
    return Notice(code, f"node:n{number}", severity, code, {"name": f"n{number}"}, NOW, path=f"/nodes/n{number}")


def row(**changes):
    fields = {
        "id": 1,
        "channel_id": "chn_1",
        "bundle": bundle_of([notice()]),
        "state": DeliveryState.PENDING,
        "attempts": 0,
        "due_at": NOW,
        "error": None,
        "created_at": NOW,
        "ended_at": None,
    }
    return StoredDelivery(**(fields | changes))


def make(body):
    return made_channel("chn_1", body, "ann", NOW)


def patch(body, **changes):
    return patched_channel(*make(body), ChannelPatch(**changes), NOW)


def problems_of(body):
    with pytest.raises(Invalid) as caught:
        make(body)
    return [problem.partition(":")[0] for problem in caught.value.details["problems"]]


def test_many_notices_are_one_message_that_lists_the_first():
    bundle = bundle_of([notice(number) for number in range(402)])
    assert (len(bundle.notices), bundle.total, bundle.counts) == (MAX_LISTED, 402, {"node_offline": 402})
    more = bundle_of([notice(1, "instance_failed", Severity.WARNING)], bundle)
    assert (more.total, more.counts["instance_failed"], more.severity) == (403, 1, Severity.CRITICAL)


def test_alerts_that_are_only_counted_are_known_all_the_same():
    alerts = [msgspec.structs.replace(notice(number), alert_id=f"alt_{number}") for number in range(MAX_LISTED + 2)]
    bundle = bundle_of(alerts[-1:], bundle_of(alerts[:-1]))
    assert bundle.unlisted == (f"alt_{MAX_LISTED}", f"alt_{MAX_LISTED + 1}")


def test_the_same_is_told_again_after_ten_minutes():
    assert not is_repetition(None, NOW)
    assert is_repetition(NOW - timedelta(seconds=599), NOW)
    assert not is_repetition(NOW - timedelta(minutes=10), NOW)
    assert not is_repetition(NOW + timedelta(days=3), NOW)  # the clock was set back


def test_what_lasts_is_told_once():
    told_at = NOW - timedelta(days=3)
    assert is_repetition(told_at, NOW, since=told_at - timedelta(seconds=25))
    assert not is_repetition(told_at, NOW, since=told_at + timedelta(seconds=1))


def test_one_message_in_ten_seconds():
    assert due_of_next(None, NOW) - NOW < timedelta(seconds=1)
    assert due_of_next(NOW - timedelta(seconds=3), NOW) == NOW + timedelta(seconds=7)
    assert due_of_next(NOW - timedelta(minutes=3), NOW) - NOW < timedelta(seconds=1)
    assert due_of_next(NOW + timedelta(days=3), NOW) - NOW < timedelta(seconds=1)


def test_a_failing_message_is_tried_five_times():
    error, now, made = Reason("answered", "500"), NOW, row()
    waits = []
    while made.state is DeliveryState.PENDING:
        made = after_attempt(made, error, now)
        if made.due_at:
            waits.append((made.due_at - now).total_seconds())
            now = made.due_at
    assert waits == list(RETRY_AFTER_S) == [30, 120, 600, 3600]
    assert (made.attempts, made.state, made.ended_at, made.error) == (5, DeliveryState.FAILED, now, error)


def test_a_message_that_is_taken_has_ended():
    made = after_attempt(row(attempts=2, error=Reason("answered", "500")), None, NOW)
    assert (made.state, made.attempts, made.error, made.due_at, made.ended_at) == ("sent", 3, None, None, NOW)


def test_a_test_message_is_not_tried_again():
    assert after_attempt(row(), Reason("x", "x"), NOW, may_retry=False).state is DeliveryState.FAILED


def test_a_channel_shows_where_it_leads_but_no_secret():
    channel, secrets = make(HOOK)
    assert (channel.target, channel.has_secret) == ("https://hooks.example:443", True)
    assert channel.events == tuple(EventKind)
    assert secrets == Secrets("https://hooks.example/token-81", "hush")
    assert "hush" not in repr(secrets) + repr(channel)
    mail, hidden = make(MAIL)
    assert (mail.target, mail.has_secret, hidden.password) == ("a@example.com (smtp.example:587)", True, "pw")
    assert b"pw" not in msgspec.json.encode(mail)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"name": ""}, ["$.name"]),
        ({"name": " x"}, ["$.name"]),
        ({"name": "a\nb"}, ["$.name"]),
        ({"url": None}, ["$.url"]),
        ({"url": "ftp://x/"}, ["$.url"]),
        ({"secret": None}, ["$.secret"]),
        ({"secret": "a\nb"}, ["$.secret"]),
        ({"secret": "x" * 1025}, ["$.secret"]),
        ({"kind": ChannelKind.SLACK}, ["$.secret"]),
        ({"email": MAIL.email}, ["$.email"]),
        ({"kind": ChannelKind.EMAIL}, ["$.secret", "$.email", "$.url"]),
    ],
)
def test_every_fault_is_named(changes, where):
    assert problems_of(msgspec.structs.replace(HOOK, **changes)) == where


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"host": "a b"}, ["$.email.host"]),
        ({"host": "smtp.example\r\nRSET"}, ["$.email.host"]),
        ({"port": 0}, ["$.email.port"]),
        ({"recipients": ()}, ["$.email.recipients"]),
        ({"recipients": ("a@b.example",) * 51}, ["$.email.recipients"]),
        ({"recipients": ("a@b.example>\r\nRCPT TO:<x@y",)}, ["$.email.recipients[0]"]),
        ({"sender": "Ops <ops@example.com>"}, ["$.email.sender"]),
        ({"username": ""}, ["$.email.password"]),
        ({"password": ""}, ["$.email.password"]),
        ({"username": "a\0b"}, ["$.email.username"]),
    ],
)
def test_every_fault_of_mail_settings_is_named(changes, where):
    email = msgspec.structs.replace(MAIL.email, **changes)
    assert problems_of(msgspec.structs.replace(MAIL, email=email)) == where


def test_a_patch_changes_what_it_names():
    channel, secrets = patch(HOOK, name="new", enabled=False, events=(EventKind.NODE_OFFLINE,) * 2)
    assert (channel.name, channel.enabled, channel.events) == ("new", False, (EventKind.NODE_OFFLINE,))
    assert secrets == make(HOOK)[1]
    channel, secrets = patch(HOOK, url="https://other.example/x")
    assert (channel.target, secrets.secret) == ("https://other.example:443", "hush")
    with pytest.raises(Invalid):
        patch(HOOK, secret=None)


def test_a_kept_password_is_not_handed_to_another_server():
    email = msgspec.structs.replace(MAIL.email, password=None)
    assert patch(MAIL, email=msgspec.structs.replace(email, recipients=("b@example.com",)))[1].password == "pw"
    for changes in ({"host": "evil.example"}, {"port": 2525}, {"username": "eve"}, {"tls": "tls"}):
        with pytest.raises(Invalid, match="another server"):
            patch(MAIL, email=msgspec.structs.replace(email, **changes))


def test_a_bundle_survives_its_storage():
    bundle = bundle_of([notice(1), notice(2)])
    assert msgspec.json.decode(msgspec.json.encode(bundle), type=Bundle) == bundle

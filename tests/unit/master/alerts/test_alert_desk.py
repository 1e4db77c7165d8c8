"""The whole engine on a real database; metrics, nodes and channels are the test's, and so is the clock."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace

import msgspec
import pytest

from ops_system.master.alerts.desk import Desk
from ops_system.master.alerts.fleet import Fleet
from ops_system.master.alerts.loglines import LogLooker
from ops_system.master.alerts.rulebook import Rulebook
from ops_system.master.alerts.service import Alerts
from ops_system.master.alerts.silences import Silences
from ops_system.master.alerts.views import AlertQuery
from ops_system.master.alerts.watch import PIECE, SETTLE_S, Watch
from ops_system.master.audit.service import Audit
from ops_system.master.bus import Bus, Changed
from ops_system.model.alerts import Condition, ConditionKind, Grouping, Matchers, NewRule, NewSilence, Scope
from ops_system.model.errors import Forbidden, Invalid, NotAllowed, NotFound
from ops_system.model.nodes import NodeStatus
from ops_system.runtime.tasks import running
from ops_system.storage.database import Database
from ops_system.storage.folder import DataFolder
from ops_system.storage.migrations import load_migrations
from tests.fakes.clock import FakeClock
from tests.fakes.orchestration import ANN

CPU = Condition(kind=ConditionKind.NODE_METRIC, series="cpu_percent", fire_level=90, clear_level=80)
OFFLINE = Condition(kind=ConditionKind.NODE_STATUS, states=("offline",))
BUSY = NewRule(name="busy", condition=CPU)


class Site:
    """What the engine looks at: `cpu` by node; a node that is not there sends nothing."""

    def __init__(self, database):
        self.database, self.clock = database, FakeClock()
        self.cpu, self.sent, self.shown, self.wanted = {}, [], [], set()
        self.idcs = {}
        self.open()

    def open(self):
        """Build everything anew, as a restart does."""
        clock, database, self.bus = self.clock, self.database, Bus()
        audit = Audit(database, clock)
        self.bus.subscribe(Changed, lambda change: self.shown.append(change) if change.topic == "alerts" else None)
        self.rulebook = Rulebook(database=database, audit=audit, clock=clock, channels=self)
        self.silences = Silences(database=database, audit=audit, clock=clock, reached=self.reached)
        self.fleet = Fleet(self.bus, [], [])
        self.lines = LogLooker(self, clock, database)
        watch = Watch(self.fleet, self, dict, self.lines, started_s=clock.monotonic_s(), idcs=lambda: self.idcs)
        desk = Desk(
            database=database,
            bus=self.bus,
            clock=clock,
            rulebook=self.rulebook,
            silences=self.silences,
            fleet=self.fleet,
            watch=watch,
            outbox=self,
        )
        self.alerts = Alerts(
            database=database,
            audit=audit,
            clock=clock,
            rulebook=self.rulebook,
            silences=self.silences,
            desk=desk,
            reached=self.reached,
        )

    def reached(self, principal):
        return {"n1"} if principal.scope else None

    async def list_ids(self, _reader=None):
        return set()

    # --- metrics ---
    def want(self, series):
        self.wanted = set(series)

    def fresh(self, subjects, series, _within_s):
        return [self.cpu.get(key.removeprefix("node:")) if series == "cpu_percent" else None for key in subjects]

    def newest(self, subject):
        value = self.cpu.get(subject.removeprefix("node:"))
        return None if value is None else ({"cpu_percent": value}, 0.5)

    def window(self, subject, series, seconds):
        return [self.cpu.get(subject.removeprefix("node:"))] * seconds

    # --- channels ---
    def writing(self):
        return self.database.transaction()

    async def enqueue(self, _tx, notices):
        self.sent.append([(notice.code, notice.params["name"]) for notice in notices])

    def wake(self):
        pass

    # --- the test's hand ---
    def node(self, name, status=NodeStatus.ONLINE, **labels):
        facts = {"id": name, "name": name, "labels": labels, "status": status, "last_seen": self.clock.now()}
        node = SimpleNamespace(**facts, revoked=False, clone_of=None)
        self.bus.publish(Changed("nodes", name, node))

    async def pass_s(self, seconds, **cpu):
        self.cpu |= cpu
        for _ in range(int(seconds)):
            await self.alerts.tick()
            self.clock.advance(1)

    async def restart(self, away_s):
        self.clock.advance(away_s)
        self.open()
        await self.alerts.load()

    async def open_alerts(self, state="pending,firing,no_data"):
        return (await self.alerts.list_page(AlertQuery(state=state), ANN)).items


@pytest.fixture
async def site(tmp_path):
    folder = DataFolder(tmp_path / "data", tmp_path / "data/ops.db", tmp_path / "data/uploads")
    folder.create()
    database = await Database.open(folder, load_migrations("ops_system.master"))
    try:
        made = Site(database)
        await made.alerts.load()
        for rule in made.rulebook.list_all():
            await made.rulebook.delete(rule.id, ANN)
        for name in ("n1", "n2", "n3"):
            made.node(name)
        yield made
    finally:
        await database.close()


async def test_what_happens_together_is_told_together_and_what_follows_waits(site):
    await site.rulebook.create(NewRule(name="busy", condition=CPU, group=Grouping(wait_s=2, interval_s=10)), ANN)
    await site.pass_s(1, n1=95.0)
    await site.pass_s(2, n2=95.0)
    assert site.sent == [[("alert_firing", "n1"), ("alert_firing", "n2")]]
    await site.pass_s(5, n3=95.0, n1=10.0)
    assert len(site.sent) == 1
    await site.pass_s(6)
    assert site.sent[1:] == [[("alert_firing", "n3"), ("alert_resolved", "n1")]]
    assert {alert.subject_name for alert in await site.open_alerts()} == {"n2", "n3"}


async def test_a_rule_for_each_node_tells_each_by_itself(site):
    await site.rulebook.create(NewRule(name="busy", condition=CPU, group=Grouping(by="node", interval_s=60)), ANN)
    await site.pass_s(2, n1=95.0)
    await site.pass_s(2, n2=95.0)
    assert site.sent == [[("alert_firing", "n1")], [("alert_firing", "n2")]]


async def test_timers_go_on_over_a_restart_without_the_time_away(site):
    await site.rulebook.create(NewRule(name="busy", condition=CPU, for_s=60), ANN)
    await site.pass_s(40, n1=95.0)
    await site.restart(away_s=3600)
    assert [alert.state for alert in await site.open_alerts()] == ["pending"]
    site.node("n1")
    await site.pass_s(15)
    assert site.sent == []
    await site.pass_s(21)  # at most the fifteen seconds since the last beat are looked at twice
    assert site.sent == [[("alert_firing", "n1")]]
    await site.restart(away_s=10)
    site.node("n1")
    await site.pass_s(3)
    assert len(site.sent) == 1
    await site.pass_s(31, n1=10.0)
    assert site.sent[1:] == [[("alert_resolved", "n1")]]


async def test_a_silent_node_mutes_its_own_alerts_but_not_the_one_that_says_so(site):
    await site.rulebook.create(NewRule(name="busy", condition=CPU, group=Grouping(repeat_s=60)), ANN)
    await site.rulebook.create(NewRule(name="slow", condition=CPU, for_s=50), ANN)
    await site.rulebook.create(NewRule(name="gone", condition=OFFLINE), ANN)
    await site.pass_s(2, n1=95.0)
    site.node("n1", NodeStatus.OFFLINE)
    await site.pass_s(100)
    assert site.sent == [[("alert_firing", "n1")], [("alert_firing", "n1")]]  # busy; gone
    found = {alert.rule_name: alert.muted for alert in await site.open_alerts()}
    assert found == {"busy": True, "gone": False}  # what was only pending is forgotten
    site.node("n1")
    await site.pass_s(32)
    assert len(site.sent) == 3
    assert set(site.sent[2]) == {("alert_firing", "n1"), ("alert_resolved", "n1")}  # a reminder, and the end


async def test_nodes_have_time_to_come_back_after_a_start(site):
    await site.rulebook.create(NewRule(name="gone", condition=OFFLINE), ANN)
    site.node("n1", NodeStatus.OFFLINE)
    await site.pass_s(1)
    assert site.sent == [[("alert_firing", "n1")]]
    await site.restart(away_s=60)
    for name in ("n1", "n2"):
        site.node(name, NodeStatus.OFFLINE)
    await site.pass_s(SETTLE_S)
    assert len(site.sent) == 1
    await site.pass_s(2)
    assert site.sent[1:] == [[("alert_firing", "n2")]]


async def test_what_flaps_is_held_and_that_is_said(site):
    await site.rulebook.create(NewRule(name="busy", condition=CPU, group=Grouping(interval_s=1)), ANN)
    for _ in range(10):
        await site.pass_s(2, n1=95.0)
        await site.pass_s(2, n1=10.0)
    (alert,) = await site.open_alerts()
    assert alert.flapping
    assert len([codes for codes in site.sent if codes[0][0] == "alert_firing"]) == 4
    lines = (await site.alerts.get(alert.id, ANN)).transitions
    assert [line.kind for line in lines] == ["firing", "told", "held"]
    await site.pass_s(600)
    assert await site.open_alerts() == []
    assert site.sent[-1] == [("alert_resolved", "n1")]


async def test_who_acknowledges_is_left_in_peace_until_the_end(site):
    await site.rulebook.create(NewRule(name="busy", condition=CPU, group=Grouping(repeat_s=60)), ANN)
    await site.pass_s(62, n1=95.0)
    assert len(site.sent) == 2
    (alert,) = await site.open_alerts()
    assert (await site.alerts.acknowledge(alert.id, "mine", ANN)).ack.note == "mine"
    await site.pass_s(120)
    assert len(site.sent) == 2
    await site.alerts.withdraw(alert.id, ANN)
    await site.pass_s(1)
    assert len(site.sent) == 3
    with pytest.raises(NotAllowed):
        await site.alerts.withdraw(alert.id, ANN)
    await site.pass_s(31, n1=0.0)
    assert site.sent[-1] == [("alert_resolved", "n1")]
    with pytest.raises(NotAllowed):
        await site.alerts.acknowledge(alert.id, "", ANN)


async def test_a_silence_holds_back_what_is_open_and_hides_what_ends(site):
    await site.rulebook.create(BUSY, ANN)
    until = site.clock.now() + timedelta(seconds=100)
    wish = NewSilence(reason="work", matchers=Matchers(labels={"rack": "a"}), ends_at=until)
    silence = await site.silences.create(wish, ANN)
    site.node("n1", rack="a")
    site.node("n2", rack="a")
    await site.pass_s(5, n1=95.0, n2=95.0)
    assert [alert.silenced_by for alert in await site.open_alerts()] == [(silence.id,)] * 2
    await site.pass_s(5, n2=10.0)
    assert site.sent == []
    await site.pass_s(91)
    assert site.sent == [[("alert_firing", "n1")]]
    assert site.shown[-1].data.silenced_by == ()
    assert site.alerts.shown_silence(silence.id, ANN).state == "expired"
    with pytest.raises(NotAllowed):
        await site.silences.expire(silence.id, ANN)


async def test_a_silence_that_is_to_come_keeps_its_beginning_and_ends_after_it(site):
    hour, now = timedelta(hours=1), site.clock.now()
    wish = NewSilence(
        reason="work", matchers=Matchers(node_ids=("n1",)), starts_at=now + 2 * hour, ends_at=now + 4 * hour
    )
    made = await site.silences.create(wish, ANN)
    later = msgspec.structs.replace(wish, starts_at=None, ends_at=now + 5 * hour)
    changed = await site.silences.replace(made.id, later, ANN)
    assert (changed.starts_at, changed.ends_at) == (wish.starts_at, later.ends_at)
    with pytest.raises(Invalid, match="after starts_at"):
        await site.silences.replace(made.id, msgspec.structs.replace(later, ends_at=now + hour), ANN)
    site.clock.advance(3 * 3600)
    shorter = await site.silences.replace(made.id, msgspec.structs.replace(later, ends_at=now + 4 * hour), ANN)
    assert (shorter.starts_at, shorter.ends_at) == (wish.starts_at, now + 4 * hour)


async def test_a_rule_that_goes_ends_what_it_raised_and_nobody_is_told(site):
    rule = await site.rulebook.create(BUSY, ANN)
    await site.pass_s(2, n1=95.0)
    assert site.alerts.shown_rule(rule.id).firing == 1
    await site.rulebook.delete(rule.id, ANN)
    await site.pass_s(2)
    (ended,) = await site.open_alerts("resolved")
    assert (ended.rule_name, len(site.sent)) == ("busy", 1)
    assert site.shown[-1].data.state == "resolved"


async def test_scopes_of_rules_and_of_people(site):
    await site.rulebook.create(NewRule(name="busy", condition=CPU, scope=Scope(labels={"rack": "a"})), ANN)
    site.node("n1", rack="a")
    site.node("n2", rack="b")
    await site.pass_s(2, n1=95.0, n2=95.0, n3=95.0)
    (alert,) = await site.open_alerts()
    assert alert.subject == "node:n1"
    site.node("n1", rack="b")
    site.node("n3", rack="a")
    await site.pass_s(2)
    (other,) = await site.open_alerts()
    assert other.subject == "node:n3"
    limited = type(ANN)(kind="user", id="u", name="bob", permissions=ANN.permissions, scope={"rack": "a"})
    assert [key for key, _ in site.alerts.snapshot(limited)] == [alert.id]
    with pytest.raises(NotFound):
        await site.alerts.get(other.id, limited)
    until = site.clock.now() + timedelta(hours=1)
    with pytest.raises(Forbidden):
        await site.silences.create(NewSilence(reason="x", matchers=Matchers(node_ids=("n3",)), ends_at=until), limited)


async def test_a_machine_that_sends_nothing_is_told_by_its_own_condition(site):
    missing = Condition(kind=ConditionKind.NO_DATA, window_s=30)
    await site.rulebook.create(NewRule(name="mute", condition=missing, scope=Scope(node_ids=("n1",))), ANN)
    await site.rulebook.create(
        NewRule(name="busy", condition=CPU, no_data="firing", scope=Scope(node_ids=("n2",))), ANN
    )
    await site.pass_s(SETTLE_S, n1=1.0, n2=1.0)
    assert site.sent == []
    site.cpu = {}
    await site.pass_s(2)
    assert sorted(code for sent in site.sent for code in sent) == [("alert_firing", "n1"), ("alert_no_data", "n2")]
    await site.pass_s(32, n1=1.0, n2=1.0)
    assert await site.open_alerts() == []


async def test_metrics_are_asked_to_keep_what_rules_read_the_past_of(site):
    quick = Condition(kind=ConditionKind.NODE_METRIC, series="load5", fire_level=9)
    past = Condition(kind=ConditionKind.NODE_METRIC, series="disk:/var:used_percent", fire_level=9, window_s=60)
    gone = Condition(kind=ConditionKind.NO_DATA, series="temp:chip:core:celsius", window_s=60)
    for number, condition in enumerate((quick, past, gone)):
        await site.rulebook.create(NewRule(name=f"rule {number}", condition=condition), ANN)
    await site.pass_s(1)
    assert site.wanted == {past.series, gone.series}
    rule = next(one for one in site.rulebook.list_all() if one.body.condition == past)
    await site.rulebook.switch(rule.id, ANN, enabled=False)
    await site.pass_s(1)
    assert site.wanted == {gone.series}


async def test_others_run_between_the_pieces_of_a_look_at_a_large_fleet(site):
    for number in range(5 * PIECE):
        site.node(f"m{number}")
    await site.rulebook.create(BUSY, ANN)
    site.cpu = {f"m{number}": 95.0 for number in (0, 3 * PIECE)}
    turns, read_in_turns, fresh = [], set(), site.fresh

    def note_turn(*words):
        read_in_turns.add(len(turns))
        return fresh(*words)

    async def take_turns():
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    site.fresh = note_turn
    async with running(take_turns(), "others"):
        await site.alerts.tick()
    assert len(read_in_turns) > 5
    assert {alert.subject for alert in await site.open_alerts()} == {"node:m0", f"node:m{3 * PIECE}"}


async def test_a_rule_deleted_in_the_middle_of_a_look_raises_nothing_more(site):
    for number in range(2 * PIECE):
        site.node(f"m{number}")
    await site.rulebook.create(BUSY, ANN)
    site.cpu = dict.fromkeys(site.fleet.nodes, 95.0)
    async with asyncio.TaskGroup() as group:
        looking = group.create_task(site.alerts.tick(), name="look")
        await asyncio.sleep(0)
        site.rulebook._rules.clear()  # as far as a deletion is when the look goes on
        await looking
    assert len(site.alerts.snapshot(ANN)) == PIECE


async def test_the_plan_is_made_anew_only_when_rules_may_be_about_others(site):
    await site.rulebook.create(BUSY, ANN)
    await site.pass_s(1)
    site.wanted = None
    site.node("n1", NodeStatus.OFFLINE)
    await site.pass_s(1)
    assert site.wanted is None
    site.node("n1", NodeStatus.OFFLINE, zone="a")
    await site.pass_s(1)
    assert site.wanted == set()


async def test_a_data_centre_that_falls_silent_is_told_of_and_one_that_is_gone_is_not(site):
    silent = Condition(kind=ConditionKind.IDC_STATUS, states=("silent",))
    await site.rulebook.create(NewRule(name="away", condition=silent, for_s=60), ANN)
    only = Scope(labels={"idc": "dc3"})
    await site.rulebook.create(NewRule(name="third", condition=silent, scope=only), ANN)
    site.idcs = {"dc1": True, "dc2": False}
    await site.pass_s(SETTLE_S)  # a client may take so long to come back after a start of the master
    assert await site.open_alerts() == []
    await site.pass_s(2)
    site.idcs["dc1"] = False
    await site.pass_s(50)
    assert site.sent == []
    await site.pass_s(45)  # the second of a group waits for its turn
    assert site.sent == [[("alert_firing", "dc2")], [("alert_firing", "dc1")]]
    found = await site.open_alerts()
    assert {alert.subject: alert.labels for alert in found} == {"idc:dc1": {"idc": "dc1"}, "idc:dc2": {"idc": "dc2"}}
    site.idcs = {"dc1": True}
    await site.pass_s(31)
    assert {notice for told in site.sent[2:] for notice in told} == {
        ("alert_resolved", "dc1"),
        ("alert_resolved", "dc2"),
    }
    site.idcs["dc3"] = False
    await site.pass_s(1)
    assert {alert.rule_name for alert in await site.open_alerts()} == {"away", "third"}


async def test_a_rule_that_came_with_a_later_version_is_offered_once_and_a_deleted_one_not_again(site):
    assert site.rulebook.list_all() == []
    async with site.database.transaction() as tx:
        await tx.execute("UPDATE meta SET value = replace(value, 'idc_silent,', '') WHERE key = 'alert_defaults'")
    await site.restart(1)
    (rule,) = site.rulebook.list_all()
    assert (rule.builtin, rule.body.name) == ("idc_silent", "Data centre not heard")
    await site.rulebook.delete(rule.id, ANN)
    await site.restart(1)
    assert site.rulebook.list_all() == []


async def test_a_shipped_rule_leaves_a_rule_of_its_name_as_it_is(site):
    mine = await site.rulebook.create(NewRule(name="Data centre not heard", condition=CPU), ANN)
    async with site.database.transaction() as tx:
        await tx.execute("DELETE FROM meta WHERE key = 'alert_defaults'")
    await site.restart(1)
    named = [rule for rule in site.rulebook.list_all() if rule.body.name == mine.body.name]
    assert [rule.id for rule in named] == [mine.id]
    assert len(site.rulebook.list_all()) > 1

"""The nouns of alerting: rules, alerts, silences. Every field here is what the API takes and shows.

Rule        what to look at, when it is bad enough, whom to tell
Subject     what a rule is about: `node:ID`, `instance:ID`, `idc:NAME`, or `certificate:ca` and `certificate:server`
Alert       one rule on one subject, from the moment it fired until it is resolved
Silence     nobody is told of what it matches, for a while
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from ops_system.model.reasons import Reason


class Severity(StrEnum):
    """How bad it is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertState(StrEnum):
    """How far a rule has come on one subject. `no_data`: it fires because nothing is known any more."""

    PENDING = "pending"
    FIRING = "firing"
    NO_DATA = "no_data"
    RESOLVED = "resolved"


class ConditionKind(StrEnum):
    """What a rule looks at."""

    NODE_METRIC = "node_metric"
    NODE_STATUS = "node_status"
    INSTANCE_METRIC = "instance_metric"
    INSTANCE_STATE = "instance_state"
    INSTANCE_HEALTH = "instance_health"
    INSTANCE_RESTARTS = "instance_restarts"
    NO_DATA = "no_data"
    CERTIFICATE = "certificate"
    LOG = "log"
    IDC_STATUS = "idc_status"


IDC, SILENT = "idc", "silent"  # what subjects of `idc_status` begin with, its label; its only state

Operator = Literal[">", ">=", "<", "<="]
Mode = Literal["mean", "every", "share"]
Policy = Literal["ok", "firing", "keep"]
GroupBy = Literal["rule", "node", "system"]


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a subject is in a bad way. Which fields count depends on `kind` (docs/alerts.md has the table).

    `fire_level` begins it, `clear_level` ends it (absent: the same); between the two nothing changes. `window_s` 0
    looks at the newest sample; else `mode` says how the window is read: its mean, every sample, or at least
    `share_percent` of the samples. `certificate` counts days left, `instance_restarts` those that still count.
    `no_data` fires when `series` (empty: any) has not come for `window_s` seconds. `log` counts the lines of the named
    log within `window_s` that contain `pattern`, or match it as a regular expression.
    """

    kind: ConditionKind
    series: str = ""
    op: Operator = ">="
    fire_level: float | None = None
    clear_level: float | None = None
    mode: Mode = "mean"
    share_percent: float = 100.0
    window_s: int = 0
    states: tuple[str, ...] = ()
    log: str = ""
    pattern: str = ""
    regex: bool = False


class Scope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which subjects count: those that fit everything given. Nothing given: all."""

    labels: dict[str, str] = {}
    node_ids: tuple[str, ...] = ()
    system_id: str = ""
    module_id: str = ""


class Grouping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How alerts of a rule are told together: first after `wait_s`, more after `interval_s`, again after `repeat_s`.

    `repeat_s` 0: never again while nothing changes.
    """

    by: GroupBy = "rule"
    wait_s: float = 0.0
    interval_s: float = 30.0
    repeat_s: float = 14_400.0


class Texts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sentence of a notice by language; `{name}` places a value. Empty: the product's own sentence."""

    en: str = ""
    zh: str = ""


class NewRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule as people write it. `channels` empty: every channel that wants alerts."""

    name: str
    condition: Condition
    severity: Severity = Severity.WARNING
    scope: Scope = Scope()
    for_s: float = 0.0
    keep_firing_for_s: float = 0.0
    no_data: Policy = "ok"
    group: Grouping = Grouping()
    channels: tuple[str, ...] = ()
    texts: Texts = Texts()
    enabled: bool = True


class Rule(NewRule, frozen=True, kw_only=True):
    """A rule on record. `builtin` names the one it was shipped as; `firing` counts its alerts.

    `name_key` is that name too, until somebody renames the rule: consoles say it in the language of their user.
    """

    id: str
    builtin: str = ""
    name_key: str = ""
    created_at: datetime
    created_by: str
    updated_at: datetime
    firing: int = 0
    pending: int = 0


class Acknowledgement(msgspec.Struct, frozen=True):
    """Somebody has seen it: nobody is reminded until it is resolved."""

    by: str
    at: datetime
    note: str = ""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One rule on one subject. `value` is what was judged when its state last changed.

    `silenced_by` lists silences that match now; `muted`: its node is silent, and that is told instead. `flapping`: it
    fired so often lately that it is held until it has been quiet for ten minutes.
    """

    id: str
    rule_id: str
    rule_name: str
    name_key: str = ""
    severity: Severity
    state: AlertState
    subject: str
    subject_name: str
    node_id: str = ""
    node_name: str = ""
    instance_id: str = ""
    system_id: str = ""
    module_id: str = ""
    labels: dict[str, str] = {}
    value: float | None = None
    reason: Reason | None = None
    texts: Texts = Texts()
    started_at: datetime
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    told_at: datetime | None = None
    flapping: bool = False
    muted: bool = False
    silenced_by: tuple[str, ...] = ()
    ack: Acknowledgement | None = None


class Transition(msgspec.Struct, frozen=True):
    """One line of an alert's history. `kind`: a state, or `told`, `acknowledged`, `unacknowledged`, `held`."""

    at: datetime
    kind: str
    value: float | None = None
    actor: str = ""
    note: str = ""


class AlertDetails(msgspec.Struct, frozen=True):
    """An alert with its history, the oldest line first."""

    alert: Alert
    transitions: list[Transition]


class Matchers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a silence matches: alerts that fit everything given. A list fits when one of its ids does."""

    rule_ids: tuple[str, ...] = ()
    node_ids: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    system_id: str = ""
    instance_id: str = ""
    severity: Severity | None = None


class NewSilence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Nobody is told of what `matchers` fit, from `starts_at` (absent: now) until `ends_at`."""

    reason: str
    matchers: Matchers
    ends_at: datetime
    starts_at: datetime | None = None


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """A silence on record. `matching` counts the alerts it quiets now."""

    id: str
    author: str
    reason: str
    matchers: Matchers
    starts_at: datetime
    ends_at: datetime
    state: Literal["scheduled", "active", "expired"]
    matching: int = 0
    created_at: datetime


class BacktestOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_s": "from", "to_s": "to"}):
    """A rule to try on the stored history between two Unix times. `points` true: the judged series come along."""

    rule: NewRule
    from_s: float
    to_s: float
    points: bool = False


class Period(msgspec.Struct, frozen=True, rename={"from_s": "from", "to_s": "to"}):
    """A span in which a subject would have been in this state; `to` is the end of the test when it had not ended."""

    state: AlertState
    from_s: float
    to_s: float


class BacktestSubject(msgspec.Struct, frozen=True):
    """What the rule would have done on one subject. `points`: `[Unix second, value]` as judged."""

    subject: str
    name: str
    periods: list[Period]
    fired: int
    points: list[tuple[float, float]] = []


class Backtest(msgspec.Struct, frozen=True, rename={"from_s": "from", "to_s": "to"}):
    """The outcome: subjects that would have been pending or worse, and what would have been told.

    `step_s` is the distance of the samples judged: old history is coarser, and what is shorter than a step is not seen.
    """

    from_s: float
    to_s: float
    step_s: int
    subjects_tested: int
    subjects: list[BacktestSubject]
    firings: int
    notices: int

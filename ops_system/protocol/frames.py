"""Every message of the worker link, both ways. The link is one WebSocket that the worker opens; frames are MessagePack.

    worker                                   master
      |  GET /api/v1/worker/link  (upgrade)    |
      |  <------------------------- Challenge  |
      |  Proof -------------------------->     |   signature over nonce and the certificate the worker saw
      |  <--------------------------- Welcome  |   or Goodbye
      |  Snapshot ------------------------>    |   what runs here, with generations
      |  <-- Apply*   (what differs)           |
      |  Report*, Events*, Sample*, Ping* -->  |
      |  <-- Apply, EventsAck, Request, Pong   |

Desired state is absolute (`InstanceSpec` with a generation), so `Apply` may be sent any number of times. Events are
kept by the worker until `EventsAck`. Identity comes from the proven channel; no frame after `Proof` names its node.
"""

from datetime import datetime

import msgspec

from ops_system.model.ids import InstanceId, NodeId
from ops_system.model.instances import InstanceEvent, InstanceReport, InstanceSpec, PrepareProgress
from ops_system.model.nodes import Fingerprint

PROTOCOL_VERSION = 1
MAX_FRAME_BYTES = 1024 * 1024
HEARTBEAT_S = 5.0
READ_DEADLINE_S = 20.0
LEAVING = "leaving"  # the code of a worker's Goodbye for ever: the node wants its key to be worth nothing


class _Frame(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Base of all frames: the class name is the tag."""


# --- opening -------------------------------------------------------------------------------------------------------
class Challenge(_Frame, frozen=True):
    """Master: sign this."""

    nonce: bytes  # 32 random bytes
    epoch: int  # rises when the master's data is restored from a backup


class Proof(_Frame, frozen=True):
    """Worker: I hold the node key. `signature` is Ed25519 over `proof_text`."""

    node_id: NodeId
    signature: bytes
    certificate_sha256: bytes  # of the TLS certificate the worker saw; empty on plain HTTP
    boot_id: str
    run_id: str  # random per worker process: a second one at the same time is a clone
    worker_version: str
    fingerprint: Fingerprint
    protocol: int = 1  # left out on the wire by those who speak the first; never the newest of whoever reads it


class Welcome(_Frame, frozen=True):
    """Master: you are in. `session_token` is the Bearer for package downloads while this link lives."""

    node_id: NodeId
    node_name: str
    connection_epoch: int
    session_token: str
    heartbeat_s: float
    sample_s: float
    server_time: datetime
    labels: dict[str, str] = {}


class Goodbye(_Frame, frozen=True):
    """Either end: closing, and why. `retry_after_s` < 0 means do not come back by yourself."""

    code: str
    message: str
    retry_after_s: float = 0.0


# --- worker to master ----------------------------------------------------------------------------------------------
class Ping(_Frame, frozen=True):
    """Worker: alive. Also answers the question of how far the clocks are apart."""

    seq: int
    sent_at: datetime


class Snapshot(_Frame, frozen=True):
    """Worker: all instances it keeps, after each (re)connection. `last_event_seq` is the newest event it ever wrote."""

    reports: tuple[InstanceReport, ...]
    last_event_seq: int


class Report(_Frame, frozen=True):
    """Worker: the newest picture of one instance; an older one not yet sent is replaced."""

    report: InstanceReport


class Progress(_Frame, frozen=True):
    """Worker: how far a preparation is; coalesced like reports."""

    progress: PrepareProgress


class Events(_Frame, frozen=True):
    """Worker: timeline lines, oldest first, kept until acknowledged."""

    events: tuple[InstanceEvent, ...]


class Sample(_Frame, frozen=True):
    """Worker: one second of metrics. Orders as in `model.metrics`; NaN where a value is not known.

    `extra` has the series that vary by machine, e.g. `cpu0_percent`, `disk:/:used_percent`, `net:eth0:rx_bytes_per_s`.
    `dropped` counts samples thrown away since the last one sent.
    """

    at_s: float  # Unix seconds
    node: tuple[float, ...]
    extra: dict[str, float] = {}
    instances: dict[InstanceId, tuple[float, ...]] = {}
    dropped: int = 0


class Reply(_Frame, frozen=True):
    """Either end: the answer to a `Request`. Exactly one of `body` (MessagePack) and `error_code` is set."""

    request_id: int
    body: msgspec.Raw = msgspec.Raw()
    error_code: str = ""
    error_message: str = ""


# --- master to worker ----------------------------------------------------------------------------------------------
class Pong(_Frame, frozen=True):
    """Master: heard."""

    seq: int
    server_time: datetime


class Apply(_Frame, frozen=True):
    """Master: this is what should be. S15: bound to the node and to a time, beside the generation in the spec."""

    node_id: NodeId
    issued_at: datetime
    expires_at: datetime
    spec: InstanceSpec


class Forget(_Frame, frozen=True):
    """Master: the removal of this instance is on record; drop the tombstone."""

    instance_id: InstanceId


class EventsAck(_Frame, frozen=True):
    """Master: all events up to and including `seq` are on disk here."""

    seq: int


class Request(_Frame, frozen=True):
    """Master: a question that wants one `Reply`. `kind` names the handler, `body` is its struct in MessagePack."""

    request_id: int
    kind: str
    body: msgspec.Raw = msgspec.Raw()


# --- streams (log follow, terminal), opened by the master ------------------------------------------------------------
class StreamOpen(_Frame, frozen=True):
    """Master: start a stream. `kind` is `log` or `terminal`, `body` its struct."""

    stream_id: int
    kind: str
    body: msgspec.Raw = msgspec.Raw()


class StreamData(_Frame, frozen=True):
    """Either end: bytes of a stream, at most 64 KiB a frame."""

    stream_id: int
    data: bytes


class StreamAck(_Frame, frozen=True):
    """The reader's end: so many bytes consumed since the last ack; the window is 256 KiB."""

    stream_id: int
    consumed_bytes: int


class StreamClose(_Frame, frozen=True):
    """Either end: the stream is over. `code` is empty when it ended well."""

    stream_id: int
    code: str = ""
    message: str = ""


FromWorker = (
    Proof
    | Goodbye
    | Ping
    | Snapshot
    | Report
    | Progress
    | Events
    | Sample
    | Reply
    | StreamData
    | StreamAck
    | StreamClose
)
FromMaster = (
    Challenge
    | Welcome
    | Goodbye
    | Pong
    | Apply
    | Forget
    | EventsAck
    | Request
    | StreamOpen
    | StreamData
    | StreamAck
    | StreamClose
)


def proof_text(nonce: bytes, node_id: str, certificate_sha256: bytes) -> bytes:
    """Return the bytes a worker signs with its node key to open a link."""
    return b"ops-link-v1\n" + nonce + b"\n" + node_id.encode() + b"\n" + certificate_sha256

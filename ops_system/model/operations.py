"""An operation: a long action with steps, targets, progress and one outcome."""

from datetime import datetime
from enum import StrEnum

import msgspec

from ops_system.model.ids import OperationId
from ops_system.model.reasons import Reason


class OperationState(StrEnum):
    """`pending` -> `running` <-> `paused` -> `succeeded` | `failed` | `cancelled`."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class OperationStep(msgspec.Struct, frozen=True):
    """One named step. `name` is a code the console translates."""

    name: str
    state: OperationState
    started_at: datetime | None = None
    ended_at: datetime | None = None


class OperationTarget(msgspec.Struct, frozen=True):
    """One thing the operation works on, usually an instance on a node."""

    kind: str  # "instance", "node", "package"
    id: str
    name: str
    node_id: str | None
    state: OperationState
    step: str = ""
    bytes_done: int = 0
    bytes_total: int = 0
    reason: Reason | None = None
    bytes_per_s: float = 0.0  # how fast the bytes of this step move; 0: they do not, or nobody knows
    eta_s: float | None = None  # until this step's bytes are through, at that rate


class Operation(msgspec.Struct, frozen=True):
    """An operation as the API shows it."""

    id: OperationId
    kind: str  # "instance.deploy", "instance.start", "system.deploy", …
    title: str
    state: OperationState
    reverted: bool
    steps: tuple[OperationStep, ...]
    targets: tuple[OperationTarget, ...]
    error: Reason | None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    created_by: str
    is_paused: bool = False  # nothing new begins; what is under way goes on


ENDED = frozenset({OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED})

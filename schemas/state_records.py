"""Typed records of the state, which is private to Sway. The rules are those of schemas.records."""

from dataclasses import dataclass


@dataclass(slots=True)
class Behaviour:
    """One behaviour in a user's window; y and z are None until the outcome is known."""

    event_id: str
    offset: int
    occurred_at: int
    action: str
    item_id: str
    item_text: str
    value: float | None = None
    y: float | None = None
    z: float | None = None


@dataclass(slots=True)
class Window:
    """State: a user's latest behaviours, ordered by occurred_at, then offset (table windows).

    floor_*: timestamp and offset of the newest behaviour evicted from the window.
    """

    behaviours: list[Behaviour]
    floor_occurred_at: int | None = None
    floor_offset: int | None = None


@dataclass(slots=True)
class PendingLabel:
    """State: the progress of one event's label join (table pending).

    status: open, parked, joined or expired. due_at: in stream time.
    """

    status: str
    due_at: int
    occurred_at: int
    action: str = ""
    item_id: str = ""
    history: str = ""
    target: str = ""
    y: float | None = None
    z: float | None = None


@dataclass(slots=True)
class DueEntry:
    """The key of an entry of the pending table and its due time, in stream time."""

    due_at: int
    key: str


@dataclass(slots=True)
class DueList:
    """State: entries of the pending table, ordered by due time (table pending)."""

    entries: list[DueEntry]


@dataclass(slots=True)
class Signal:
    """An action that can label earlier events."""

    occurred_at: int
    action: str


@dataclass(slots=True)
class Signals:
    """State: a user's newest signals for an item (table pending)."""

    signals: list[Signal]
    due_at: int


@dataclass(slots=True)
class JoinClock:
    """State: the stream time of a partition and the position in its due lists (table pending)."""

    stream_at: int
    next_list: int
    due_list: int
    due_index: int
    kept_list: int
    kept_index: int


@dataclass(slots=True)
class Turn:
    """A run of consecutive records of one user: the timestamps of its first and last record.

    user: CRC-32 of the user id; -1 for a stream time written by a version without Witnesses.
    """

    user: int
    began_at: int
    last_at: int


@dataclass(slots=True)
class Witnesses:
    """State: the users whose records support the stream time of a partition (table pending).

    doubted: whether only one user's records support it. jumped_at: stream time after its last large step.
    stream_at: stream time when this was written.
    """

    doubted: bool
    jumped_at: int
    stream_at: int
    turns: list[Turn]


@dataclass(slots=True)
class Estimate:
    """State: the published estimates of an event waiting for its label (table estimates)."""

    y_hat: float
    z_hat: float
    model_version: str


@dataclass(slots=True)
class ItemRate:
    """State: outcome counts of an item in one partition (table items)."""

    outcomes: int
    positive: int
    z_sum: float


@dataclass(slots=True)
class ItemSums:
    """State: running sums of an item's outcomes in one partition (table items). See model.features.state.ItemState."""

    outcomes: int
    y_sum: float
    z_sum: float
    above_mean: float
    above_user: float
    last_at: int
    recent: bytes


@dataclass(slots=True)
class UserSums:
    """State: running sums of a user (table items). See model.features.state.UserTotals.

    residuals: residuals of the behaviours in the window, by source offset.
    """

    behaviours: int
    outcomes: int
    y_sum: float
    z_sum: float
    residual_sum: float
    residual_squares: float
    slow: float
    first_at: int
    last_at: int
    residuals: bytes


@dataclass(slots=True)
class PartitionSums:
    """State: sums over all outcomes of one partition (table items). See model.features.state.Mean."""

    outcomes: int
    z_sum: float


@dataclass(slots=True)
class ScoredSnapshot:
    """State: the feature snapshot of an event waiting for its label, taken when it was scored (table estimates)."""

    snapshot: bytes

"""Typed records, one class per schema, with the fields in schema order, required fields first.

Timestamps are int, milliseconds since 1970-01-01T00:00:00Z, never datetime: fastavro's conversion of
timestamp-millis costs more than the rest of a small record, and a date after the year 9999 overflows,
so that such a record could not even be reported. The .avsc files keep the logical type for other readers.

The classes are slotted but not frozen, because they are built for every event and every score: a frozen
instance takes 1.6 µs instead of 0.4 µs (nine fields, Python 3.11, two shared cores). Treat them as immutable.

The order of the fields is part of the contract: the codecs build records by position, and a test compares
each class with its schema.

The .avsc files document the meaning and unit of each field.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class BehaviorEvent:
    """One behaviour of one user, produced by a service (topic sway.events)."""

    event_id: str
    user_id: str
    action: str
    occurred_at: int
    item_id: str = ""
    item_text: str = ""
    value: float | None = None
    domain: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """The observed result of a behaviour (topic sway.outcomes); y and z in [0, 1]."""

    event_id: str
    user_id: str
    y: float
    observed_at: int
    z: float | None = None


@dataclass(slots=True)
class Source:
    """Coordinates of a source record in Kafka."""

    topic: str
    partition: int
    offset: int


@dataclass(slots=True)
class InfluenceScore:
    """The score of one BehaviorEvent (topics sway.scores and sway.scores.shadow)."""

    event_id: str
    user_id: str
    item_id: str
    y_hat: float
    z_hat: float
    influence: float
    model_version: str
    dtype: str
    behaviours: int
    truncated: bool
    duplicate: bool
    source: Source
    outcomes_next: int
    occurred_at: int
    scored_at: int


@dataclass(slots=True)
class LabeledExample:
    """A scored text and its label, for training (topic sway.examples).

    label_source is outcome, attribution or expiry. snapshot: encoded by model.features.snapshot.
    """

    event_id: str
    user_id: str
    item_id: str
    history: str
    target: str
    y: float
    y_hat: float
    z_hat: float
    model_version: str
    label_source: str
    occurred_at: int
    labeled_at: int
    z: float | None = None
    snapshot: bytes | None = None


@dataclass(slots=True)
class OffsetRange:
    """A half-open range of offsets of one partition: start is included, end excluded."""

    topic: str
    partition: int
    start: int
    end: int


@dataclass(slots=True)
class TrainingRequest:
    """A request to train on ranges of examples (topic sway.training).

    examples: the number of records, which may be less than the number of offsets.
    """

    request_id: str
    ranges: list[OffsetRange]
    examples: int
    created_at: int
    reason: str = ""


@dataclass(slots=True)
class ModelAnnouncement:
    """A status change of a model version (topic sway.models).

    event is published, promoted, rejected or rolled_back.
    """

    version: str
    event: str
    created_at: int
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class DeadLetter:
    """A source record that could not be processed (topic sway.dead-letters).

    detail never contains a user's text. raw has at most 64 KiB. Built by schemas.dead_letters.
    """

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    timestamp: int
    raw: bytes
    raw_length: int
    raw_sha256: str
    failed_at: int
    key: bytes | None = None


@dataclass(slots=True)
class Candidate:
    """An item to rank."""

    item_id: str
    item_text: str = ""
    value: float | None = None


@dataclass(slots=True)
class RecommendationRequest:
    """A request to rank candidates for a user (topic sway.recommendation-requests).

    limit: the maximum number of items to return; 0 or less returns all.
    """

    request_id: str
    user_id: str
    candidates: list[Candidate]
    requested_at: int
    action: str = "view"
    limit: int = 10
    domain: str = ""


@dataclass(slots=True)
class RankedItem:
    """A candidate with its estimates."""

    item_id: str
    y_hat: float
    z_hat: float
    influence: float


@dataclass(slots=True)
class Recommendation:
    """The candidates of a request, best first (topic sway.recommendations)."""

    request_id: str
    user_id: str
    items: list[RankedItem]
    model_version: str
    behaviours: int
    source: Source
    requested_at: int
    scored_at: int


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


Record = (
    BehaviorEvent
    | Outcome
    | InfluenceScore
    | LabeledExample
    | TrainingRequest
    | ModelAnnouncement
    | DeadLetter
    | RecommendationRequest
    | Recommendation
    | Window
    | PendingLabel
    | DueList
    | Signals
    | JoinClock
    | Witnesses
    | Estimate
    | ItemRate
    | ItemSums
    | UserSums
    | PartitionSums
    | ScoredSnapshot
)
"""All records that have their own schema."""

RECORD_TYPES: tuple[type[Record], ...] = (
    BehaviorEvent,
    Outcome,
    InfluenceScore,
    LabeledExample,
    TrainingRequest,
    ModelAnnouncement,
    DeadLetter,
    RecommendationRequest,
    Recommendation,
    Window,
    PendingLabel,
    DueList,
    Signals,
    JoinClock,
    Witnesses,
    Estimate,
    ItemRate,
    ItemSums,
    UserSums,
    PartitionSums,
    ScoredSnapshot,
)

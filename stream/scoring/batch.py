"""One batch of the processor: its events that wait for scores, what it counted, and its state while it is read."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from model.features.snapshot import Snapshot
from model.jobs import LateText
from model.tokens import EncodedText
from schemas.records import Outcome
from schemas.state_records import Behaviour
from stream.exactly_once import RecordBatch, SourceRecord, Unit, Work
from stream.scoring.batch_windows import BatchWindows
from stream.scoring.counts import TICKS
from stream.scoring.labels.labelling import BatchLabels, Labelling, NoLabelling
from stream.scoring.labels.ticks import is_tick
from stream.scoring.texts import EventInput


@dataclass(slots=True)
class Pending:
    """An event waiting for its score. Omits the event's own strings, which may take megabytes."""

    event_id: str
    user_id: str
    item_id: str
    occurred_at: int
    record: SourceRecord
    text: EncodedText | LateText
    truncated: bool
    duplicate: bool
    key: bytes | None  # key of its estimate in the estimates table; None if no example will need it
    snapshot: Snapshot | None = None  # stored next to the estimate


@dataclass(slots=True)
class BatchContext:
    """The results of one batch; added to the metrics when its unit is committed."""

    partition: int
    lam: float
    scored: bool = True
    pending: list[Pending] = field(default_factory=list)
    labels: BatchLabels = field(default_factory=BatchLabels)
    outcomes_next: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class BatchReading:
    """State while a batch is read: its commit unit, windows and label join."""

    batch: RecordBatch
    unit: Unit
    context: BatchContext
    windows: BatchWindows
    labelling: Labelling | NoLabelling

    def advance(self, user_id: str, own_time_ms: int, kafka_time_ms: int) -> None:
        """Advance stream time and learn the labels that become known."""
        self.windows.learn(self.labelling.advance(user_id, own_time_ms, kafka_time_ms))

    def wait_for_label(self, user_id: str, behaviour: Behaviour, scored: EventInput | None) -> bytes | None:
        """Add an event to the label join; return the key of its estimate, or None if no example will need it."""
        history, target = ("", "") if scored is None else (scored.history, scored.target)
        key, closings = self.labelling.event(user_id, behaviour, history, target)
        self.windows.learn(closings)
        return key

    def outcome(self, outcome: Outcome, kafka_time_ms: int) -> None:
        """Process an outcome or a tick."""
        if is_tick(outcome):
            self.windows.learn(self.labelling.tick(outcome.observed_at, kafka_time_ms))
            self.context.counts[TICKS] += 1
            return
        self.advance(outcome.user_id, outcome.observed_at, kafka_time_ms)
        self.windows.learn(self.labelling.outcome(outcome))


def contexts(works: Sequence[Work]) -> list[BatchContext]:
    """Return the contexts of a unit's batches."""
    return [work.context for work in works]

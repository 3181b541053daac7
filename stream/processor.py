"""Sway's own logic between the input topics and the output topics, on stream.exactly_once.

`read`: decode, check, put into the user's window, build the text as of the event. `finish`: scores out.
Outcomes become part of the windows, and so of the user's later texts.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from model.influence import influence
from model.tokens import BehaviourTokenizer, EncodedText
from model.waiting import ScoredTexts
from schemas.dead_letters import dead_letter
from schemas.errors import DecodeError, RegistryUnavailable
from schemas.records import BehaviorEvent, DeadLetter, InfluenceScore, Outcome, Source
from schemas.validate import DETAILS, Limits, check_event, check_outcome
from schemas.wire import Codec
from stream.behaviours import BehaviourLimits, behaviour_of, encode_text, entry_of, entry_with_outcome
from stream.exactly_once import RecordBatch, SourceRecord, Unit, Work
from stream.exactly_once.records import TopicPartition
from stream.windows import EMPTY, WindowLimits, find, history, insert_new, with_outcome

if TYPE_CHECKING:
    from stream.exactly_once import LayeredTable
    from stream.windows import Window

logger = logging.getLogger(__name__)

WINDOWS = "windows"

KEY_MISMATCH = "key_mismatch"
SCORING_FAILED = "scoring_failed"
_DETAILS = {
    **DETAILS,
    KEY_MISMATCH: "The record's key is not its user_id, so the user's other records may be in another partition.",
    SCORING_FAILED: "The model failed on this text alone, and on a known-good text it did not.",
}
_REGISTRY_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of the main job."""

    events: str
    outcomes: str
    scores: str
    dead_letters: str


@dataclass(slots=True)
class Codecs:
    """A codec is for one thread: what `finish` writes has codecs of its own."""

    events: Codec[BehaviorEvent]
    outcomes: Codec[Outcome]
    scores: Codec[InfluenceScore]
    dead_letters: Codec[DeadLetter]
    late_dead_letters: Codec[DeadLetter]


@dataclass(slots=True)
class Pending:
    """An event whose text waits for its score."""

    event: BehaviorEvent
    record: SourceRecord
    text: EncodedText
    truncated: bool
    duplicate: bool


@dataclass(slots=True)
class BatchContext:
    """What one batch came to; summed into the metrics when its unit is committed."""

    pending: list[Pending] = field(default_factory=list)
    outcomes_next: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)


class ScoringProcessor:
    """A stream.exactly_once Processor.

    tokenizer and lam are the champion's: they decide how texts read and how scores are mixed.
    now_ms: wall-clock epoch milliseconds, for `scored_at` and `failed_at` only.
    """

    table: "LayeredTable[Window]"
    on_wait: Callable[[str | None], None] = staticmethod(lambda _what: None)
    """Told what reading waits for, and None when it waits no more."""

    def __init__(
        self,
        *,
        topics: Topics,
        codecs: Codecs,
        tokenizer: BehaviourTokenizer,
        lam: float,
        windows: WindowLimits,
        behaviours: BehaviourLimits,
        limits: Limits,
        now_ms: Callable[[], int],
    ) -> None:
        self._topics = topics
        self._codecs = codecs
        self._tokenizer = tokenizer
        self._lam = lam
        self._windows = windows
        self._behaviours = behaviours
        self._limits = limits
        self._now_ms = now_ms

    async def prepare(self, batch: RecordBatch) -> None:
        """Ask the Schema Registry for ids not met yet; while it is away intake pauses and nothing is lost."""
        codec = self._codecs.events if batch.topic == self._topics.events else self._codecs.outcomes
        values = [record.value for record in batch.records]
        while codec.needs_registry(values):
            try:
                await asyncio.to_thread(codec.decode_batch, values)
            except RegistryUnavailable as exc:
                logger.warning("%s waits for the Schema Registry: %s", batch.topic, exc)
                self.on_wait("waiting for the Schema Registry")
                await asyncio.sleep(_REGISTRY_PAUSE_S)
            else:
                break
        self.on_wait(None)

    def read(self, batch: RecordBatch, unit: Unit) -> Work:
        """Bring the windows up to date and return the texts to score."""
        context = BatchContext()
        if batch.topic == self._topics.events:
            self._read_events(batch, unit, context)
        else:
            self._read_outcomes(batch, unit, context)
        return Work([pending.text for pending in context.pending], context)

    def finish(self, work: Work, results: Any, unit: Unit) -> None:
        """Emit a score for each text, or a dead letter for one that the model fails on alone."""
        context: BatchContext = work.context
        if not context.pending:
            return
        scored: ScoredTexts = results
        mixed = influence(scored.y_hat, scored.z_hat, self._lam).tolist()
        scored_at = self._now_ms()
        columns = zip(context.pending, scored.y_hat.tolist(), scored.z_hat.tolist(), mixed, strict=True)
        keys: list[bytes | None] = []
        scores: list[InfluenceScore] = []
        for index, (pending, y_hat, z_hat, score) in enumerate(columns):
            record = pending.record
            if index in scored.failed:
                self._reject(unit, context, record, SCORING_FAILED, self._codecs.late_dead_letters)
                continue
            event = pending.event
            keys.append(record.key)
            scores.append(
                InfluenceScore(
                    event.event_id,
                    event.user_id,
                    event.item_id,
                    y_hat,
                    z_hat,
                    score,
                    scored.model_version,
                    scored.dtype,
                    pending.text.behaviours,
                    pending.truncated,
                    pending.duplicate,
                    Source(record.topic, record.partition, record.offset),
                    context.outcomes_next,
                    event.occurred_at,
                    scored_at,
                )
            )
        unit.emit_all(self._topics.scores, keys, self._codecs.scores.encode_batch(scores))
        context.counts["scores"] += len(scores)

    # --- events -----------------------------------------------------------------------------------------

    def _read_events(self, batch: RecordBatch, unit: Unit, context: BatchContext) -> None:
        context.outcomes_next = unit.reached[TopicPartition(self._topics.outcomes, batch.partition)]
        accepted = self._accepted_events(batch, unit, context)
        made = [behaviour_of(event, record.offset, self._behaviours) for event, record in accepted]
        targets = self._tokenizer.targets([behaviour for behaviour, _cut in made])
        partition, get_in = batch.partition, self.table.get_in
        changed: dict[bytes, Window] = {}  # looked up and put once a batch, however many events a user has
        for (event, record), (behaviour, cut), target in zip(accepted, made, targets, strict=True):
            key = record.key or b""
            window = changed.get(key) or get_in(partition, key) or EMPTY
            duplicate = event.event_id in window.event_ids
            if duplicate:
                text = self._text_again(window, event.event_id)
            else:
                entry = entry_of(behaviour, target)
                text = encode_text(window, history(window, entry.position), target, self._tokenizer)
                changed[key] = insert_new(window, entry, self._windows)
            context.pending.append(Pending(event, record, text, text.truncated or cut, duplicate))
        for key, window in changed.items():
            unit.put(WINDOWS, partition, key, window)
        context.counts["events"] += len(batch.records)

    def _text_again(self, window: "Window", event_id: str) -> EncodedText:
        """Build the text of an event that its producer sent again: the same as the first time."""
        index = window.event_ids.index(event_id)
        target = self._tokenizer.target(window.entries[index].behaviour)
        return encode_text(window, window.entries[:index], target, self._tokenizer)

    def _accepted_events(
        self, batch: RecordBatch, unit: Unit, context: BatchContext
    ) -> list[tuple[BehaviorEvent, SourceRecord]]:
        accepted = []
        decoded = self._codecs.events.decode_batch([record.value for record in batch.records])
        for record, event in zip(batch.records, decoded, strict=True):
            reason: str | DecodeError | None
            if isinstance(event, DecodeError):
                reason = event
            else:
                reason = check_event(event, record.timestamp, self._limits) or _check_key(
                    record, event.user_id
                )
                if reason is None:
                    accepted.append((event, record))
                    continue
            self._reject(unit, context, record, reason, self._codecs.dead_letters)
        return accepted

    # --- outcomes ---------------------------------------------------------------------------------------

    def _read_outcomes(self, batch: RecordBatch, unit: Unit, context: BatchContext) -> None:
        decoded = self._codecs.outcomes.decode_batch([record.value for record in batch.records])
        for record, outcome in zip(batch.records, decoded, strict=True):
            reason: str | DecodeError | None
            if isinstance(outcome, DecodeError):
                reason = outcome
            else:
                reason = check_outcome(outcome, record.timestamp, self._limits) or _check_key(
                    record, outcome.user_id
                )
                if reason is None:
                    context.counts[self._apply(unit, record, outcome)] += 1
                    continue
            self._reject(unit, context, record, reason, self._codecs.dead_letters)
        context.counts["outcomes"] += len(batch.records)

    def _apply(self, unit: Unit, record: SourceRecord, outcome: Outcome) -> str:
        """Make an outcome part of its user's later texts; return what became of it, for the metrics.

        The first outcome of an event stands. One whose event is not in the window (yet, or any more) changes nothing.
        """
        key = record.key or b""
        window = self.table.get_in(record.partition, key)
        index = None if window is None else find(window, outcome.event_id)
        if window is None or index is None:
            return "outcomes_without_event"
        entry = window.entries[index]
        if entry.behaviour.y is not None:
            return "outcomes_repeated"
        known = entry_with_outcome(entry, outcome.y, outcome.z, self._tokenizer)
        unit.put(WINDOWS, record.partition, key, with_outcome(window, index, known, self._windows))
        return "outcomes_applied"

    # --- dead letters -----------------------------------------------------------------------------------

    def _reject(
        self,
        unit: Unit,
        context: BatchContext,
        record: SourceRecord,
        why: str | DecodeError,
        codec: Codec[DeadLetter],
    ) -> None:
        reason, detail = (why.reason, str(why)) if isinstance(why, DecodeError) else (why, _DETAILS[why])
        letter = dead_letter(
            reason=reason,
            detail=detail,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            timestamp=record.timestamp,
            key=record.key,
            value=record.value,
            failed_at=self._now_ms(),
        )
        unit.emit(self._topics.dead_letters, record.topic.encode(), codec.encode(letter))
        context.dead_letters[reason] += 1


def _check_key(record: SourceRecord, user_id: str) -> str | None:
    return None if record.key == user_id.encode() else KEY_MISMATCH


def contexts(works: Sequence[Work]) -> list[BatchContext]:
    """Return what the batches of a unit came to."""
    return [work.context for work in works]

"""Sway's processing logic between its input and output topics, a Processor of stream.exactly_once.

`read` decodes and validates records. It adds events to the users' windows and builds their texts as of the event. It
joins outcomes to events; a label that becomes known is stored in the window and so appears in later texts. `finish`
emits scores and examples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from model.influence import influence
from model.waiting import ScoredTexts
from schemas.dead_letters import dead_letter
from schemas.errors import DecodeError
from schemas.records import BehaviorEvent, DeadLetter, InfluenceScore, Outcome, Source
from schemas.state_records import Estimate
from schemas.validate import DETAILS, Limits, check_event, check_outcome
from schemas.wire import Codec, Encoder
from stream.exactly_once import Hold, RecordBatch, SourceRecord, Unit, Work
from stream.exactly_once.units.records import TopicPartition
from stream.scoring.batch import BatchContext, BatchReading, Pending
from stream.scoring.batch_windows import BatchWindows, WindowsTable
from stream.scoring.behaviours import BehaviourLimits, WindowCodec, behaviour_of, entry_of
from stream.scoring.counts import EVENTS, OUTCOMES, SCORES
from stream.scoring.labels.labelling import Labelling, Labels, NoLabelling
from stream.scoring.schema_resolution import SchemaResolution
from stream.scoring.texts import BatchTexts, ReadingModel
from stream.scoring.windows import WindowLimits, find, insert_new
from stream.scoring.word_keys import WordKeys

InputT = TypeVar("InputT", BehaviorEvent, Outcome)

WINDOWS = "windows"

KEY_MISMATCH = "key_mismatch"
SCORING_FAILED = "scoring_failed"
_DETAILS = {
    **DETAILS,
    KEY_MISMATCH: "The record's key is not its user_id, so the user's other records may be in another partition.",
    SCORING_FAILED: "The model failed on this text alone but not on a known-good text.",
}
# Number of records whose users' windows are looked up together; takes a few megabytes.
_PREFETCH_RECORDS = 256


@dataclass(frozen=True, slots=True)
class Topics:
    """The input and output topics of the scoring job."""

    events: str
    outcomes: str
    scores: str
    dead_letters: str


@dataclass(slots=True)
class Codecs:
    """The codecs of the topics. late_dead_letters: for `finish`, which runs on another thread than `read`.

    A codec is not thread-safe.
    """

    events: Codec[BehaviorEvent]
    outcomes: Codec[Outcome]
    scores: Encoder[InfluenceScore]
    dead_letters: Encoder[DeadLetter]
    late_dead_letters: Encoder[DeadLetter]


class ScoringProcessor:
    """A stream.exactly_once Processor that scores events and joins labels.

    model: tokenizes and scores; `offer` replaces it. labels: None if labels are disabled.
    now_ms: wall clock in epoch milliseconds, used only for `scored_at` and `failed_at`.
    waits_for_schemas: whether a record with an unknown schema pauses its partition instead of becoming a dead letter.
    """

    table: WindowsTable
    on_wait: Callable[[str | None], None] = staticmethod(lambda _what: None)
    """Called with the reason when all intake waits for a service, and with None when it continues."""
    on_swap: Callable[[Any], None] = staticmethod(lambda _model: None)
    """Called with the new model when the first unit that it scores is read, before that unit's texts are submitted."""

    def __init__(
        self,
        *,
        topics: Topics,
        codecs: Codecs,
        model: ReadingModel,
        windows: WindowLimits,
        behaviours: BehaviourLimits,
        limits: Limits,
        labels: Labels | None,
        now_ms: Callable[[], int],
        waits_for_schemas: bool = False,
    ) -> None:
        self._topics = topics
        self._codecs = codecs
        self._model = model
        self._tokenizer = model.tokenizer
        self._word_keys = WordKeys(model.tokenizer)
        self.window_codec = WindowCodec(model.tokenizer)
        self._offered = model
        self._unit = 0
        self._windows = windows
        self._behaviours = behaviours
        self._limits = limits
        self._labels = labels
        self._now_ms = now_ms
        self._schemas = SchemaResolution(lambda reason: self.on_wait(reason), waits=waits_for_schemas)

    def offer(self, model: ReadingModel) -> None:
        """Use this model from the next unit on. Thread-safe; the latest offer wins."""
        self._offered = model

    def _swap_model(self, unit: Unit) -> None:
        """Switch to an offered model on the first batch of a unit, so that each unit has one model version."""
        if unit.number == self._unit:
            return
        self._unit = unit.number
        # Read once and never reset: resetting it could lose an offer from another thread.
        offered = self._offered
        if offered is not self._model:
            self._model = offered
            if offered.tokenizer is not self._tokenizer:
                self._word_keys = WordKeys(offered.tokenizer)
            self._tokenizer = self.window_codec.tokenizer = offered.tokenizer
            self.on_swap(offered)

    async def prepare(self, batch: RecordBatch) -> Hold | None:
        """Resolve new schemas. While the Schema Registry is unreachable, intake pauses; no record is lost.

        With waits_for_schemas, return a Hold at the first record with an unknown schema; an unreachable Schema Registry
        then pauses only this partition.
        """
        return await self._schemas.prepare(*self._codec_and_values(batch), batch.topic)

    def ask_registry(self, batch: RecordBatch) -> None:
        """Synchronous variant of `prepare`: resolve new schemas once, without a retry.

        Raises RegistryUnavailable.
        """
        codec, values = self._codec_and_values(batch)
        if headers := codec.unresolved(values):
            codec.resolve(headers)

    def _codec_and_values(self, batch: RecordBatch) -> tuple[Codec[Any], list[bytes | None]]:
        codec = self._codecs.events if batch.topic == self._topics.events else self._codecs.outcomes
        return codec, [record.value for record in batch.records]

    def read(self, batch: RecordBatch, unit: Unit) -> Work:
        """Update the state and return the texts to score."""
        return self._read(batch, unit, scored=True)

    def learn(self, batch: RecordBatch, unit: Unit) -> Work:
        """Update the state as `read` does, without texts to score and without dead letters.

        These events get no examples either, because an example contains the published score of its event.
        """
        return self._read(batch, unit, scored=False)

    def _read(self, batch: RecordBatch, unit: Unit, *, scored: bool) -> Work:
        self._swap_model(unit)
        context = BatchContext(batch.partition, self._model.lam, scored)
        labelling = self._begin_labelling(context, unit)
        windows = BatchWindows(self.table, self._word_keys, self._windows, batch.partition, labelling.sums)
        reading = BatchReading(batch, unit, context, windows, labelling)
        if batch.topic == self._topics.events:
            self._read_events(reading, BatchTexts(self._model, windows, labelling))
        else:
            self._read_outcomes(reading)
        labelling.end()
        for key, window in windows.changed.items():
            unit.put(WINDOWS, batch.partition, key, window)
        return Work([pending.text for pending in context.pending], context)

    def _begin_labelling(self, context: BatchContext, unit: Unit) -> Labelling | NoLabelling:
        if self._labels is None:
            return NoLabelling(context.partition)
        return self._labels.begin(context.partition, unit, context.labels, context.counts)

    def finish(self, work: Work, results: Any, unit: Unit) -> None:
        """Emit a score for each text, or a dead letter if the model fails on this text alone."""
        context: BatchContext = work.context
        if context.pending:
            self._finish_scores(context, results, unit)
        if self._labels is not None:
            context.labels.finish(self._labels, context.partition, unit, context.counts)

    def _finish_scores(self, context: BatchContext, scored: ScoredTexts, unit: Unit) -> None:
        mixed = influence(scored.y_hat, scored.z_hat, context.lam).tolist()
        scored_at = self._now_ms()
        columns = zip(context.pending, scored.y_hat.tolist(), scored.z_hat.tolist(), mixed, strict=True)
        keys: list[bytes | None] = []
        scores: list[InfluenceScore] = []
        for index, (pending, y_hat, z_hat, score) in enumerate(columns):
            record = pending.record
            if index in scored.failed:
                self._reject(unit, context, record, SCORING_FAILED, self._codecs.late_dead_letters)
                continue
            if pending.key is not None:
                estimate = Estimate(y_hat, z_hat, scored.model_version)
                context.labels.scored(unit, record.partition, pending.key, estimate, pending.snapshot)
            keys.append(record.key)
            scores.append(
                InfluenceScore(
                    pending.event_id,
                    pending.user_id,
                    pending.item_id,
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
                    pending.occurred_at,
                    scored_at,
                )
            )
        unit.emit_all(self._topics.scores, keys, self._codecs.scores.encode_batch(scores))
        context.counts[SCORES] += len(scores)

    # --- events -----------------------------------------------------------------------------------------

    def _read_events(self, reading: BatchReading, texts: BatchTexts) -> None:
        context = reading.context
        outcomes = TopicPartition(self._topics.outcomes, context.partition)
        context.outcomes_next = reading.unit.reached.get(outcomes, 0)
        accepted = self._accepted(reading, self._codecs.events, check_event)
        behaviours = [behaviour_of(event, record.offset, self._behaviours) for event, record in accepted]
        targets = self._tokenizer.targets([behaviour for behaviour, _cut in behaviours])
        columns = zip(accepted, behaviours, targets, strict=True)
        for position, ((event, record), (behaviour, cut), target) in enumerate(columns):
            if texts.snapshots and not position % _PREFETCH_RECORDS:
                reading.windows.prefetch(_users(accepted[position : position + _PREFETCH_RECORDS]))
            reading.advance(event.user_id, event.occurred_at, record.timestamp)
            user_id = event.user_id.encode()
            window = reading.windows.get(user_id)
            index = find(window, event.event_id)
            key, event_input = None, None
            if index is None:
                entry = entry_of(behaviour, target)
                if context.scored:
                    event_input = texts.of_new(user_id, window, entry)
                reading.windows.put(user_id, insert_new(window, entry, self._windows))
                key = reading.wait_for_label(event.user_id, behaviour, event_input)
            elif context.scored:
                event_input = texts.of_duplicate(user_id, window, index)
            if event_input is None:
                continue
            context.pending.append(
                Pending(
                    event.event_id,
                    event.user_id,
                    event.item_id,
                    event.occurred_at,
                    record,
                    event_input.text,
                    event_input.text.truncated or cut,
                    index is not None,
                    key,
                    None if key is None else event_input.snapshot,
                )
            )
        context.counts[EVENTS] += len(reading.batch.records)

    # --- outcomes ---------------------------------------------------------------------------------------

    def _read_outcomes(self, reading: BatchReading) -> None:
        accepted = self._accepted(reading, self._codecs.outcomes, check_outcome)
        reading.context.counts[OUTCOMES] += len(reading.batch.records)
        if self._labels is None:
            return
        for position, (outcome, record) in enumerate(accepted):
            if not position % _PREFETCH_RECORDS:
                reading.windows.prefetch(_users(accepted[position : position + _PREFETCH_RECORDS]))
            reading.outcome(outcome, record.timestamp)

    # --- dead letters -----------------------------------------------------------------------------------

    def _accepted(
        self,
        reading: BatchReading,
        codec: Codec[InputT],
        check: Callable[[InputT, int, Limits], str | None],
    ) -> list[tuple[InputT, SourceRecord]]:
        """Return the valid records with their source records; emit dead letters for the others."""
        accepted = []
        # ask=False: this runs on the event loop, and `prepare` has already resolved the schemas.
        records = reading.batch.records
        decoded = codec.decode_batch([record.value for record in records], ask=False)
        for record, result in zip(records, decoded, strict=True):
            reason: str | DecodeError | None
            if isinstance(result, DecodeError):
                reason = result
            else:
                reason = check(result, record.timestamp, self._limits) or _check_key(record, result.user_id)
                if reason is None:
                    accepted.append((result, record))
                    continue
            if reading.context.scored:
                self._reject(reading.unit, reading.context, record, reason, self._codecs.dead_letters)
        return accepted

    def _reject(
        self,
        unit: Unit,
        context: BatchContext,
        record: SourceRecord,
        why: str | DecodeError,
        codec: Encoder[DeadLetter],
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
        # With the topic alone as key, all its dead letters would go to one partition.
        key = f"{record.topic}-{record.partition}".encode()
        unit.emit(self._topics.dead_letters, key, codec.encode(letter))
        context.dead_letters[reason] += 1


def _users(accepted: Sequence[tuple[InputT, SourceRecord]]) -> list[bytes]:
    """Return the user ids of these records, in UTF-8."""
    return [one.user_id.encode() for one, _record in accepted]


def _check_key(record: SourceRecord, user_id: str) -> str | None:
    return None if record.key == user_id.encode() else KEY_MISMATCH

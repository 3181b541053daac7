"""Opens a partition at its committed progress or its store's position: producer, store, streams and read order."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer

from clients.consumers import reader
from schemas.records import InfluenceScore
from schemas.wire import Codec
from stream.exactly_once.kafka.offsets import Cancelled, watermarks
from stream.exactly_once.kafka.store import PartitionStore
from stream.exactly_once.units.records import RecordBatch, TopicPartition
from stream.replay.batches import ReplayContext
from stream.replay.committer import files_of
from stream.replay.errors import NoAnswerError, PastRetentionError
from stream.replay.journal import Journal
from stream.replay.known_order import KnownOrder
from stream.replay.ordering import EPOCH, MergedOrder
from stream.replay.partition import PartitionReplay
from stream.replay.plan import PartitionPlan, Progress, ReplayPlan, Span
from stream.replay.recorded import RecordedScores, scores_in
from stream.replay.state import positions_in
from stream.replay.streams import RecordStream
from stream.scoring.processor import ScoringProcessor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The topics that a replay reads.

    old_scores: topic of the live scores. timeout_s: longest wait for a record.
    """

    client_config: Mapping[str, str]
    group_id: str
    events: str
    outcomes: str
    old_scores: str
    timeout_s: float

    def stream(
        self, topic: str, partition: int, span: Span, on_read: Callable[[Sequence[Any]], None] | None = None
    ) -> RecordStream:
        """Return a stream over a partition's offset range."""
        return RecordStream(
            self.client_config,
            self.group_id,
            topic,
            partition,
            span,
            timeout_s=self.timeout_s,
            on_read=on_read,
        )

    def retained(self, topic: str, partition: int, consumer: Consumer | None = None) -> Span:
        """Return the offset range that is readable now. consumer: an existing consumer to query with.

        Raises NoAnswerError, KafkaException.
        """
        asking = consumer or reader(self.client_config, self.group_id)
        deadline = time.monotonic() + self.timeout_s
        try:
            where = TopicPartition(topic, partition)
            return Span(*watermarks(asking, where, lambda: time.monotonic() > deadline))
        except Cancelled as exc:
            raise NoAnswerError(
                f"No broker returned the offset range of {topic}[{partition}] within {self.timeout_s:g} s."
            ) from exc
        finally:
            if consumer is None:
                asking.close()


class PartitionSources:
    """The merged streams of a partition."""

    def __init__(
        self,
        inputs: Inputs,
        processor: ScoringProcessor,
        decode_score: Callable[[bytes | None], InfluenceScore],
        partition: int,
        plan: PartitionPlan,
        begin: tuple[int, int, int],
    ) -> None:
        """begin: offsets of events, outcomes and old scores at which to resume.

        Raises ReplayError, RegistryUnavailable, KafkaException.
        """
        events_at, outcomes_at, scores_at = begin
        with ExitStack() as opened:  # closes opened streams if a later one cannot be opened

            def stream(topic: str, span: Span, *, prepare: bool = True) -> RecordStream:
                on_read = _prepared(processor, topic, partition) if prepare else None
                return opened.enter_context(closing(inputs.stream(topic, partition, span, on_read)))

            events = stream(inputs.events, Span(events_at, plan.run_out.end))
            outcomes = stream(inputs.outcomes, Span(outcomes_at, plan.outcomes.end))
            scores = stream(inputs.old_scores, Span(scores_at, plan.old_scores.end), prepare=False)
            self._known = KnownOrder(scores if plan.old_scores.size else None, decode_score, inputs.events)
            self._streams = opened.pop_all()
        self.order = MergedOrder((inputs.events, inputs.outcomes), partition, events, outcomes, self._known)

    @property
    def old_scores_next(self) -> int:
        """Offset from which old scores must be read to resume here."""
        return self._known.position

    def close(self) -> None:
        """Close the consumers."""
        self._streams.close()


def open_partition(
    context: ReplayContext,
    inputs: Inputs,
    journal: Journal,
    partition: int,
    *,
    open_store: Callable[[Path], PartitionStore] = PartitionStore,
    folder: Path,
    decode_score: Codec[InfluenceScore],
    connect_timeout_s: float,
) -> PartitionReplay | None:
    """Take over a partition and return it ready to read; None if it is done.

    Takes over its transactional id first, so that no other process can change its progress afterwards.
    Raises StartError, StoreError, ReplayError, RegistryUnavailable.
    """
    with ExitStack() as opened:  # closes everything unless a partition is returned
        store = open_store(folder / f"partition-{partition:05d}")
        opened.callback(store.close)
        writer = journal.writer(str(partition))
        opened.callback(writer.close)
        writer.init(connect_timeout_s)
        standing = journal.standing_of(partition)
        if standing is None or standing[1].done:
            return None
        plan, progress = standing
        if context.outputs.parquet is not None:
            reached = progress.events_next, progress.outcomes_next
            context.outputs.parquet.recover_pending(partition, progress.file, reached)
            done = Span(plan.scored.start, min(progress.events_next, plan.scored.end))
            context.outputs.parquet.check(partition, done, files_of(progress))
        begin = _position(store, context.plan, plan, progress)
        begin, plan = _apply_retention(inputs, partition, plan, begin)
        context = replace(
            context, plan=replace(context.plan, partitions={**context.plan.partitions, partition: plan})
        )
        behind = begin[:2] != (progress.events_next, progress.outcomes_next) and begin[0] < plan.scored.end
        recorded = None
        if context.plan.with_labels and behind and progress.events_next > plan.scored.start:
            recorded = _published_scores(context, inputs, partition, begin[0], decode_score)
        sources = PartitionSources(inputs, context.processor, decode_score.decode, partition, plan, begin)
        replay = PartitionReplay(
            context, partition, progress, sources=sources, recorded=recorded, store=store, writer=writer
        )
        opened.pop_all()
        return replay


def _position(
    store: PartitionStore, replay: ReplayPlan, plan: PartitionPlan, progress: Progress
) -> tuple[int, int, int]:
    """Return the offsets at which to resume: the store's, or the plan's start after wiping an unusable store."""
    found = positions_in(store, replay)
    starts = plan.warm_up.start, plan.outcomes.start, plan.old_scores.start
    if found is not None and all(at >= start for at, start in zip(found, starts, strict=True)):
        events_next, outcomes_next, _ = found
        # Progress does not include outcomes read before the range; only the store has them.
        at_start = events_next == progress.events_next == plan.scored.start
        if at_start or (events_next, outcomes_next) <= (progress.events_next, progress.outcomes_next):
            return found
    store.wipe()
    return starts


def _apply_retention(
    inputs: Inputs, partition: int, plan: PartitionPlan, begin: tuple[int, int, int]
) -> tuple[tuple[int, int, int], PartitionPlan]:
    """Return the offsets at which to resume and the plan, both reduced to records that retention has left.

    Users whose windows may be incomplete are counted; where old scores are gone, outcomes are ordered by time.
    Raises PastRetentionError if records of the range are gone.
    """
    spans = (
        (inputs.events, Span(begin[0], plan.run_out.end)),
        (inputs.outcomes, Span(begin[1], plan.outcomes.end)),
        (inputs.old_scores, Span(begin[2], plan.old_scores.end)),
    )
    events, outcomes, old_scores = (
        span.start
        if not span.size
        else min(max(span.start, inputs.retained(topic, partition).start), span.end)
        for topic, span in spans
    )
    if events > max(begin[0], plan.scored.start):
        raise PastRetentionError(
            f"Retention has deleted records of {inputs.events}[{partition}] that must be read from offset "
            f"{max(begin[0], plan.scored.start)} on: the oldest offset is {events}. Start there with another id."
        )
    if (events, outcomes, old_scores) == begin:
        return begin, plan
    logger.warning(
        "Retention has deleted records to be read for partition %d: users whose windows may be incomplete are "
        "counted, and outcomes are ordered by time where old scores are gone",
        partition,
    )
    cut = replace(
        plan,
        warm_up=_cut(plan.warm_up, begin[0], events),
        outcomes=_cut(plan.outcomes, begin[1], outcomes),
        old_scores=_cut(plan.old_scores, begin[2], old_scores),
    )
    return (events, outcomes, old_scores), cut


def _cut(span: Span, begin: int, left: int) -> Span:
    """Return the span, or its part from `left` on if reading must begin later than planned."""
    return span if left == begin else Span(min(left, span.end), span.end)


def _published_scores(
    context: ReplayContext, inputs: Inputs, partition: int, start: int, codec: Codec[InfluenceScore]
) -> RecordedScores:
    """Return the scores that this replay has published of a partition, from an event offset on."""
    model = context.model
    outputs = context.outputs
    if outputs.parquet is not None:
        return RecordedScores(outputs.parquet.scores(partition, start), model.version, model.dtype)
    topic = "" if outputs.topic is None else outputs.topic.names.scores
    return RecordedScores(_topic_scores(inputs, topic, partition, codec), model.version, model.dtype)


def _topic_scores(
    inputs: Inputs, topic: str, partition: int, codec: Codec[InfluenceScore]
) -> Iterator[tuple[int, float, float]]:
    with closing(inputs.stream(topic, partition, inputs.retained(topic, partition))) as stream:
        yield from scores_in(stream, codec.decode)


def _prepared(processor: ScoringProcessor, topic: str, partition: int) -> Callable[[Sequence[Any]], None]:
    """Return a callback for fetched records that asks the Schema Registry for their schemas where necessary.

    It raises RegistryUnavailable instead of waiting, since waiting would block polling the group and stopping.
    """

    def ask(records: Sequence[Any]) -> None:
        base, end = records[0].offset, records[-1].offset + 1
        processor.ask_registry(RecordBatch(topic, partition, records, base, end, EPOCH))

    return ask

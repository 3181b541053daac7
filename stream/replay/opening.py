"""Opens a partition where its progress, or its store, is: producer, store, streams, and the order of reading."""

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
from stream.processor import ScoringProcessor
from stream.replay.batches import Parts
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

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where a replay reads.

    old_scores: the topic of the live scores. timeout_s: for a record, while brokers are away.
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
        """Return a partition's span as a stream."""
        return RecordStream(
            self.client_config,
            self.group_id,
            topic,
            partition,
            span,
            timeout_s=self.timeout_s,
            on_read=on_read,
        )

    def held(self, topic: str, partition: int, consumer: Consumer | None = None) -> Span:
        """Return what a read_committed reader finds now. consumer: one that is there to ask with.

        Raises NoAnswerError, KafkaException.
        """
        asking = consumer or reader(self.client_config, self.group_id)
        deadline = time.monotonic() + self.timeout_s
        try:
            where = TopicPartition(topic, partition)
            return Span(*watermarks(asking, where, lambda: time.monotonic() > deadline))
        except Cancelled as exc:
            raise NoAnswerError(
                f"No broker says within {self.timeout_s:g} s what {topic}[{partition}] holds."
            ) from exc
        finally:
            if consumer is None:
                asking.close()


class PartitionSources:
    """The streams of a partition, merged."""

    def __init__(
        self,
        inputs: Inputs,
        processor: ScoringProcessor,
        decode_score: Callable[[bytes | None], InfluenceScore],
        partition: int,
        plan: PartitionPlan,
        begin: tuple[int, int, int],
    ) -> None:
        """begin: the offsets of events, outcomes and old scores at which reading goes on.

        Raises ReplayError, RegistryUnavailable, KafkaException.
        """
        events_at, outcomes_at, scores_at = begin
        with ExitStack() as opened:  # what is open is closed again if the others cannot be opened

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
        """From where old scores must be read to go on from here."""
        return self._known.position

    def close(self) -> None:
        """Let go of the brokers."""
        self._streams.close()


def open_partition(
    parts: Parts,
    inputs: Inputs,
    journal: Journal,
    partition: int,
    *,
    open_store: Callable[[Path], PartitionStore] = PartitionStore,
    folder: Path,
    decode_score: Codec[InfluenceScore],
    connect_timeout_s: float,
) -> PartitionReplay | None:
    """Take a partition over and return it, ready to read; None if it is done.

    Taking over its transactional id comes first: from then on nobody else moves its progress.
    Raises StartError, StoreError, ReplayError, RegistryUnavailable.
    """
    with ExitStack() as opened:  # what is open is closed again, but for a partition that is returned
        store = open_store(folder / f"partition-{partition:05d}")
        opened.callback(store.close)
        writer = journal.writer(str(partition))
        opened.callback(writer.close)
        writer.init(connect_timeout_s)
        standing = journal.standing_of(partition)
        if standing is None or standing[1].done:
            return None
        plan, progress = standing
        if parts.outputs.parquet is not None:
            reached = progress.events_next, progress.outcomes_next
            parts.outputs.parquet.settle(partition, progress.file, reached)
            done = Span(plan.scored.start, min(progress.events_next, plan.scored.end))
            parts.outputs.parquet.check(partition, done, files_of(progress))
        begin = _position(store, parts.plan, plan, progress)
        begin, plan = _as_retention_is(inputs, partition, plan, begin)
        parts = replace(
            parts, plan=replace(parts.plan, partitions={**parts.plan.partitions, partition: plan})
        )
        behind = begin[:2] != (progress.events_next, progress.outcomes_next) and begin[0] < plan.scored.end
        recorded = None
        if parts.plan.with_labels and behind and progress.events_next > plan.scored.start:
            recorded = _recorded(parts, inputs, partition, begin[0], decode_score)
        sources = PartitionSources(inputs, parts.processor, decode_score.decode, partition, plan, begin)
        replay = PartitionReplay(
            parts, partition, progress, sources=sources, recorded=recorded, store=store, writer=writer
        )
        opened.pop_all()
        return replay


def _position(
    store: PartitionStore, replay: ReplayPlan, plan: PartitionPlan, progress: Progress
) -> tuple[int, int, int]:
    """Return where reading goes on: where the store is; if that is of no use, the beginning, with an empty store."""
    found = positions_in(store, replay)
    starts = plan.warm_up.start, plan.outcomes.start, plan.old_scores.start
    if found is not None and all(at >= start for at, start in zip(found, starts, strict=True)):
        events_next, outcomes_next, _ = found
        # Of the outcomes read before the range nothing is committed but in the store.
        begins = events_next == progress.events_next == plan.scored.start
        if begins or (events_next, outcomes_next) <= (progress.events_next, progress.outcomes_next):
            return found
    store.wipe()
    return starts


def _as_retention_is(
    inputs: Inputs, partition: int, plan: PartitionPlan, begin: tuple[int, int, int]
) -> tuple[tuple[int, int, int], PartitionPlan]:
    """Return where reading can go on, and the plan cut to that, if retention has taken what was to be read.

    What is lost of the past makes windows that may lack it, which are counted; what is lost of old scores, an order by
    time. Raises PastRetentionError for what is lost of the range.
    """
    spans = (
        (inputs.events, Span(begin[0], plan.run_out.end)),
        (inputs.outcomes, Span(begin[1], plan.outcomes.end)),
        (inputs.old_scores, Span(begin[2], plan.old_scores.end)),
    )
    events, outcomes, old_scores = (
        span.start if not span.size else min(max(span.start, inputs.held(topic, partition).start), span.end)
        for topic, span in spans
    )
    if events > max(begin[0], plan.scored.start):
        raise PastRetentionError(
            f"Retention has taken what must be read of {inputs.events}[{partition}] from offset "
            f"{max(begin[0], plan.scored.start)} on: the oldest offset is {events}. Begin there, with another id."
        )
    if (events, outcomes, old_scores) == begin:
        return begin, plan
    logger.warning(
        "Retention has taken some of what was to be read for partition %d: users whose windows may lack it are "
        "counted, and where old scores are gone outcomes enter by time",
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
    """Return a span as it is, or from what is left of it on if that is behind where reading was to begin."""
    return span if left == begin else Span(min(left, span.end), span.end)


def _recorded(
    parts: Parts, inputs: Inputs, partition: int, start: int, codec: Codec[InfluenceScore]
) -> RecordedScores:
    """Return what this replay has published of a partition, from an event's offset on."""
    model = parts.model
    outputs = parts.outputs
    if outputs.parquet is not None:
        return RecordedScores(outputs.parquet.scores(partition, start), model.version, model.dtype)
    topic = "" if outputs.topic is None else outputs.topic.names.scores
    return RecordedScores(_topic_scores(inputs, topic, partition, codec), model.version, model.dtype)


def _topic_scores(
    inputs: Inputs, topic: str, partition: int, codec: Codec[InfluenceScore]
) -> Iterator[tuple[int, float, float]]:
    with closing(inputs.stream(topic, partition, inputs.held(topic, partition))) as stream:
        yield from scores_in(stream, codec.decode)


def _prepared(processor: ScoringProcessor, topic: str, partition: int) -> Callable[[Sequence[Any]], None]:
    """Return what a stream calls with fetched records: it asks the Schema Registry where these need it.

    It raises RegistryUnavailable and does not wait: meanwhile nobody would poll the group, nor see a stop.
    """

    def ask(records: Sequence[Any]) -> None:
        base, end = records[0].offset, records[-1].offset + 1
        processor.ask_registry(RecordBatch(topic, partition, records, base, end, EPOCH))

    return ask

"""Makes the plan from the offset ranges of the topics and from the old scores."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka import KafkaException, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs forget to export these
    AdminClient,
    ConfigResource,
    ResourceType,
)

from clients.consumers import reader
from clients.ranges import StalledError, read_ranges
from schemas.errors import DecodeError
from schemas.records import InfluenceScore
from stream.exactly_once.kafka.topics import TopicIds, check_inputs, partition_counts
from stream.replay.errors import ReplayError
from stream.replay.opening import Inputs
from stream.replay.plan import NOTHING, PartitionPlan, ReplayPlan, Span
from stream.replay.ranges import Bound, Retained, find_ranges

_CALL_TIMEOUT_S = 10.0
# Offsets searched for the newest score: a live worker's scores are followed by a transaction marker.
_LAST_SCORES = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """The request.

    warm_up_ms: length of the history read for the state, by record timestamps; None: all of it. label_wait_ms: with
    labels, how long after the range a record can still label its events. outputs, settings: as in ReplayPlan.
    """

    replay_id: str
    model_version: str
    start: Bound
    end: Bound
    warm_up_ms: int | None
    with_labels: bool
    with_outcomes: bool
    label_wait_ms: int
    outputs: str
    settings: str


class Planner:
    """Plans one replay. decode: decodes an old score."""

    def __init__(self, inputs: Inputs, decode: Callable[[bytes | None], InfluenceScore]) -> None:
        self._inputs = inputs
        self._decode = decode
        self._consumer = reader(inputs.client_config, inputs.group_id, **{"fetch.wait.max.ms": 20})

    def __enter__(self) -> "Planner":
        return self

    def __exit__(self, *exc: object) -> None:
        self._consumer.close()

    def plan(self, wanted: Wanted) -> ReplayPlan:
        """Return the plan for a request, according to the current contents of the topics.

        Raises RangeError, ReplayError, StartError.
        """
        inputs = self._inputs
        counts = partition_counts(inputs.client_config, _CALL_TIMEOUT_S)
        topics = [inputs.events, inputs.outcomes] if wanted.with_outcomes else [inputs.events]
        partitions = check_inputs(counts, topics)
        old_scores = counts.get(inputs.old_scores) == partitions  # otherwise its partitions do not correspond
        retained = {number: self._retained(inputs.events, number) for number in range(partitions)}
        ranges = find_ranges(
            inputs.events, wanted.start, wanted.end, retained, self._retained_since_ms(inputs.events)
        )
        parts = {
            number: self._partition(number, span, retained[number], wanted, old_scores=old_scores)
            for number, span in ranges.items()
        }
        if any(part.known.size for part in parts.values()):
            topics.append(inputs.old_scores)
        return ReplayPlan(
            wanted.replay_id,
            wanted.model_version,
            wanted.with_labels,
            wanted.outputs,
            wanted.settings,
            int(time.time() * 1000),
            self.topic_ids(topics),
            parts,
        )

    def topic_ids(self, topics: list[str]) -> Mapping[str, str]:
        """Return the topic ids. Raises ReplayError if no broker answers."""
        try:
            return TopicIds(self._inputs.client_config, topics).fetch(_CALL_TIMEOUT_S)
        except (KafkaException, TimeoutError) as exc:
            raise ReplayError(f"Cannot describe the topics {', '.join(topics)}: {exc}") from exc

    def _partition(
        self, number: int, scored: Span, retained: Retained, wanted: Wanted, *, old_scores: bool
    ) -> PartitionPlan:
        if not scored.size:
            return PartitionPlan(scored, scored, scored, NOTHING)
        # Query old scores first: the outcomes they refer to existed before them.
        scores = (
            self._bounds(self._inputs.old_scores, number) if old_scores and wanted.with_outcomes else NOTHING
        )
        warm_up_from = retained.span.start
        if wanted.warm_up_ms is not None:
            begins_ms = self._time_at(number, scored.start, retained)
            if begins_ms is not None:
                warm_up_from = min(retained.at_time(begins_ms - wanted.warm_up_ms), scored.start)
        run_out, outcomes = Span(scored.end, scored.end), NOTHING
        if wanted.with_outcomes:
            outcomes = self._bounds(self._inputs.outcomes, number)
        # An event of the range may have been read live after outcomes of any later time, so all are readable.
        labels_to = None
        newest_ms = self._newest_before(number, scored.end, retained) if wanted.with_labels else None
        if newest_ms is not None:
            until_ms = newest_ms + wanted.label_wait_ms
            # Include the first record after that time, because it makes the last events due.
            run_out = Span(scored.end, min(retained.at_time(until_ms) + 1, retained.span.end))
            if wanted.with_outcomes:
                of_outcomes = self._retained(self._inputs.outcomes, number)
                labels_to = min(of_outcomes.at_time(until_ms) + 1, of_outcomes.span.end)
        known = self._known(number, scores)
        return PartitionPlan(
            Span(warm_up_from, scored.start),
            scored,
            run_out,
            outcomes,
            scores if known.size else NOTHING,
            known,
            labels_to,
        )

    def _retained_since_ms(self, topic: str) -> int | None:
        """Return the earliest timestamp still guaranteed to be retained, or None if unknown."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        try:
            requested = AdminClient(dict(self._inputs.client_config)).describe_configs([resource])
            config = requested[resource].result(_CALL_TIMEOUT_S)
        except (KafkaException, TimeoutError):
            return None  # without permission to read it, missing records count as lost
        if int(config["retention.bytes"].value) >= 0:
            return None
        kept_ms = int(config["retention.ms"].value)
        return None if kept_ms < 0 else int(time.time() * 1000) - kept_ms

    # --- queries ----------------------------------------------------------------------------------------

    def _bounds(self, topic: str, number: int) -> Span:
        return self._inputs.retained(topic, number, self._consumer)

    def _retained(self, topic: str, number: int) -> Retained:
        span = self._bounds(topic, number)

        def at_time(time_ms: int) -> int:
            requested = [KafkaTopicPartition(topic, number, max(0, time_ms))]
            try:
                (found,) = self._consumer.offsets_for_times(requested, timeout=_CALL_TIMEOUT_S)
            except KafkaException as exc:
                raise ReplayError(f"Cannot search {topic}[{number}] by time: {exc.args[0].str()}") from exc
            return min(found.offset, span.end) if found.offset >= 0 else span.end

        return Retained(span, self._time_of_first(topic, number, span), at_time)

    def _time_of_first(self, topic: str, number: int, span: Span) -> int | None:
        with closing(self._records(topic, number, span)) as records:
            first = next(records, None)
        return None if first is None else first.timestamp()[1]

    def _time_at(self, number: int, offset: int, retained: Retained) -> int | None:
        """Return the timestamp of the first event at or after an offset; None at the end."""
        return self._time_of_first(self._inputs.events, number, Span(offset, retained.span.end))

    def _newest_before(self, number: int, end: int, retained: Retained) -> int | None:
        """Return a close upper bound of the event timestamps before an offset; None without an event at or after it.

        Kafka only finds the first record with at least a given timestamp, and timestamps may decrease with the offset
        (late or importing producers). The bound is therefore found by search.
        """
        newest_ms = self._time_at(number, end, retained)
        if newest_ms is None:
            return None
        older_ms, step_ms = newest_ms, 1
        while retained.at_time(newest_ms + 1) < end:
            older_ms, newest_ms, step_ms = newest_ms + 1, newest_ms + step_ms, 2 * step_ms
        while older_ms < newest_ms:
            middle_ms = (older_ms + newest_ms) // 2
            if retained.at_time(middle_ms + 1) < end:
                older_ms = middle_ms + 1
            else:
                newest_ms = middle_ms
        return newest_ms

    def _known(self, number: int, scores: Span) -> Span:
        """Return the event offsets from the first to the last old score."""
        with closing(self._sources(number, scores)) as sources:
            first = next(sources, None)
        if first is None:
            return NOTHING
        newest = Span(max(scores.start, scores.end - _LAST_SCORES), scores.end)
        return Span(first, max(self._sources(number, newest), default=first) + 1)

    def _sources(self, number: int, scores: Span) -> Generator[int, None, None]:
        """Yield the event offsets that old scores refer to."""
        with closing(self._records(self._inputs.old_scores, number, scores)) as records:
            for record in records:
                try:
                    source = self._decode(record.value()).source
                except DecodeError:
                    continue
                if (source.topic, source.partition) == (self._inputs.events, number):
                    yield source.offset

    def _records(self, topic: str, number: int, span: Span) -> Generator[Message, None, None]:
        """Yield a range's records one by one; for a small number of records."""
        if not span.size:
            return
        polls = read_ranges(
            self._consumer,
            {(topic, number): (span.start, span.end)},
            timeout_s=self._inputs.timeout_s,
            max_records=1,  # one is often sufficient
        )
        where = f"Cannot read {topic}[{number}] from offset {span.start}"
        try:
            for polled in polls:
                yield from polled.records
        except StalledError as exc:
            raise ReplayError(f"{where}: no record within {self._inputs.timeout_s:g} s") from exc
        except KafkaException as exc:
            raise ReplayError(f"{where}: {exc.args[0].str()}") from exc
        finally:
            self._consumer.unassign()

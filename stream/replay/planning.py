"""Makes the plan: asks the brokers what the topics hold, and how far the old scores tell the order."""

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
from stream.replay.ranges import Bound, Held, find_ranges

_CALL_TIMEOUT_S = 10.0
_LAST_SCORES = 200  # looked at for the newest one; a transaction's marker lies behind each of a live worker's


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for.

    warm_up_ms: how much of what is before the range is read for the state, by Kafka's time; None is all there is.
    label_wait_ms: with labels, how long after the range something may still label its events. outputs, settings: as in
    ReplayPlan.
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
    """Plans one replay. decode: an old score's value."""

    def __init__(self, inputs: Inputs, decode: Callable[[bytes | None], InfluenceScore]) -> None:
        self._inputs = inputs
        self._decode = decode
        self._consumer = reader(inputs.client_config, inputs.group_id, **{"fetch.wait.max.ms": 20})

    def __enter__(self) -> "Planner":
        return self

    def __exit__(self, *exc: object) -> None:
        self._consumer.close()

    def plan(self, wanted: Wanted) -> ReplayPlan:
        """Return the plan of what is asked for, as the topics are now.

        Raises RangeError, ReplayError, StartError.
        """
        inputs = self._inputs
        counts = partition_counts(inputs.client_config, _CALL_TIMEOUT_S)
        topics = [inputs.events, inputs.outcomes] if wanted.with_outcomes else [inputs.events]
        partitions = check_inputs(counts, topics)
        old_scores = counts.get(inputs.old_scores) == partitions  # else its partitions mean something else
        held = {number: self._held(inputs.events, number) for number in range(partitions)}
        ranges = find_ranges(
            inputs.events, wanted.start, wanted.end, held, self._kept_since_ms(inputs.events)
        )
        parts = {
            number: self._partition(number, span, held[number], wanted, old_scores=old_scores)
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
        """Return the ids of topics. Raises ReplayError if nobody answers."""
        try:
            return TopicIds(self._inputs.client_config, topics).ask(_CALL_TIMEOUT_S)
        except (KafkaException, TimeoutError) as exc:
            raise ReplayError(f"The brokers do not describe {', '.join(topics)}: {exc}") from exc

    def _partition(
        self, number: int, scored: Span, held: Held, wanted: Wanted, *, old_scores: bool
    ) -> PartitionPlan:
        if not scored.size:
            return PartitionPlan(scored, scored, scored, NOTHING)
        # The old scores first: what these need of the outcomes was there before them.
        scores = (
            self._bounds(self._inputs.old_scores, number) if old_scores and wanted.with_outcomes else NOTHING
        )
        warm_up_from = held.span.start
        if wanted.warm_up_ms is not None:
            begins_ms = self._time_at(number, scored.start, held)
            if begins_ms is not None:
                warm_up_from = min(held.at_time(begins_ms - wanted.warm_up_ms), scored.start)
        run_out, outcomes = Span(scored.end, scored.end), NOTHING
        if wanted.with_outcomes:
            outcomes = self._bounds(self._inputs.outcomes, number)
        # Live, an event of the range may have been read after outcomes of any later time: all are there to be read.
        labels_to = None
        newest_ms = self._newest_before(number, scored.end, held) if wanted.with_labels else None
        if newest_ms is not None:
            until_ms = newest_ms + wanted.label_wait_ms
            # With the first record past that time: it is what makes the last events fall due.
            run_out = Span(scored.end, min(held.at_time(until_ms) + 1, held.span.end))
            if wanted.with_outcomes:
                of_outcomes = self._held(self._inputs.outcomes, number)
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

    def _kept_since_ms(self, topic: str) -> int | None:
        """Return since when retention has taken nothing; None if it does not go by time alone, and nobody knows."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        try:
            asked = AdminClient(dict(self._inputs.client_config)).describe_configs([resource])
            config = asked[resource].result(_CALL_TIMEOUT_S)
        except (KafkaException, TimeoutError):
            return None  # no right to read it: then what is missing is taken for lost
        if int(config["retention.bytes"].value) >= 0:
            return None
        kept_ms = int(config["retention.ms"].value)
        return None if kept_ms < 0 else int(time.time() * 1000) - kept_ms

    # --- asking -----------------------------------------------------------------------------------------

    def _bounds(self, topic: str, number: int) -> Span:
        return self._inputs.held(topic, number, self._consumer)

    def _held(self, topic: str, number: int) -> Held:
        span = self._bounds(topic, number)

        def at_time(time_ms: int) -> int:
            asked = [KafkaTopicPartition(topic, number, max(0, time_ms))]
            try:
                (found,) = self._consumer.offsets_for_times(asked, timeout=_CALL_TIMEOUT_S)
            except KafkaException as exc:
                raise ReplayError(
                    f"{topic}[{number}] cannot be searched by time: {exc.args[0].str()}"
                ) from exc
            return min(found.offset, span.end) if found.offset >= 0 else span.end

        return Held(span, self._time_of_first(topic, number, span), at_time)

    def _time_of_first(self, topic: str, number: int, span: Span) -> int | None:
        with closing(self._records(topic, number, span)) as records:
            first = next(records, None)
        return None if first is None else first.timestamp()[1]

    def _time_at(self, number: int, offset: int, held: Held) -> int | None:
        """Return Kafka's time of the first event at or after an offset; None at the end."""
        return self._time_of_first(self._inputs.events, number, Span(offset, held.span.end))

    def _newest_before(self, number: int, end: int, held: Held) -> int | None:
        """Return a time that no event before an offset is newer than, near the newest; None with no event behind it.

        Kafka tells where the first record of a time or later is. Times need not rise: who sends late, or imports.
        """
        newest_ms = self._time_at(number, end, held)
        if newest_ms is None:
            return None
        older_ms, step_ms = newest_ms, 1
        while held.at_time(newest_ms + 1) < end:
            older_ms, newest_ms, step_ms = newest_ms + 1, newest_ms + step_ms, 2 * step_ms
        while older_ms < newest_ms:
            middle_ms = (older_ms + newest_ms) // 2
            if held.at_time(middle_ms + 1) < end:
                older_ms = middle_ms + 1
            else:
                newest_ms = middle_ms
        return newest_ms

    def _known(self, number: int, scores: Span) -> Span:
        """Return the events between the first old score's and the last one's."""
        with closing(self._sources(number, scores)) as sources:
            first = next(sources, None)
        if first is None:
            return NOTHING
        newest = Span(max(scores.start, scores.end - _LAST_SCORES), scores.end)
        return Span(first, max(self._sources(number, newest), default=first) + 1)

    def _sources(self, number: int, scores: Span) -> Generator[int, None, None]:
        """Yield the offsets of the events that old scores are of."""
        with closing(self._records(self._inputs.old_scores, number, scores)) as records:
            for record in records:
                try:
                    source = self._decode(record.value()).source
                except DecodeError:
                    continue
                if (source.topic, source.partition) == (self._inputs.events, number):
                    yield source.offset

    def _records(self, topic: str, number: int, span: Span) -> Generator[Message, None, None]:
        """Yield a span's records one by one; for a few."""
        if not span.size:
            return
        polls = read_ranges(
            self._consumer,
            {(topic, number): (span.start, span.end)},
            timeout_s=self._inputs.timeout_s,
            max_records=1,  # one is often enough
        )
        where = f"{topic}[{number}] cannot be read from offset {span.start}"
        try:
            for polled in polls:
                yield from polled.records
        except StalledError as exc:
            raise ReplayError(f"{where}: nothing for {self._inputs.timeout_s:g} s") from exc
        except KafkaException as exc:
            raise ReplayError(f"{where}: {exc.args[0].str()}") from exc
        finally:
            self._consumer.unassign()

"""What a topic holds as of now for a read_committed reader, without a group and without a trace in the cluster."""

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import closing

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from clients.consumers import reader
from clients.ranges import StalledError, read_ranges
from sway.cluster import reason
from sway.errors import CommandError

OnProgress = Callable[[int, int], None]
"""Told offsets read and offsets in all."""

_CALL_TIMEOUT_S = 10.0
_STALLED_S = 60.0
# Retention may take the oldest record before it is read.
_FROM_THE_OLDEST: dict[str, str | int | bool] = {"auto.offset.reset": "earliest", "log_level": 0}


def committed(
    client_config: Mapping[str, str],
    topic: str,
    *,
    group: str,
    on_progress: OnProgress = lambda _read, _all: None,
    partitions: Container[int] | None = None,
    newest: int | None = None,
) -> Iterator[Message]:
    """Yield the records of a topic, which must exist, up to its end at the call, each partition in its order.

    group: a name, which is required; nothing is joined and nothing committed. partitions: which; None is all.
    newest: start so many offsets before the end of each; None starts with the oldest.
    Raises CommandError if it cannot be read.
    """
    with closing(reader(client_config, group, **_FROM_THE_OLDEST)) as consumer:
        try:
            yield from _between(consumer, topic, _spans(consumer, topic, partitions, newest), on_progress)
        except KafkaException as exc:
            raise CommandError(f"cannot read {topic}: {reason(exc)}") from exc
        except StalledError as exc:
            raise CommandError(f"cannot read {topic}: {exc} for {_STALLED_S:g} s") from exc


def _between(
    consumer: Consumer, topic: str, spans: Mapping[int, tuple[int, int]], on_progress: OnProgress
) -> Iterator[Message]:
    """Yield what is between two offsets of each partition."""
    total = sum(end - start for start, end in spans.values())
    reached = {number: start for number, (start, _) in spans.items()}
    ranges = {(topic, number): span for number, span in spans.items()}
    for polled in read_ranges(consumer, ranges, timeout_s=_STALLED_S):
        yield from polled.records
        reached |= {number: offset for (_, number), offset in polled.reached.items()}
        behind = sum(max(0, end - reached[number]) for number, (_, end) in spans.items())
        on_progress(total - behind, total)


def _spans(
    consumer: Consumer, topic: str, partitions: Container[int] | None, newest: int | None
) -> dict[int, tuple[int, int]]:
    """Return the first offset to read and the stable end of each partition that holds any."""
    found = consumer.list_topics(topic, timeout=_CALL_TIMEOUT_S).topics[topic]
    spans = {}
    for number in found.partitions:
        if partitions is not None and number not in partitions:
            continue
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_CALL_TIMEOUT_S)
        if low < high:
            spans[number] = (low if newest is None else max(low, high - newest), high)
    return spans

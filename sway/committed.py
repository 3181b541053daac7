"""What a topic holds as of now for a read_committed reader, without a group and without a trace in the cluster."""

import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import closing
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from sway.cluster import reason
from sway.errors import CommandError

OnProgress = Callable[[int, int], None]
"""Told offsets read and offsets in all."""

_READ_RECORDS = 5_000
_POLL_S = 0.2
_CALL_TIMEOUT_S = 10.0
_STALLED_S = 60.0


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
    config: dict[str, Any] = {
        **client_config,
        "group.id": group,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",  # retention may take the oldest while we come
        "log_level": 0,
    }
    with closing(Consumer(config)) as consumer:
        try:
            spans = _spans(consumer, topic, partitions, newest)
            yield from _between(consumer, topic, spans, on_progress)
        except KafkaException as exc:
            raise CommandError(f"cannot read {topic}: {reason(exc)}") from exc


def _between(
    consumer: Consumer, topic: str, spans: Mapping[int, tuple[int, int]], on_progress: OnProgress
) -> Iterator[Message]:
    """Yield what is between two offsets of each partition.

    A partition ends by position: what is last in it may be a marker or aborted, and a busy one never stands still.
    """
    total = sum(end - start for start, end in spans.values())
    left = {number: end for number, (_, end) in spans.items()}
    consumer.assign([TopicPartition(topic, number, start) for number, (start, _) in spans.items()])
    moved_s = time.monotonic()
    while left:
        for message in consumer.consume(_READ_RECORDS, _POLL_S):
            moved_s = time.monotonic()
            number, error = message.partition() or 0, message.error()
            if error is None and (message.offset() or 0) < left.get(number, 0):
                yield message
            elif error is not None:
                raise KafkaException(error)
        behind = 0
        for place in consumer.position([TopicPartition(topic, number) for number in left]):
            if place.offset >= left[place.partition]:
                del left[place.partition]
            else:
                behind += left[place.partition] - max(place.offset, spans[place.partition][0])
        on_progress(total - behind, total)
        if time.monotonic() - moved_s > _STALLED_S:
            raise CommandError(
                f"no record of {topic} came for {_STALLED_S:g} s, with {behind:,} offsets to read yet"
            )


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

"""Scores and labels out of a topic: what a read_committed reader sees, from the oldest to the end as of now."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from operator import attrgetter
from typing import TypeVar

import pyarrow as pa
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from schemas.errors import DecodeError
from schemas.records import InfluenceScore, LabeledExample, Record
from stream.settings import Settings
from stream.wire import codec_for
from sway.cluster import reason
from sway.comparing.labels import LABEL_SCHEMA, Labels
from sway.comparing.scores import SCORE_SCHEMA, Scores
from sway.errors import CommandError

R = TypeVar("R", bound=Record)
OnProgress = Callable[[int, int], None]
"""Told offsets read and offsets in all."""

_CHUNK = 20_000
"""Records that are Python objects at once."""
_READ_RECORDS = 5_000
_POLL_S = 0.2
_CALL_TIMEOUT_S = 10.0
_STALLED_S = 60.0


def read_scores(settings: Settings, topic: str, on_progress: OnProgress) -> Scores:
    """Read a topic of InfluenceScore records, which must exist.

    Raises CommandError if it holds none, holds anything else, or cannot be read.
    """
    return Scores.from_table(topic, _table(settings, topic, InfluenceScore, SCORE_SCHEMA, on_progress))


def read_labels(settings: Settings, topic: str, on_progress: OnProgress) -> Labels:
    """Read a topic of LabeledExample records, which must exist and may be empty. Raises as read_scores does."""
    return Labels.from_table(topic, _table(settings, topic, LabeledExample, LABEL_SCHEMA, on_progress))


def _table(
    settings: Settings, topic: str, record_type: type[R], schema: pa.Schema, on_progress: OnProgress
) -> pa.Table:
    codec = codec_for(record_type, topic, settings.wire)
    columns_of = attrgetter(*(name.replace("source_", "source.") for name in schema.names))
    batches, rows = [], []
    for message in _messages(settings.kafka.client_config(), topic, on_progress):
        try:
            rows.append(columns_of(codec.decode(message.value())))
        except DecodeError as exc:
            where = f"{topic}[{message.partition()}]@{message.offset()}"
            raise CommandError(f"{where} is no {record_type.__name__}: {exc}") from exc
        if len(rows) == _CHUNK:
            batches.append(_batch(rows, schema))
            rows = []
    if rows:
        batches.append(_batch(rows, schema))
    return pa.Table.from_batches(batches, schema)


def _batch(rows: list[tuple[object, ...]], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.record_batch(
        [pa.array(list(column), field.type) for column, field in zip(columns, schema, strict=True)],
        schema=schema,
    )


def _messages(client_config: dict[str, str], topic: str, on_progress: OnProgress) -> Iterator[Message]:
    config = {
        **client_config,
        "group.id": "sway-compare",  # required, but nothing is joined and nothing committed
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",  # retention may take the oldest while we come
        "log_level": 0,
    }
    with closing(Consumer(config)) as consumer:
        try:
            yield from _up_to_now(consumer, topic, on_progress)
        except KafkaException as exc:
            raise CommandError(f"cannot read {topic}: {reason(exc)}") from exc


def _up_to_now(consumer: Consumer, topic: str, on_progress: OnProgress) -> Iterator[Message]:
    """Yield what was there at the call, each partition in its order.

    A partition ends by position: what is last in it may be a marker or aborted, and a busy one never stands still.
    """
    spans = _spans(consumer, topic)
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


def _spans(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """Return the oldest offset and the stable end of each partition that holds any."""
    found = consumer.list_topics(topic, timeout=_CALL_TIMEOUT_S).topics[topic]
    spans = {}
    for number in found.partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_CALL_TIMEOUT_S)
        if low < high:
            spans[number] = (low, high)
    return spans

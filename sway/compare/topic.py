"""Reading of scores and labels from a topic: its committed records, from the oldest to the current end."""

from operator import attrgetter
from typing import TypeVar

import pyarrow as pa

from schemas.errors import DecodeError
from schemas.records import InfluenceScore, LabeledExample, Record
from stream.settings import Settings
from stream.wire import codec_for
from sway.committed import OnProgress, committed
from sway.compare.labels import LABEL_SCHEMA, Labels
from sway.compare.scores import SCORE_SCHEMA, Scores
from sway.errors import CommandError

R = TypeVar("R", bound=Record)

_CHUNK = 20_000
"""Number of records held as Python objects at a time."""
_GROUP = "sway-compare"


def read_scores(settings: Settings, topic: str, on_progress: OnProgress) -> Scores:
    """Read an existing topic of InfluenceScore records.

    Raises CommandError if it is empty, contains other records, or cannot be read.
    """
    return Scores.from_table(topic, _table(settings, topic, InfluenceScore, SCORE_SCHEMA, on_progress))


def read_labels(settings: Settings, topic: str, on_progress: OnProgress) -> Labels:
    """Read an existing topic of LabeledExample records, which may be empty. Raises CommandError as read_scores."""
    return Labels.from_table(topic, _table(settings, topic, LabeledExample, LABEL_SCHEMA, on_progress))


def _table(
    settings: Settings, topic: str, record_type: type[R], schema: pa.Schema, on_progress: OnProgress
) -> pa.Table:
    codec = codec_for(record_type, topic, settings.wire)
    columns_of = attrgetter(*(name.replace("source_", "source.") for name in schema.names))
    batches, rows = [], []
    for message in committed(settings.kafka.client_config(), topic, group=_GROUP, on_progress=on_progress):
        try:
            rows.append(columns_of(codec.decode(message.value())))
        except DecodeError as exc:
            where = f"{topic}[{message.partition()}]@{message.offset()}"
            raise CommandError(f"{where} is not of type {record_type.__name__}: {exc}") from exc
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

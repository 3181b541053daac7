"""Writes the output of a batch to a topic, a Parquet folder, or both.

The processor emits records instead of bytes (PassThroughEncoder); each output encodes them on the commit thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.records import DeadLetter, InfluenceScore, LabeledExample, Record
from schemas.wire import Encoder
from stream.exactly_once.units.records import Output
from stream.replay.parquet import ParquetFolder


class PassThroughEncoder:
    """An Encoder that returns records unchanged."""

    def encode(self, record: Any) -> Any:
        """Return the record."""
        return record

    def encode_batch(self, records: Sequence[Any]) -> Any:
        """Return the records."""
        return records


@dataclass(frozen=True, slots=True)
class TopicNames:
    """The replay's own topics; those of dead letters and examples are named after the scores topic."""

    scores: str

    @property
    def dead_letters(self) -> str:
        """Topic of records without a score."""
        return f"{self.scores}.dead-letters"

    @property
    def examples(self) -> str:
        """Topic of labelled examples, used only with labels."""
        return f"{self.scores}.examples"

    def of_kinds(self) -> dict[type[Record], str]:
        """Return the topic of each record type."""
        return {InfluenceScore: self.scores, DeadLetter: self.dead_letters, LabeledExample: self.examples}


@dataclass(frozen=True, slots=True)
class TopicOutput:
    """Encodes a batch's records for the replay's topics."""

    names: TopicNames
    encoders: Mapping[type[Record], Encoder[Any]]

    def encode(self, records: Mapping[type[Record], Sequence[Output]]) -> list[Output]:
        """Return the records to produce. records: by type, as returned by group_by_type()."""
        topics = self.names.of_kinds()
        encoded: list[Output] = []
        for kind, outputs in records.items():
            values = self.encoders[kind].encode_batch([output.value for output in outputs])
            encoded += [
                Output(topics[kind], output.key, value, None, None)
                for output, value in zip(outputs, values, strict=True)
            ]
        return encoded


@dataclass(frozen=True, slots=True)
class Outputs:
    """The outputs of a replay, at least one."""

    topic: TopicOutput | None
    parquet: ParquetFolder | None


def group_by_type(records: Sequence[Output]) -> dict[type[Record], list[Output]]:
    """Group outputs by record type, in order."""
    found: dict[type[Record], list[Output]] = {}
    for output in records:
        kind: Any = type(output.value)
        found.setdefault(kind, []).append(output)
    return found

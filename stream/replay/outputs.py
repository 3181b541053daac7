"""What a batch says, and where to: a topic, a Parquet folder, or both.

The processor says records, not bytes (AsRecords); each output encodes them in its own way, on the commit thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.records import DeadLetter, InfluenceScore, LabeledExample, Record
from schemas.wire import Encoder
from stream.exactly_once.units.records import Output
from stream.replay.parquet import ParquetFolder


class AsRecords:
    """An Encoder that leaves records as they are."""

    def encode(self, record: Any) -> Any:
        """Return the record."""
        return record

    def encode_batch(self, records: Sequence[Any]) -> Any:
        """Return the records."""
        return records


@dataclass(frozen=True, slots=True)
class TopicNames:
    """A replay's own topics: dead letters and examples beside the scores, named after them."""

    scores: str

    @property
    def dead_letters(self) -> str:
        """Topic of the records that have no score."""
        return f"{self.scores}.dead-letters"

    @property
    def examples(self) -> str:
        """Topic of the labelled examples, with labels only."""
        return f"{self.scores}.examples"

    def of_kinds(self) -> dict[type[Record], str]:
        """Return the topic of each kind of record."""
        return {InfluenceScore: self.scores, DeadLetter: self.dead_letters, LabeledExample: self.examples}


@dataclass(frozen=True, slots=True)
class TopicOutput:
    """Encodes what a batch said for the replay's topics."""

    names: TopicNames
    encoders: Mapping[type[Record], Encoder[Any]]

    def encode(self, said: Mapping[type[Record], Sequence[Output]]) -> list[Output]:
        """Return the records to produce. said: by kind, as by_kind() returns it."""
        topics = self.names.of_kinds()
        encoded: list[Output] = []
        for kind, outputs in said.items():
            values = self.encoders[kind].encode_batch([output.value for output in outputs])
            encoded += [
                Output(topics[kind], output.key, value, None, None)
                for output, value in zip(outputs, values, strict=True)
            ]
        return encoded


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where a replay writes; at least one of the two."""

    topic: TopicOutput | None
    parquet: ParquetFolder | None


def by_kind(said: Sequence[Output]) -> dict[type[Record], list[Output]]:
    """Sort what was said by the kind of its record, order kept."""
    found: dict[type[Record], list[Output]] = {}
    for output in said:
        kind: Any = type(output.value)
        found.setdefault(kind, []).append(output)
    return found

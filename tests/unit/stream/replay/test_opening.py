"""Opening the streams of a partition while the Schema Registry is unavailable."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from schemas.errors import RegistryUnavailable
from schemas.records import InfluenceScore
from stream.exactly_once.units.records import RecordBatch
from stream.replay.opening import Inputs, PartitionSources
from stream.replay.plan import NOTHING, PartitionPlan, Span
from stream.replay.streams import Record
from stream.scoring.processor import ScoringProcessor
from tests.support.memory_streams import MemoryStream

PLAN = PartitionPlan(
    warm_up=NOTHING,
    scored=Span(0, 2),
    run_out=Span(2, 2),
    outcomes=Span(0, 2),
    old_scores=Span(0, 2),
)


class Topics:
    """Fake brokers with two records per topic. open: topics of open streams. on_read: callback of each topic."""

    events, outcomes, old_scores = "e", "o", "s"

    def __init__(self) -> None:
        self.open: list[str] = []
        self.on_read: dict[str, Callable[[Sequence[Any]], None] | None] = {}

    def stream(
        self,
        topic: str,
        partition: int,
        span: Span,
        on_read: Callable[[Sequence[Any]], None] | None = None,
    ) -> MemoryStream:
        stream = MemoryStream(records(topic), span)
        self.open.append(topic)
        self.on_read[topic] = on_read
        stream.close = lambda: self.open.remove(topic)  # type: ignore[method-assign]
        return stream


def records(topic: str) -> list[Record]:
    return [Record(topic, 0, offset, 0, b"u", b"\0\0\0\0\7") for offset in range(2)]


def registry_unavailable(_value: bytes | None) -> InfluenceScore:
    raise RegistryUnavailable("it does not answer")


def sources(
    topics: Topics,
    processor: Any = None,
    decode: Callable[..., InfluenceScore] = registry_unavailable,
    plan: Any = PLAN,
) -> PartitionSources:
    return PartitionSources(
        cast(Inputs, topics), cast(ScoringProcessor, processor), decode, 0, plan, (0, 0, 0)
    )


def test_streams_are_closed_when_a_schema_lookup_fails() -> None:
    topics = Topics()
    with pytest.raises(RegistryUnavailable):
        sources(topics)
    assert topics.on_read.keys() == {"e", "o", "s"}
    assert topics.open == []


def test_a_fetched_batch_asks_the_registry_without_waiting() -> None:
    lookups: list[tuple[str, int, int]] = []

    def look_up(batch: RecordBatch) -> None:
        lookups.append((batch.topic, batch.base, batch.next))
        raise RegistryUnavailable("it does not answer")

    topics = Topics()
    without_scores = replace(PLAN, old_scores=NOTHING)
    opened = sources(topics, SimpleNamespace(ask_registry=look_up), plan=without_scores)
    for topic in ("e", "o"):
        on_read = topics.on_read[topic]
        assert on_read is not None
        with pytest.raises(RegistryUnavailable):
            on_read(records(topic))
    assert lookups == [("e", 0, 2), ("o", 0, 2)]
    opened.close()
    assert topics.open == []

"""Ranges whose records do not come are unavailable, not gone; and a read can be stopped."""

from typing import Any

import pytest
from confluent_kafka import TopicPartition

import trainer.ranges
from schemas.records import OffsetRange
from trainer.errors import RangeUnavailable
from trainer.progress import Stopped
from trainer.ranges import ExampleRanges

RANGE = OffsetRange("t.examples", 0, 3, 9)


class SilentConsumer:
    """Knows where the log ends, and gives no record of it."""

    closed = False

    def get_watermark_offsets(self, _: TopicPartition, timeout: float) -> tuple[int, int]:
        return 0, 9

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = partitions

    def consume(self, records: int, timeout_s: float) -> list[Any]:
        return []

    def list_topics(self, topic: str, timeout: float) -> None: ...

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.ranges, "reader", lambda *_args, **_settings: SilentConsumer())


def test_a_range_without_a_record_for_too_long_is_unavailable_for_now() -> None:
    with pytest.raises(RangeUnavailable, match=r"no record of .*t\.examples.* came for 0 s"):
        ExampleRanges({}, timeout_s=0).read([RANGE], 0)


def test_a_read_that_waits_can_be_stopped() -> None:
    polls = []

    def check() -> None:
        polls.append(1)
        if len(polls) > 3:
            raise Stopped

    with pytest.raises(Stopped):
        ExampleRanges({}, check=check).read([RANGE], 0)

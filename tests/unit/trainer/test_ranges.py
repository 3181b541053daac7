"""A range whose records do not arrive is unavailable, not deleted. A read can be stopped."""

import pytest

import trainer.ranges
from schemas.records import OffsetRange
from tests.support.scripted_consumer import ScriptedConsumer
from trainer.errors import RangeUnavailable
from trainer.progress import Stopped
from trainer.ranges import ExampleRanges

RANGE = OffsetRange("t.examples", 0, 3, 9)


@pytest.fixture(autouse=True)
def silent_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.ranges, "reader", lambda *_args, **_settings: ScriptedConsumer(end=9))


def test_a_range_without_records_is_unavailable_after_the_timeout() -> None:
    with pytest.raises(RangeUnavailable, match=r"no record of .*t\.examples.* came for 0 s"):
        ExampleRanges({}, timeout_s=0).read([RANGE], 0)


def test_a_waiting_read_can_be_stopped() -> None:
    polls = []

    def check() -> None:
        polls.append(1)
        if len(polls) > 3:
            raise Stopped

    with pytest.raises(Stopped):
        ExampleRanges({}, check=check).read([RANGE], 0)

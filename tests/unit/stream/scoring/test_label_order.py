"""An event gets the same label whether its purchase arrives before or after it, also after a jump in time."""

import pytest

from stream.scoring.labels.join import Closing, NewEvent, PartitionJoin
from stream.scoring.labels.rules import JoinSettings, Rule
from stream.scoring.labels.state import PendingState

HOUR = 3_600_000
BEGAN = 1_000 * HOUR
JOIN = JoinSettings((Rule("view", "buy", 24 * HOUR),), {}, 0.0, 24 * HOUR, HOUR)
VIEW = NewEvent("ann", "view1", "lamp", "view", BEGAN + 1000)
BUY = NewEvent("ann", "buy1", "lamp", "buy", BEGAN + 2000)


class Partition:
    """The label join of one partition, with one record per batch."""

    def __init__(self) -> None:
        self._state: dict[str, PendingState] = {}
        self.closings: list[Closing] = []

    def read(self, one: NewEvent) -> None:
        join = PartitionJoin(JOIN, self._state.get, self._put, lambda _what, _key: None, self.closings.append)
        join.advance(one.user_id, one.occurred_at, one.occurred_at)
        join.event(one, "", "")
        join.end()

    def _put(self, key: str, value: PendingState | None) -> None:
        if value is None:
            self._state.pop(key, None)
        else:
            self._state[key] = value


def other_events(count: int, at_ms: int, name: str) -> list[NewEvent]:
    return [NewEvent(f"user{n % 20}", f"{name}{n}", "", "look", at_ms + n) for n in range(count)]


@pytest.mark.parametrize("before", [0, 14, 15, 30, 31])
@pytest.mark.parametrize("pair", [(VIEW, BUY), (BUY, VIEW)], ids=["view first", "purchase first"])
def test_a_purchase_labels_its_view_after_a_week_of_silence(
    before: int, pair: tuple[NewEvent, NewEvent]
) -> None:
    partition = Partition()
    week = BEGAN + 7 * 24 * HOUR
    for one in [*other_events(before, BEGAN, "before"), *pair, *other_events(60, week, "after")]:
        partition.read(one)
    (view,) = [one for one in partition.closings if one.event_id == "view1"]
    assert (view.y, view.source) == (1.0, "attribution")

"""Labels with different delays: at any moment the written examples cover one closed period of time."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.scoring.labels.join import Closing
from stream.scoring.labels.rules import JoinSettings
from tests.support.labelled_stream import LabelledStream, Seen
from trainer.dataset import Example, split_by_time

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


@settings(deadline=None)
@given(
    gaps=st.lists(st.integers(0, 5), min_size=1, max_size=40),
    delays=st.lists(st.none() | st.integers(0, 60), min_size=40, max_size=40),
    horizon=st.integers(1, 50),
    grace=st.integers(5, 20),
    until=st.integers(0, 250),
)
def test_written_examples_are_a_prefix_of_the_events(
    gaps: list[int], delays: list[int | None], horizon: int, grace: int, until: int
) -> None:
    events, at = [], 0
    for number, gap in enumerate(gaps):
        at += gap
        delay = delays[number]
        events.append(Seen(f"e{number}", at * MINUTE_MS, None if delay is None else delay * MINUTE_MS))
    join = JoinSettings(negative=0.0, horizon_ms=horizon * MINUTE_MS, grace_ms=grace * MINUTE_MS)
    stream = LabelledStream(join)
    stream.play(events, until * MINUTE_MS)
    written = [one.event_id for one in stream.written]
    assert written == [one.event_id for one in events[: len(written)]]
    for one, example in zip(events, stream.written, strict=False):
        in_time = one.positive_after_ms is not None and one.positive_after_ms <= join.horizon_ms
        assert example.y == float(in_time)
        assert example.labeled_at >= one.occurred_at + join.wait_ms
    # Once time has passed the wait, every example is written.
    later = [Seen(f"later{n}", (at + 5 * n) * MINUTE_MS, None) for n in range(1, 40)]
    rest = LabelledStream(join)
    rest.play([*events, *later], later[-1].occurred_at)
    assert [one.event_id for one in rest.written[: len(events)]] == [one.event_id for one in events]


def of_rate(rate: float, count: int, spacing_ms: int, choice: np.random.Generator) -> list[Seen]:
    """Return evenly spaced events; one in each block of 1 / rate is positive, after a delay within a day."""
    found = []
    block = round(1 / rate)
    for first in range(0, count, block):
        positive = first + int(choice.integers(block))
        for number in range(first, first + block):
            delay_ms = int(choice.integers(DAY_MS)) if number == positive else None
            found.append(Seen(f"e{number}", number * spacing_ms, delay_ms))
    return found


def example_of(one: Closing) -> Example:
    return Example(history=one.history, target=one.target, y=one.y, z=one.z, occurred_at=one.occurred_at)


def rate_of(examples: Sequence[Example]) -> float:
    return sum(example.y for example in examples) / len(examples)


def parts(new: list[Example], older: list[Example]) -> dict[str, list[Example]]:
    """Split as trainer.request does: the gate gets the newest of the request's own examples."""
    rest, gate = split_by_time(new, 0.25)
    train, valid = split_by_time([*older, *rest], 0.1)
    return {"train": train, "valid": valid, "gate": gate}


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
def test_training_validation_and_gate_have_the_true_rate(rate: float) -> None:
    """Use four partitions, three of them lagging, five days of events, and a request every twelve hours."""
    choice = np.random.default_rng(7)
    join = JoinSettings(negative=0.0, horizon_ms=DAY_MS, grace_ms=HOUR_MS)
    lags_h = (0, 1, 7, 30)
    written: list[list[Closing]] = []
    for lag_h in lags_h:
        stream = LabelledStream(join)
        stream.play(of_rate(rate, 4_000, 5 * DAY_MS // 4_000, choice), 5 * DAY_MS - lag_h * HOUR_MS)
        written.append(stream.written)
    for end_h in range(60, 121, 12):
        new: list[Example] = []
        older: list[Example] = []
        for lag_h, examples in zip(lags_h, written, strict=True):
            for one in examples:
                behind_h = end_h - (one.labeled_at / HOUR_MS + lag_h)
                if behind_h >= 0:
                    (new if behind_h < 12 else older).append(example_of(one))
        for name, found in parts(new, older).items():
            assert rate_of(found) == pytest.approx(rate, abs=0.01), f"{name} of {len(found)} after {end_h} h"

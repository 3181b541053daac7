"""Positive outcomes arrive early and negatives late, yet each part of a trainer's request has the true rate.

A worker that reads a backlog of hours writes the same labels.
"""

import time

import pytest

from schemas.records import BehaviorEvent, Outcome, TrainingRequest
from tests.integration.conftest import wait_for
from tests.integration.handovers import lead, read_to_end
from tests.integration.workers import Sway, Worker
from trainer.dataset import Example, split_by_time
from trainer.ranges import ExampleRanges

SPACING_MS = 4_000
WAIT_S = 660
BEGAN_MS = int(time.time() * 1000) - 4 * 3_600_000
SLICE = 60  # events read before their outcomes: four minutes, within the horizon
POSITIVE = 5  # one event in five is positive


def produce(sway: Sway, worker: Worker, numbers: range) -> None:
    """Produce events; once they are read, produce positive outcomes for some, observed 2 s after the event."""
    for first in numbers[::SLICE]:
        sliced = range(first, first + SLICE)
        for number in sliced:
            sway.produce(BehaviorEvent(f"e{number}", user(number), "view", at_ms(number), "i", "lamp"))
        sway.flush()
        wait_for_metric(worker, "sway_scores_total", sliced.stop)
        for number in sliced[::POSITIVE]:
            sway.produce(Outcome(f"e{number}", user(number), 1.0, at_ms(number) + 2_000))
        sway.flush()
        wait_for_metric(worker, 'sway_outcomes_total{result="joined"}', sliced.stop // POSITIVE)


def wait_for_metric(worker: Worker, line: str, value: int) -> None:
    wait_for(lambda: worker.metric(line) == value, f"{line} {value}")


def at_ms(number: int) -> int:
    return BEGAN_MS + number * SPACING_MS


def user(number: int) -> str:
    return f"user-{number % 8}"


def events_by_partition(sway: Sway) -> dict[int, list[BehaviorEvent]]:
    found: dict[int, list[BehaviorEvent]] = {}
    for (_topic, partition, _offset), what in sway.produced:
        if isinstance(what, BehaviorEvent):
            found.setdefault(partition, []).append(what)
    return found


def wait_until_all_due_is_written(sway: Sway, worker: Worker) -> None:
    due = 0
    for events in events_by_partition(sway).values():
        newest_ms = max(one.occurred_at for one in events)
        due += sum(one.occurred_at + 1000 * WAIT_S <= newest_ms for one in events)

    def written() -> bool:
        labels = [
            worker.metric(f'sway_labels_total{{source="{source}"}}') for source in ("outcome", "expiry")
        ]
        return sum(labels) >= due

    wait_for(written, f"{due} examples")


def hand_over(sway: Sway) -> TrainingRequest:
    with lead(sway.topics, min_examples=10_000) as leader:
        read_to_end(leader)
        request = leader.hand_over(forced=True)
    assert request is not None
    return request


def missing(sway: Sway, part: list[Example]) -> list[str]:
    """Return the events within the part's time that are not in it, partition by partition."""
    there = {one.occurred_at for one in part}
    found = []
    for events in events_by_partition(sway).values():
        times = [one.occurred_at for one in events if one.occurred_at in there]
        found += [
            one.event_id
            for one in events
            if times and min(times) <= one.occurred_at <= max(times) and one.occurred_at not in there
        ]
    return found


def test_each_part_of_a_request_has_the_true_rate(sway: Sway) -> None:
    worker = sway.create_topics(partitions=2).worker(
        SWAY_LABELS__NEGATIVE="0",
        SWAY_LABELS__HORIZON_S="600",
        SWAY_LABELS__GRACE_S="60",
        SWAY_HANDOVER__ENABLED="false",
    )
    worker.start().wait_until_ready()
    ranges = ExampleRanges({"bootstrap.servers": sway.topics.bootstrap_servers})
    older_count = 0
    for numbers in (range(300), range(300, 600)):
        produce(sway, worker, numbers)
        wait_until_all_due_is_written(sway, worker)
        request = hand_over(sway)
        new, older = ranges.read(request.ranges, 1_000)
        assert (len(new), len(older)) == (request.examples, older_count)
        rest, gate = split_by_time(new, 0.25)
        train, valid = split_by_time([*older, *rest], 0.1)
        for name, part in {"train": train, "valid": valid, "gate": gate, "all": [*older, *new]}.items():
            assert missing(sway, part) == [], name
        for name, part in {"train": train, "gate": gate, "newest tenth": split_by_time(new, 0.1)[1]}.items():
            rate = sum(one.y for one in part) / len(part)
            assert rate == pytest.approx(1 / POSITIVE, abs=0.1), f"{name} of {len(part)}"
        older_count += len(new)
    assert worker.terminate() == 0


def produce_a_backlog(sway: Sway, numbers: range) -> dict[str, float]:
    """Produce all events and only then the positive outcomes, five minutes after their events; return the labels."""
    for number in numbers:
        event = BehaviorEvent(f"e{number}", user(number), "view", at_ms(number), "i", "lamp")
        sway.produce(event, at_ms=event.occurred_at)
    for number in numbers[::POSITIVE]:
        observed_at = at_ms(number) + 300_000
        sway.produce(Outcome(f"e{number}", user(number), 1.0, observed_at), at_ms=observed_at)
    sway.flush()
    return {f"e{number}": float(number % POSITIVE == 0) for number in numbers}


def test_a_backlog_of_hours_gets_its_true_labels(sway: Sway) -> None:
    worker = sway.create_topics(partitions=2).worker(
        SWAY_LABELS__NEGATIVE="0",
        SWAY_LABELS__HORIZON_S="600",
        SWAY_LABELS__GRACE_S="60",
        SWAY_LABELS__TICKS="false",
        SWAY_HANDOVER__ENABLED="false",
    )
    true_labels = produce_a_backlog(sway, range(1_500))
    worker.start().wait_until_ready()
    sway.wait_for_answers(len(true_labels))
    wait_until_all_due_is_written(sway, worker)
    assert worker.terminate() == 0
    written = {example.event_id: example.y for example in sway.examples()}
    assert len(written) > 1_000
    assert written == {event_id: true_labels[event_id] for event_id in written}

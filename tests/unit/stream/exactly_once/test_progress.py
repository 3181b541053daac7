"""A recovery's progress: what counts as progress, and how it is reported."""

import logging

import pytest

from stream.exactly_once.units.progress import RecoveryProgress, Restored
from stream.exactly_once.units.records import TopicPartition

USERS_0, USERS_1, ITEMS_0 = (
    TopicPartition("users", 0),
    TopicPartition("users", 1),
    TopicPartition("items", 0),
)
BEGIN = {USERS_0: 0, USERS_1: 40, ITEMS_0: 10}
ENDS = {USERS_0: 1000, USERS_1: 50, ITEMS_0: 10}


class Clock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def begun(calls: list[None], clock: Clock | None = None) -> RecoveryProgress:
    progress = RecoveryProgress(lambda: calls.append(None), clock or Clock())
    progress.begin(BEGIN, ENDS)
    return progress


def test_progress_is_reported_by_partition_over_all_changelogs() -> None:
    progress = begun([])
    assert progress.partitions == {0: Restored(records=0, to_go=1000), 1: Restored(records=0, to_go=10)}
    progress.advance({0: ["a", "b"], 1: ["c"]}, {USERS_0: 400, USERS_1: 50})
    progress.advance({0: ["d"]}, {USERS_0: 401})
    assert progress.partitions == {0: Restored(records=3, to_go=599), 1: Restored(records=1, to_go=0)}
    assert str(progress) == (
        "4 records read, at most 599 to go (partition 0: 3 records read, at most 599 to go)"
    )


def test_a_changelog_read_past_its_end_has_nothing_left() -> None:
    progress = begun([])
    progress.advance({1: ["a"]}, {USERS_1: 77})
    assert progress.partitions[1] == Restored(records=1, to_go=0)


def test_only_an_offset_closer_to_the_end_is_progress() -> None:
    calls: list[None] = []
    progress = begun(calls)
    progress.advance({}, {})
    progress.advance({}, {USERS_0: 0})  # an end of partition that was already reported
    assert not calls
    progress.advance({0: ["a"]}, {USERS_0: 1})
    assert len(calls) == 1
    progress.advance({0: ["a"]}, {USERS_0: 1})  # the same offset again
    progress.advance({}, {USERS_0: 0})
    assert len(calls) == 1
    progress.advance({}, {USERS_0: 900})  # a gap left by compaction
    assert len(calls) == 2


def test_new_ends_keep_the_count_of_records_read() -> None:
    progress = begun([])
    progress.advance({0: ["a"]}, {USERS_0: 500})
    progress.begin({**BEGIN, USERS_0: 500}, {**ENDS, USERS_0: 600})
    assert progress.partitions[0] == Restored(records=1, to_go=100)


def test_progress_is_logged_every_ten_seconds_even_without_records(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress = begun([], clock)
    for clock.now_s in (0.0, 9.9, 10.0, 19.9, 25.0):
        progress.advance({}, {})
    assert caplog.messages == [f"Recovering: {progress}"] * 2

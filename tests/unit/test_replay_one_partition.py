"""One partition of a replay: what it counts, where it stands between its steps, and that it is done once.

That crashes anywhere change nothing is a property: tests/property/test_replay_partition.py.
"""

from pathlib import Path
from typing import Any

import pytest

from model.tokens import BehaviourTokenizer
from schemas.records import BehaviorEvent
from stream.exactly_once.units.records import size_of
from stream.replay.parquet import DEAD_LETTERS, EXAMPLES, SCORES
from stream.replay.plan import ReplayPlan
from tests.support.processing import NOW_MS, TOPICS, event, outcome
from tests.support.replay_stories import MINUTE, Input, Story, core_of, planned, read_live
from tests.support.replayed_partition import ReplayedPartition


def behaviours(user: str, count: int) -> list[BehaviorEvent]:
    """So many different events of a user, a second apart."""
    return [event(f"{user}{n}", user, NOW_MS - MINUTE + 1000 * n) for n in range(count)]


def live(tokenizer: BehaviourTokenizer, *what: Any, holes: int = 0) -> Story:
    """What a worker reads of these; holes: before the last of them."""
    return read_live(core_of(tokenizer), [*(Input(one) for one in what[:-1]), Input(what[-1], gap=holes)])


@pytest.fixture
def replayed(tmp_path: Path, tokenizer: BehaviourTokenizer) -> Any:
    """Replays a plan of a story to its end."""

    def run(
        story: Story, plan: ReplayPlan, batch_records: int = 100, batch_bytes: int = 2**30
    ) -> ReplayedPartition:
        return ReplayedPartition(
            tmp_path,
            core_of(tokenizer),
            plan,
            story.topics,
            batch_records=batch_records,
            batch_bytes=batch_bytes,
        ).run()

    return run


@pytest.mark.parametrize(("not_read", "users"), [(1, 2), (0, 0)])
def test_users_whose_window_may_lack_a_past_are_counted_once_each_if_there_was_one(
    tokenizer: BehaviourTokenizer, replayed: Any, not_read: int, users: int
) -> None:
    # ann's window of four has overflowed before the range, so all that it can hold was read; bob's and cem's have not.
    what = [event("first"), *behaviours("ann", 6), *behaviours("bob", 2), *behaviours("cem", 1), event("a9")]
    story = live(tokenizer, *what, b"?")
    plan = planned(story, skipped=not_read, warm_up=7 - not_read, scored=9, with_labels=False)
    done = replayed(story, plan, batch_records=2)
    assert done.kafka.progress().counts["users_past_retention"] == users
    assert [row["user_id"] for row in done.rows(SCORES)] == ["bob", "bob", "cem", "ann"]


def test_an_outcome_before_the_first_event_of_the_range_moves_nothing_back_over_a_hole(
    tokenizer: BehaviourTokenizer, replayed: Any
) -> None:
    story = live(tokenizer, *behaviours("ann", 3), outcome("ann0"), event("last"), holes=2)
    last = story.topics[TOPICS.events][-1].offset
    done = replayed(story, planned(story, warm_up=last, scored=1, with_labels=False), batch_records=1)
    assert [row["source_offset"] for row in done.rows(SCORES)] == [last]
    assert sorted(path.name for path in (done.output.folder / SCORES).iterdir()) == [
        f"00000-{last}-{last}-0-1.parquet",
        f"00000-{last}-{last + 1}-1-1.parquet",
    ]


def test_a_batch_ends_with_the_record_that_makes_it_too_long(
    tokenizer: BehaviourTokenizer, replayed: Any
) -> None:
    story = live(tokenizer, *behaviours("ann", 5))
    two = sum(size_of(record) for record in story.topics[TOPICS.events][:2])
    done = replayed(story, planned(story, scored=5, with_labels=False), batch_bytes=two)
    assert [row["source_offset"] for row in done.rows(SCORES)] == [0, 1, 2, 3, 4]
    assert sorted(path.name for path in (done.output.folder / SCORES).iterdir()) == [
        f"00000-{start}-{end}-0-0.parquet" for start, end in [(0, 2), (2, 4), (4, 5)]
    ]


def test_holes_at_the_end_of_a_range_are_passed_by_a_batch_without_records(
    tokenizer: BehaviourTokenizer, replayed: Any
) -> None:
    story = live(tokenizer, *behaviours("ann", 3), event("last"), holes=2)
    done = replayed(story, planned(story, scored=5, with_labels=False), batch_records=3)
    assert [row["source_offset"] for row in done.rows(SCORES)] == [0, 1, 2]
    assert done.kafka.progress().events_next == 5


def test_what_comes_after_the_range_gives_labels_and_nothing_else(
    tokenizer: BehaviourTokenizer, replayed: Any
) -> None:
    what = [*behaviours("ann", 2), *behaviours("bob", 2), outcome("ann1"), outcome("bob1"), event(user_id="")]
    later = [
        Input(event(f"end{n}", "cem", NOW_MS + n * MINUTE), timestamp_delay_ms=n * MINUTE)
        for n in range(1, 7)
    ]
    story = read_live(core_of(tokenizer), [*map(Input, what), *later])
    done = replayed(story, planned(story, warm_up=1, scored=1, run_out=20, with_labels=True))
    assert [row["event_id"] for row in done.rows(SCORES)] == ["ann1"]
    assert [(row["event_id"], row["y"]) for row in done.rows(EXAMPLES)] == [("ann1", 1.0)]
    assert done.rows(DEAD_LETTERS) == []
    assert len(done.produced("again.examples")) == 1


def test_the_past_is_read_once_though_the_process_ends_before_anything_is_committed(
    tmp_path: Path, tokenizer: BehaviourTokenizer
) -> None:
    story = live(tokenizer, *behaviours("ann", 2), outcome("ann0"), *behaviours("bob", 2))
    plan = planned(story, warm_up=3, scored=1, with_labels=False)
    opened = [
        ReplayedPartition(
            tmp_path / str(places), core_of(tokenizer), plan, story.topics, batch_records=1, crashes=[places]
        )
        .run()
        .opened_at[1:]
        for places in range(16)
    ]
    # The second life begins at the range in all of them; from some place on the first has read the past.
    learnt = [lives[0][1] for lives in opened if lives and lives[0][0] == 3]
    assert learnt == sorted(learnt, reverse=True)
    assert (learnt[0], learnt[-1]) == (4, 0)


def test_a_partition_that_is_done_is_not_opened_again(tokenizer: BehaviourTokenizer, replayed: Any) -> None:
    story = live(tokenizer, *behaviours("ann", 3))
    done = replayed(story, planned(story, scored=3, with_labels=False))
    committed, produced = done.kafka.committed, list(done.kafka.produced)
    assert done.lives == 2  # one that did it, and one that saw that it is done
    done.run()
    assert (done.kafka.committed, done.kafka.produced) == (committed, produced)


def test_a_range_of_nothing_is_done_without_any_file(tokenizer: BehaviourTokenizer, replayed: Any) -> None:
    story = live(tokenizer, *behaviours("ann", 3))
    done = replayed(story, planned(story, warm_up=2, scored=0, with_labels=False))
    assert done.kafka.progress().done
    assert not done.output.folder.exists()

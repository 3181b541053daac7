"""One partition of a replay: its counters, its position between steps, and its completion.

tests/property/test_replay_partition.py checks that crashes change nothing.
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
    """Return `count` different events of a user, one second apart."""
    return [event(f"{user}{n}", user, NOW_MS - MINUTE + 1000 * n) for n in range(count)]


def live_story(tokenizer: BehaviourTokenizer, *what: Any, holes: int = 0) -> Story:
    """Return the story of a worker that reads these records. holes: missing offsets before the last record."""
    return read_live(core_of(tokenizer), [*(Input(one) for one in what[:-1]), Input(what[-1], gap=holes)])


@pytest.fixture
def replayed(tmp_path: Path, tokenizer: BehaviourTokenizer) -> Any:
    """Return a function that replays a plan of a story to its end."""

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


@pytest.mark.parametrize(("skipped", "users"), [(1, 2), (0, 0)])
def test_users_with_a_possibly_incomplete_window_are_counted_once(
    tokenizer: BehaviourTokenizer, replayed: Any, skipped: int, users: int
) -> None:
    # ann's window of four events overflows before the range, so it is complete. Those of bob and cem may lack events.
    what = [event("first"), *behaviours("ann", 6), *behaviours("bob", 2), *behaviours("cem", 1), event("a9")]
    story = live_story(tokenizer, *what, b"?")
    plan = planned(story, skipped=skipped, warm_up=7 - skipped, scored=9, with_labels=False)
    done = replayed(story, plan, batch_records=2)
    assert done.kafka.progress().counts["users_past_retention"] == users
    assert [row["user_id"] for row in done.rows(SCORES)] == ["bob", "bob", "cem", "ann"]


def test_an_early_outcome_does_not_move_progress_back(tokenizer: BehaviourTokenizer, replayed: Any) -> None:
    story = live_story(tokenizer, *behaviours("ann", 3), outcome("ann0"), event("last"), holes=2)
    last = story.topics[TOPICS.events][-1].offset
    done = replayed(story, planned(story, warm_up=last, scored=1, with_labels=False), batch_records=1)
    assert [row["source_offset"] for row in done.rows(SCORES)] == [last]
    assert sorted(path.name for path in (done.output.folder / SCORES).iterdir()) == [
        f"00000-{last}-{last}-0-1.parquet",
        f"00000-{last}-{last + 1}-1-1.parquet",
    ]


def test_a_batch_ends_with_the_record_that_fills_it(tokenizer: BehaviourTokenizer, replayed: Any) -> None:
    story = live_story(tokenizer, *behaviours("ann", 5))
    two = sum(size_of(record) for record in story.topics[TOPICS.events][:2])
    done = replayed(story, planned(story, scored=5, with_labels=False), batch_bytes=two)
    assert [row["source_offset"] for row in done.rows(SCORES)] == [0, 1, 2, 3, 4]
    assert sorted(path.name for path in (done.output.folder / SCORES).iterdir()) == [
        f"00000-{start}-{end}-0-0.parquet" for start, end in [(0, 2), (2, 4), (4, 5)]
    ]


def test_an_empty_batch_passes_holes_at_the_end(tokenizer: BehaviourTokenizer, replayed: Any) -> None:
    story = live_story(tokenizer, *behaviours("ann", 3), event("last"), holes=2)
    done = replayed(story, planned(story, scored=5, with_labels=False), batch_records=3)
    assert [row["source_offset"] for row in done.rows(SCORES)] == [0, 1, 2]
    assert done.kafka.progress().events_next == 5


def test_records_after_the_range_give_only_labels(tokenizer: BehaviourTokenizer, replayed: Any) -> None:
    what = [*behaviours("ann", 2), *behaviours("bob", 2), outcome("ann1"), outcome("bob1"), event(user_id="")]
    later = [
        Input(event(f"end{n}", "cem", NOW_MS + n * MINUTE), timestamp_delay_ms=n * MINUTE)
        for n in range(1, 7)
    ]
    story = read_live(core_of(tokenizer), [*(Input(one) for one in what), *later])
    done = replayed(story, planned(story, warm_up=1, scored=1, run_out=20, with_labels=True))
    assert [row["event_id"] for row in done.rows(SCORES)] == ["ann1"]
    assert [(row["event_id"], row["y"]) for row in done.rows(EXAMPLES)] == [("ann1", 1.0)]
    assert done.rows(DEAD_LETTERS) == []
    assert len(done.produced("again.examples")) == 1


def test_the_past_is_not_read_again_after_an_early_crash(
    tmp_path: Path, tokenizer: BehaviourTokenizer
) -> None:
    story = live_story(tokenizer, *behaviours("ann", 2), outcome("ann0"), *behaviours("bob", 2))
    plan = planned(story, warm_up=3, scored=1, with_labels=False)
    opened = [
        ReplayedPartition(
            tmp_path / str(places), core_of(tokenizer), plan, story.topics, batch_records=1, crashes=[places]
        )
        .run()
        .opened_at[1:]
        for places in range(16)
    ]
    # The second run starts at the range in all cases. From some crash on, the first run has read the past.
    learnt = [lives[0][1] for lives in opened if lives and lives[0][0] == 3]
    assert learnt == sorted(learnt, reverse=True)
    assert (learnt[0], learnt[-1]) == (4, 0)


def test_a_finished_partition_is_not_opened_again(tokenizer: BehaviourTokenizer, replayed: Any) -> None:
    story = live_story(tokenizer, *behaviours("ann", 3))
    done = replayed(story, planned(story, scored=3, with_labels=False))
    committed, produced = done.kafka.committed, list(done.kafka.produced)
    # One run replays the partition, the next finds it finished.
    assert done.lives == 2
    done.run()
    assert (done.kafka.committed, done.kafka.produced) == (committed, produced)


def test_an_empty_range_finishes_without_files(tokenizer: BehaviourTokenizer, replayed: Any) -> None:
    story = live_story(tokenizer, *behaviours("ann", 3))
    done = replayed(story, planned(story, warm_up=2, scored=0, with_labels=False))
    assert done.kafka.progress().done
    assert not done.output.folder.exists()

"""The plan and the progress in the metadata of committed offsets."""

import json
from typing import Any

import pytest

from stream.replay.errors import PlanError
from stream.replay.notes import decode_progress, encode_progress
from stream.replay.plan import COUNTS, PartitionPlan, Progress, ReplayPlan, Span, first_progress

PART = PartitionPlan(
    warm_up=Span(3, 10),
    scored=Span(10, 90),
    run_out=Span(90, 95),
    outcomes=Span(2, 40),
    old_scores=Span(1, 77),
    known=Span(12, 60),
)
OTHER = PartitionPlan(warm_up=Span(0, 0), scored=Span(0, 5), run_out=Span(5, 5), outcomes=Span(0, 0))
PLAN = ReplayPlan(
    replay_id="again",
    model_version="v7",
    with_labels=True,
    outputs="topic s.again and parquet",
    settings="0123456789ab",
    created_at_ms=1_750_000_000_000,
    topic_ids={"s.events": "T1"},
    partitions={0: PART, 3: OTHER},
)
COUNTED = dict(zip(COUNTS, (70, 5, 3, 2), strict=True))


def test_a_committed_plan_and_progress_are_read_back_unchanged() -> None:
    progress = {
        0: Progress(80, 33, COUNTED, file=".00000-70-80-30-33-9f3c2a1b.pending"),
        3: Progress(5, 0, dict.fromkeys(COUNTS, 0), done=True),
    }
    committed = {
        number: (one.events_next, encode_progress(PLAN, number, one)) for number, one in progress.items()
    }
    assert decode_progress("again", committed) == (PLAN, progress)


def test_a_partition_starts_at_its_range_with_zero_counts() -> None:
    first = first_progress(PART)
    _, progress = decode_progress("again", {0: (first.events_next, encode_progress(PLAN, 0, first))})
    assert progress == {0: Progress(10, 2, dict.fromkeys(COUNTS, 0))}


def note_with(**changes: Any) -> str:
    """Return a note with other values; None removes a value."""
    note = json.loads(encode_progress(PLAN, 0, first_progress(PART))) | changes
    return json.dumps({name: value for name, value in note.items() if value is not None})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "topic-id",
        "{",
        "[1, 2]",
        "7",
        "{}",
        note_with(v=2),
        note_with(v=None),
        note_with(m=None),
        note_with(o=None),
        note_with(p=[1, 2, 3]),
        note_with(p=[0, 1, 2]),
        note_with(p=7),
        note_with(c=[1, 2, 3]),
    ],
)
def test_metadata_that_is_not_a_replay_note_is_refused(text: str) -> None:
    with pytest.raises(
        PlanError, match=r"replay 'again' has committed offsets .* Give this replay another id"
    ):
        decode_progress("again", {0: (10, text)})


def test_one_foreign_note_among_valid_ones_is_refused() -> None:
    ours = encode_progress(PLAN, 0, first_progress(PART))
    with pytest.raises(PlanError, match="metadata that is not a replay's"):
        decode_progress("again", {0: (10, ours), 3: (0, "")})

"""Plan and progress in the metadata of committed offsets."""

import json
from typing import Any

import pytest

from stream.replay.errors import PlanError
from stream.replay.notes import decode_progress, encode_progress
from stream.replay.plan import COUNTS, PartitionPlan, Progress, ReplayPlan, Span, first_progress

PART = PartitionPlan(Span(3, 10), Span(10, 90), Span(90, 95), Span(2, 40), Span(1, 77), Span(12, 60))
OTHER = PartitionPlan(Span(0, 0), Span(0, 5), Span(5, 5), Span(0, 0))
PLAN = ReplayPlan(
    "again",
    "v7",
    True,
    "topic s.again and parquet",
    "0123456789ab",
    1_750_000_000_000,
    {"s.events": "T1"},
    {0: PART, 3: OTHER},
)
COUNTED = dict(zip(COUNTS, (70, 5, 3, 2), strict=True))


def test_what_is_committed_is_read_again_as_it_was() -> None:
    progress = {
        0: Progress(80, 33, COUNTED, ".00000-70-80-30-33-9f3c2a1b.pending"),
        3: Progress(5, 0, dict.fromkeys(COUNTS, 0), done=True),
    }
    committed = {
        number: (one.events_next, encode_progress(PLAN, number, one)) for number, one in progress.items()
    }
    assert decode_progress("again", committed) == (PLAN, progress)


def test_a_partition_begins_where_its_range_does_with_nothing_counted() -> None:
    first = first_progress(PART)
    _, progress = decode_progress("again", {0: (first.events_next, encode_progress(PLAN, 0, first))})
    assert progress == {0: Progress(10, 2, dict.fromkeys(COUNTS, 0))}


def changed(**changes: Any) -> str:
    """A note with other values; None takes one out."""
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
        changed(v=2),
        changed(v=None),
        changed(m=None),
        changed(o=None),
        changed(p=[1, 2, 3]),
        changed(p=[0, 1, 2]),
        changed(p=7),
        changed(c=[1, 2, 3]),
    ],
)
def test_a_note_that_is_no_replays_is_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(
        PlanError, match=r"replay 'again' has committed offsets .* Give this replay another id"
    ):
        decode_progress("again", {0: (10, text)})


def test_one_foreign_note_among_ours_is_refused_too() -> None:
    ours = encode_progress(PLAN, 0, first_progress(PART))
    with pytest.raises(PlanError, match="metadata that is not a replay's"):
        decode_progress("again", {0: (10, ours), 3: (0, "")})

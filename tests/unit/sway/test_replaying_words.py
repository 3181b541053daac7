"""The bounds that a user writes for a replay, and the plan, progress and summary that are shown."""

import io
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from rich.console import Console

from stream.replay.plan import COUNTS, NOTHING, PartitionPlan, Progress, ReplayPlan, Span
from stream.replay.ranges import AtOffsets, AtTime, Bound, Newest, Oldest
from stream.replay.runner import Report
from stream.replay.sampling import Speed
from stream.settings import Settings
from sway.errors import CommandError
from sway.replay import show
from sway.replay.bounds import format_duration, parse_bound, parse_duration_ms
from sway.replay.topics import check_name

NOW_MS = 1_793_500_000_000
DAY_MS = 86_400_000
NOV_1_MS = 1_793_491_200_000  # 2026-11-01T00:00Z

# --- bounds and durations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oldest", Oldest()),
        (" newest ", Newest()),
        ("7d", AtTime(NOW_MS - 7 * DAY_MS)),
        ("1.5 h", AtTime(NOW_MS - 5_400_000)),
        ("90s", AtTime(NOW_MS - 90_000)),
        ("30m", AtTime(NOW_MS - 1_800_000)),
        ("2w", AtTime(NOW_MS - 14 * DAY_MS)),
        ("2026-11-01", AtTime(NOV_1_MS)),
        ("2026-11-01T00:00:00.250Z", AtTime(NOV_1_MS + 250)),
        ("2026-11-01T12:30+01:00", AtTime(NOV_1_MS + 41_400_000)),
        ("2026-11-01 12:30", AtTime(NOV_1_MS + 45_000_000)),
        ("0:1200", AtOffsets({0: 1200})),
        ("0:1200, 1:980,12:0", AtOffsets({0: 1200, 1: 980, 12: 0})),
    ],
)
def test_a_bound_is_a_time_an_age_or_offsets(text: str, expected: Bound) -> None:
    assert parse_bound(text, NOW_MS) == expected


@pytest.mark.parametrize(
    "text", ["", "yesterday", "7", "-7d", "7y", "2026-13-01", "0:", "0:1,", "0:-1", "a:1", "0:1 1:2"]
)
def test_an_invalid_bound_names_the_allowed_forms(text: str) -> None:
    with pytest.raises(
        CommandError,
        match="invalid bound " + re.escape(repr(text)) + r": give a time \(2026-11-01, .*`oldest`",
    ):
        parse_bound(text, NOW_MS)


def test_a_partition_with_two_offsets_is_refused() -> None:
    with pytest.raises(CommandError, match="'0:1,1:2,0:3' names a partition twice"):
        parse_bound("0:1,1:2,0:3", NOW_MS)


@pytest.mark.parametrize(
    ("text", "ms"), [("90s", 90_000), (" 30d ", 30 * DAY_MS), ("0.5m", 30_000), ("0s", 0)]
)
def test_a_duration_is_a_number_and_a_unit(text: str, ms: int) -> None:
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "all", "30", "d", "1h30m", "-1d", "2026-11-01"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(
        CommandError, match="invalid duration " + re.escape(repr(text)) + ": give one such as 90s"
    ):
        parse_duration_ms(text)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a second"),
        (0.4, "less than a second"),
        (1, "1 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (7801, "2 h 10 min"),
        (86_400 + 59, "1 d"),
        (40 * 86_400 + 7 * 3600 + 59 * 60, "40 d 7 h"),
    ],
)
def test_a_duration_is_shown_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


# --- the plan -----------------------------------------------------------------------------------------------

FULL = PartitionPlan(
    warm_up=Span(0, 1000),
    scored=Span(1000, 4000),
    run_out=Span(4000, 4000),
    outcomes=Span(0, 500),
    old_scores=Span(0, 4100),
    known=Span(0, 4000),
)
PLAN = ReplayPlan(
    replay_id="again",
    model_version="v7",
    with_labels=False,
    outputs="topic s.again and parquet",
    settings="digest",
    created_at_ms=77,
    topic_ids={},
    partitions={0: FULL},
)


def plan_with(**changes: object) -> ReplayPlan:
    """Return PLAN with changes to its partition."""
    return replace(PLAN, partitions={0: replace(FULL, **changes)})  # type: ignore[arg-type]


def shown(plan: ReplayPlan, speed: Speed | None = None, resumed: Mapping[int, Progress] | None = None) -> str:
    """Return the output of show_plan() on one line."""
    out = io.StringIO()
    show.show_plan(Console(file=out, width=200), plan, speed, resumed=resumed or {})
    return " ".join(out.getvalue().split())


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (PLAN, "outcomes are ordered as in the live run, as recorded in its scores (outcomes_next)"),
        (
            plan_with(known=Span(0, 9000)),
            "outcomes are ordered as in the live run, as recorded in its scores",
        ),
        (
            plan_with(known=Span(1000, 4000)),
            "as in the live run for the 75% of events whose scores are stored, and by time for the others",
        ),
        (plan_with(known=Span(3000, 9000)), "as in the live run for the 25% of events"),
        (
            plan_with(known=NOTHING, old_scores=NOTHING),
            "outcomes are ordered by time: no stored scores show when they were read",
        ),
        (plan_with(known=Span(5000, 9000)), "outcomes are ordered by time: no stored scores"),
        (plan_with(outcomes=NOTHING), "no outcomes"),
    ],
)
def test_the_plan_shows_the_order_of_outcomes(plan: ReplayPlan, words: str) -> None:
    assert words in shown(plan)


def test_the_plan_shows_the_work_of_each_partition() -> None:
    plan = replace(PLAN, partitions={0: FULL, 3: replace(FULL, scored=Span(1000, 1000))})
    output = shown(plan, resumed={0: Progress(2500, 0)})
    assert "replay again" in output
    assert "model v7; 3,000 records to score, into topic s.again and parquet" in output
    cells = [cell for cell in re.split(r"[\s│┃]+", output) if cell]
    row = cells.index("0", cells.index("done"))
    assert cells[row : row + 9] == ["0", "1,000", "1,000", "to", "4,000", "3,000", "0", "500", "1,500"]
    # Also after the range, while labels expire.
    done = shown(PLAN, resumed={0: Progress(4400, 0)})
    assert "│ 3,000 │" in done


@pytest.mark.parametrize(("begin", "warns"), [(0, False), (1, True)])
def test_the_plan_warns_about_a_missing_past(begin: int, warns: bool) -> None:
    output = shown(plan_with(warm_up=Span(begin, 1000)))
    assert ("Records before the oldest offset read are no longer stored" in output) is warns


@pytest.mark.parametrize(
    ("speed", "words"),
    [
        (None, "estimated time: too few records to measure"),
        (Speed(0.0, 50.0), "estimated time: too few records to measure"),
        (
            Speed(1000.0, 30.0),
            "estimated time: 1 min 41 s with one process (measured on events of the range: 30 scored/s, "
            "1,000 read/s)",
        ),
    ],
)
def test_the_plan_shows_a_measured_time_estimate(speed: Speed | None, words: str) -> None:
    assert words in shown(PLAN, speed)


# --- progress and the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events_next", "done"), [(1000, 0), (1001, 1), (4000, 3000), (4400, 3000), (900, 0)]
)
def test_progress_counts_only_offsets_of_the_range(events_next: int, done: int) -> None:
    assert show.scored_offsets(PLAN, {0: Progress(events_next, 0)}) == done


def counts(*, scores: int, dead_letters: int, examples: int, users: int) -> dict[str, int]:
    return dict(zip(COUNTS, (scores, dead_letters, examples, users), strict=True))


def test_the_summary_adds_up_the_partitions() -> None:
    plan = replace(PLAN, partitions={0: FULL, 1: FULL})
    progress = {
        0: Progress(4000, 0, counts(scores=2900, dead_letters=100, examples=5, users=2), done=True),
        1: Progress(3000, 0, counts(scores=1990, dead_letters=10, examples=6, users=1)),
    }
    found = show.summary(plan, progress, 20.0, before=1000)
    assert found == {
        "replay_id": "again",
        "model_version": "v7",
        "complete": False,
        "records": 6000,
        "done": 5000,
        "scores": 4890,
        "dead_letters": 110,
        "examples": 11,
        "users_past_retention": 3,
        "seconds": 20.0,
        "records_per_s": 200.0,
    }
    assert show.as_text(found, plan) == (
        "replay again: 4,890 scores and 110 dead letters; 200 records/s in 20 s; not complete: repeat the "
        "command to resume"
    )


def test_the_summary_names_examples_and_users_past_retention() -> None:
    plan = replace(plan_with(warm_up=Span(5, 1000)), with_labels=True)
    totals = counts(scores=2900, dead_letters=100, examples=5, users=2)
    found = show.summary(plan, {0: Progress(4400, 0, totals, done=True)}, 20.0, before=0)
    assert found["complete"] is True
    assert show.as_text(found, plan) == (
        "replay again: 2,900 scores and 100 dead letters; 5 examples; 2 users whose window may reach past retention; "
        "150 records/s in 20 s"
    )


def test_a_replay_without_progress_is_not_complete() -> None:
    found = show.summary(PLAN, {}, 0.0, before=0)
    assert (found["complete"], found["records_per_s"]) == (False, 0.0)


@pytest.mark.parametrize(
    ("changes", "lacks"),
    [
        ({}, False),
        ({"warm_up": Span(1, 1000)}, True),
        ({"outcomes": Span(1, 500)}, True),
        # No record is scored.
        ({"warm_up": Span(8, 8), "scored": Span(8, 8)}, False),
    ],
)
def test_a_missing_past_is_shown_if_records_are_scored(changes: dict[str, Span], lacks: bool) -> None:
    assert ("may reach further back are counted" in shown(plan_with(**changes))) == lacks


def test_the_progress_bar_adds_up_the_workers() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=150)
    with show.progress_bar(console, PLAN) as on_report:
        on_report(0, Report({0: Progress(1000, 0)}, learnt=700, ahead=0))
        on_report(1, Report({0: Progress(1000, 0)}, learnt=34, ahead=0))
        on_report(0, Report({0: Progress(3990, 0)}, learnt=700, ahead=40))
    assert "3000/3000" in out.getvalue()


# --- the topic ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "belongs"),
    [
        ("sway.scores", "sway.scores"),
        ("sway.events", "sway.events"),
        ("sway-windows-changelog", "sway-windows-changelog"),
        ("mine", "mine.dead-letters"),
    ],
)
def test_a_topic_of_the_live_application_is_refused(topic: str, belongs: str) -> None:
    settings = Settings()
    settings.topics.dead_letters = "mine.dead-letters"
    with pytest.raises(CommandError) as caught:
        check_name(topic, settings)
    assert str(caught.value) == (
        f"{belongs} belongs to the live application: give the replay another topic, such as sway.scores.replay-1"
    )


@pytest.mark.parametrize(
    "topic", ["sway.scores.replay-1", "again", "other-windows-changelog", "sway-changelogs"]
)
def test_any_other_topic_is_accepted(topic: str) -> None:
    check_name(topic, Settings())

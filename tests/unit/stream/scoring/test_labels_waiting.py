"""With expiry labels, each example is written when its event is due, even if an outcome came earlier."""

from typing import Any, cast

import pytest

from model.tokens import BehaviourTokenizer
from stream.scoring.labels.join import PartitionJoin
from stream.scoring.labels.rules import JoinSettings
from stream.worker.metrics import WorkerMetrics
from tests.support.processing import NOW_MS, Processing, event, outcome
from tests.unit.stream.worker.test_metrics import shown, unit_of

MINUTE = 60_000
OUTCOMES_ONLY = JoinSettings(horizon_ms=10 * MINUTE, grace_ms=MINUTE)
WITH_EXPIRY = JoinSettings(negative=0.0, horizon_ms=10 * MINUTE, grace_ms=MINUTE)


def pass_time(processing: Processing, minutes: range) -> None:
    """Advance time: deliver an event of another user at each of these minutes."""
    for minute in minutes:
        at_ms = NOW_MS + minute * MINUTE
        processing.deliver(processing.record(event(f"at {minute}", "cem", at_ms), timestamp=at_ms))


def examples_of(processing: Processing) -> list[tuple[str, float, str]]:
    """Return the examples published so far."""
    return [(one.event_id, one.y, one.label_source) for one in processing.published.examples]


def count(processing: Processing, what: str) -> int:
    return sum(context.counts[what] for context in processing.published.contexts)


def test_a_known_labels_example_waits_until_its_event_is_due(
    tokenizer: BehaviourTokenizer,
) -> None:
    processing = Processing(tokenizer, join=WITH_EXPIRY)
    processing.deliver(event("bought"), event("left"))
    processing.deliver(outcome("bought"))
    processing.deliver(outcome("bought", y=0.0))
    assert (count(processing, "joined"), count(processing, "repeated")) == (1, 1)
    assert processing.window().entries[0].behaviour.y == 1.0
    pass_time(processing, range(1, 11))
    assert examples_of(processing) == []
    pass_time(processing, range(11, 12))
    both = [("bought", 1.0, "outcome"), ("left", 0.0, "expiry")]
    assert examples_of(processing) == both
    pass_time(processing, range(12, 15))
    assert [one for one in examples_of(processing) if one[0] in ("bought", "left")] == both
    assert count(processing, "label_outcome") == 1


def test_an_early_outcomes_example_waits_too(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, join=WITH_EXPIRY)
    processing.deliver(outcome("bought"))
    at_ms = NOW_MS + MINUTE
    events = [event("left", occurred_at=at_ms), event("bought", occurred_at=at_ms)]
    processing.deliver(*(processing.record(one, timestamp=at_ms) for one in events))
    pass_time(processing, range(1, 12))
    assert examples_of(processing) == []
    pass_time(processing, range(12, 13))
    assert examples_of(processing)[:2] == [("left", 0.0, "expiry"), ("bought", 1.0, "outcome")]


def test_without_expiry_labels_an_example_is_written_at_once(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, join=OUTCOMES_ONLY)
    processing.deliver(event("bought"))
    processing.deliver(outcome("bought"))
    assert examples_of(processing) == [("bought", 1.0, "outcome")]


@pytest.mark.parametrize(
    ("before", "after"), [(OUTCOMES_ONLY, WITH_EXPIRY), (WITH_EXPIRY, OUTCOMES_ONLY)], ids=["on", "off"]
)
def test_toggling_expiry_labels_writes_an_example_once(
    tokenizer: BehaviourTokenizer, before: JoinSettings, after: JoinSettings
) -> None:
    processing = Processing(tokenizer, join=before)
    processing.deliver(event("bought"))
    processing.deliver(outcome("bought"))
    processing.labels.settings = after
    pass_time(processing, range(1, 15))
    assert [one for one in examples_of(processing) if one[0] == "bought"] == [("bought", 1.0, "outcome")]


def test_an_example_skipped_by_an_older_version_is_still_written(
    tokenizer: BehaviourTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    processing = Processing(tokenizer, join=WITH_EXPIRY)
    processing.deliver(event("bought"))
    processing.deliver(outcome("bought"))
    with monkeypatch.context() as older:  # an older version settles open events only
        older.setattr(PartitionJoin, "_settle", lambda _join, _entry: None)
        pass_time(processing, range(1, 12))
    assert examples_of(processing) == []
    pass_time(processing, range(12, 15))
    assert [one for one in examples_of(processing) if one[0] == "bought"] == [("bought", 1.0, "outcome")]


def test_live_metrics_show_the_true_rate_from_the_start(
    tokenizer: BehaviourTokenizer,
) -> None:
    processing = Processing(tokenizer, join=WITH_EXPIRY)
    metrics = WorkerMetrics()
    seen = []
    for second in range(0, 1200, 10):
        at_ms = NOW_MS + 1000 * second
        name = f"e{second}"
        processing.deliver(processing.record(event(name, "ann", at_ms), timestamp=at_ms))
        if second % 40 == 0:
            processing.deliver(processing.record(outcome(name), timestamp=at_ms))
        metrics.on_commit(unit_of(*processing.published.contexts), 0.1)
        processing.published.contexts.clear()
        values = cast("dict[str, Any]", shown(metrics))
        if 'sway_live_examples{version="v1"}' in values:
            examples = values['sway_live_examples{version="v1"}']
            seen.append((examples, values['sway_live_positive_rate{version="v1"}'] * examples))
    assert len(seen) > 40
    for examples, positive in seen:
        assert positive == pytest.approx(examples / 4, abs=1)  # one event in four is positive

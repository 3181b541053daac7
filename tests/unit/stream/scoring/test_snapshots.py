"""The snapshot of an event, taken when it is scored, is kept until its label arrives."""

from pathlib import Path

import numpy as np
import pytest

from model.features.history import NO_PAST
from model.features.keys import item_key, text_key
from model.features.snapshot import Snapshot
from model.features.state import NO_ITEM, NO_MEAN, NO_TOTALS
from model.jobs import LATE_TOKENS
from model.reading import Reading
from model.text import TextSettings
from model.tokens import BehaviourTokenizer
from schemas.records import BehaviorEvent, LabeledExample
from schemas.state_records import PartitionSums, UserSums
from stream.scoring.behaviours import BehaviourLimits, behaviour_of
from stream.scoring.labels.state import PARTITION_SUMS_KEY, event_key, snapshot_key, user_sums_key
from stream.scoring.windows import WindowLimits, behaviour_with_outcome, find, stored, with_outcome
from tests.support.processing import NOW_MS, Model, Processing, batch_of, event, outcome

LIMITS = WindowLimits()


def film(number: int, item_id: str = "") -> BehaviorEvent:
    """Return the n-th event of ann. Events are one second apart."""
    at_ms = NOW_MS - 60_000 + 1000 * number
    item_id = item_id or f"i{number}"
    return event(f"e{number}", occurred_at=at_ms, item_id=item_id, item_text=f"Film {number}")


def text_keys(tokenizer: BehaviourTokenizer, *numbers: int) -> list[int]:
    """Return the keys of the texts of events."""
    behaviours = [behaviour_of(film(number), 0, BehaviourLimits())[0] for number in numbers]
    return [text_key(piece.text) for piece in tokenizer.targets(behaviours)]


def snapshot_of(example: LabeledExample) -> Snapshot:
    assert example.snapshot is not None
    return Snapshot.decode(example.snapshot)


def user_sums(processing: Processing) -> UserSums:
    found = processing.items.get_in(0, user_sums_key(b"ann"))
    assert isinstance(found, UserSums)
    return found


def test_an_example_holds_the_snapshot_of_its_scoring(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer)
    processing.deliver(film(1))
    processing.deliver(outcome("e1", z=0.75))
    processing.deliver(film(2), film(3, "i1"))
    # Known only to later events.
    processing.deliver(outcome("e2"))
    processing.deliver(outcome("e3", y=0.0))
    first, second, third = map(snapshot_of, processing.published.examples)
    assert (first.mu, first.item, first.totals) == (NO_MEAN.value, NO_ITEM, NO_TOTALS)
    assert len(first.past) == 0
    assert (second.totals.behaviours, second.totals.outcomes, second.item) == (1, 1, NO_ITEM)
    assert (third.totals.behaviours, third.totals.outcomes, third.item.outcomes) == (2, 1, 1)
    assert third.item_key == item_key("i1")
    assert [third.text_key] == text_keys(tokenizer, 3)
    assert third.mu == pytest.approx((0.75 + 0.5) / 2)
    assert third.past["text"].tolist() == text_keys(tokenizer, 1, 2)
    assert third.past["item"].tolist() == [item_key("i1"), item_key("i2")]
    np.testing.assert_allclose(third.past["z"], [0.75, np.nan])
    np.testing.assert_allclose(third.past["residual"], [0.25, np.nan])


def test_a_snapshot_is_deleted_with_its_example(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer)
    processing.deliver(film(1), film(2))
    key = event_key("ann", "e1").encode()
    assert {key, snapshot_key(key)} < {where[1] for where in processing.estimates.stored}
    processing.deliver(outcome("e1"), outcome("e2"))
    assert processing.estimates.stored == {}


def test_an_event_scored_by_an_older_version_has_no_snapshot(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer)
    processing.deliver(film(1))
    del processing.estimates.stored[0, snapshot_key(event_key("ann", "e1").encode())]
    processing.deliver(outcome("e1"))
    (example,) = processing.published.examples
    assert (example.snapshot, example.y_hat) == (None, processing.published.scores[0].y_hat)


def test_an_outcome_read_by_an_older_version_counts_as_pending(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, reading=Reading.LATE)
    processing.deliver(film(1), film(2))
    window = processing.window()
    behaviour = stored(window, find(window, "e1") or 0).behaviour
    older = with_outcome(window, 0, behaviour_with_outcome(behaviour, 1.0, None), LIMITS)
    processing.table.stored[0, b"ann"] = processing.table.codec.dumps(older)
    processing.deliver(outcome("e2"))
    processing.deliver(film(3))
    past = processing.published.late_texts[-1].snapshot.past
    assert np.isnan(past["residual"]).tolist() == [True, False]
    assert user_sums(processing).outcomes == 1


def test_residuals_are_kept_only_for_the_window(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, windows=WindowLimits(3, 4096))
    for number in range(8):
        processing.deliver(film(number))
        processing.deliver(outcome(f"e{number}"))
    assert len(user_sums(processing).residuals) == 3 * 12
    assert (user_sums(processing).behaviours, user_sums(processing).outcomes) == (8, 8)
    assert processing.items.get_in(0, PARTITION_SUMS_KEY) == PartitionSums(8, 8.0)


def test_a_label_of_an_event_outside_the_window_counts(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, windows=WindowLimits(1, 4096))
    processing.deliver(film(1), film(2))
    processing.deliver(outcome("e1"))
    assert (user_sums(processing).outcomes, user_sums(processing).residuals) == (1, b"")
    processing.deliver(film(3, "i1"))
    processing.deliver(outcome("e3"))
    assert snapshot_of(processing.published.examples[-1]).item.outcomes == 1


def test_a_repeated_event_is_one_behaviour(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer)
    processing.deliver(film(1), film(1), film(2), film(1))
    assert (user_sums(processing).behaviours, user_sums(processing).first_at) == (2, film(1).occurred_at)


@pytest.mark.parametrize("committed", [True, False], ids=["from the store", "from a layer"])
def test_a_late_model_takes_over_the_known_past(
    tokenizer: BehaviourTokenizer, minilm_dir: Path, committed: bool
) -> None:
    """The tokenizer of the new model differs."""
    short = TextSettings(max_tokens=70, max_behaviour_tokens=20, lowercase=True)
    other = BehaviourTokenizer.from_folder(minilm_dir, short)
    processing = Processing(tokenizer)
    processing.open()
    processing.read([processing.record(film(1)), processing.record(film(2))])
    processing.read([processing.record(outcome("e1", z=0.75))])
    if committed:
        processing.commit()
    processing.processor.offer(Model("v2", other, reading=Reading.LATE))
    processing.open()
    processing.read([processing.record(film(3, "i1"))])
    while processing.open_units:
        processing.commit()
    (text,) = processing.published.late_texts
    snapshot = text.snapshot
    assert [snapshot.text_key] == text_keys(other, 3) != text_keys(tokenizer, 3)
    assert snapshot.past["text"].tolist() == text_keys(other, 1, 2)
    np.testing.assert_allclose(snapshot.past["residual"], [0.25, np.nan])
    assert (snapshot.item.outcomes, snapshot.totals.outcomes, snapshot.mu) == (1, 1, 0.625)


def test_a_late_model_reads_each_behaviour_by_itself(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, reading=Reading.LATE)
    processing.deliver(film(1), film(2))
    processing.deliver(outcome("e1"))
    processing.deliver(film(3))
    text = processing.published.late_texts[-1]
    # The texts contain no outcomes.
    assert [piece.text for piece in text.pieces()] == ["watch Film 1", "watch Film 2"]
    assert text.piece.text == "watch Film 3"
    assert (text.behaviours, text.tokens, text.truncated) == (2, LATE_TOKENS, False)
    assert processing.published.score("e3").behaviours == 2


def test_an_example_of_a_late_model_has_no_history(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, reading=Reading.LATE)
    processing.deliver(film(1), film(2))
    processing.deliver(outcome("e2"))
    (example,) = processing.published.examples
    assert (example.history, example.target) == ("", "watch Film 2")
    assert snapshot_of(example).past["text"].tolist() == text_keys(tokenizer, 1)


def test_a_duplicate_is_scored_with_its_original_past(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, reading=Reading.LATE)
    processing.deliver(film(1), film(2), film(3))
    processing.deliver(outcome("e1"), outcome("e2"), outcome("e3"))
    processing.deliver(film(2))
    again = processing.published.late_texts[-1]
    assert again.snapshot.past["text"].tolist() == text_keys(tokenizer, 1)
    assert again.snapshot.past["y"].tolist() == [1.0]
    assert (again.snapshot.totals.outcomes, again.snapshot.item.outcomes) == (3, 1)
    assert again.snapshot.at_ms == film(2).occurred_at
    assert processing.published.scores[-1].duplicate
    assert [one.event_id for one in processing.published.examples] == ["e1", "e2", "e3"]


def test_a_late_model_reads_without_labels(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer, reading=Reading.LATE, with_labels=False)
    processing.deliver(film(1))
    processing.deliver(film(2))
    first, second = processing.published.late_texts
    assert first.snapshot.past.tobytes() == NO_PAST.tobytes()
    assert second.snapshot.past["text"].tolist() == text_keys(tokenizer, 1)
    assert (second.snapshot.item, second.snapshot.totals, second.snapshot.mu) == (NO_ITEM, NO_TOTALS, 0.5)
    assert processing.items.stored == {} == processing.estimates.stored


def test_a_joint_model_without_examples_makes_no_snapshots(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer)
    processing.labels.examples = False
    processing.deliver(film(1))
    (context,) = processing.published.contexts
    assert [one.snapshot for one in context.pending] == [None]
    assert user_sums(processing).behaviours == 1


def test_learned_records_are_counted_but_not_scored(tokenizer: BehaviourTokenizer) -> None:
    processing = Processing(tokenizer)
    processing.open()
    unit = processing._units[-1]
    assert processing.processor.learn(batch_of([processing.record(film(1))]), unit).jobs == []
    processing.processor.learn(batch_of([processing.record(outcome("e1"))]), unit)
    assert (user_sums(processing).behaviours, user_sums(processing).outcomes) == (1, 1)
    assert len(user_sums(processing).residuals) == 12

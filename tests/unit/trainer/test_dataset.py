"""Examples: splits by time, labels, texts in order, and augmentation."""

from dataclasses import replace

import numpy as np
import pytest

from model.features.history import NO_PAST
from model.features.keys import text_key
from model.features.snapshot import Snapshot
from model.features.state import NO_ITEM, NO_TOTALS
from model.tokens import BehaviourTokenizer
from schemas.records import BehaviorEvent, LabeledExample, Outcome
from trainer.augment import Augmentation, augment_rows
from trainer.config import LateTraining
from trainer.dataset import Example, label_in_order, labels, latest_known_at, split_by_time
from trainer.late_examples import LateExamples
from trainer.targets import distinct_targets


def example(occurred_at: int, y: float = 1.0, z: float | None = None) -> Example:
    return Example("", f"watch film {occurred_at}", y, z, occurred_at)


def labeled(
    history: str,
    target: str,
    *,
    occurred_at: int,
    labeled_at: int,
    z: float | None = None,
    snapshot: bytes | None = None,
) -> LabeledExample:
    return LabeledExample(
        event_id="e",
        user_id="u",
        item_id="i",
        history=history,
        target=target,
        y=1.0,
        y_hat=0.5,
        z_hat=0.5,
        model_version="v",
        label_source="outcome",
        occurred_at=occurred_at,
        labeled_at=labeled_at,
        z=z,
        snapshot=snapshot,
    )


def pair(number: int, user: str, y: float) -> tuple[BehaviorEvent, Outcome]:
    event = BehaviorEvent(f"e{number}", user, "watch", 1000 + number, item_text=f"Film {number}")
    return event, Outcome(event.event_id, user, y, event.occurred_at, z=y)


def test_the_newest_share_is_held_out() -> None:
    older, newest = split_by_time([example(at) for at in (3, 1, 2, 5, 4)], 0.4)
    assert [e.occurred_at for e in older] == [1, 2, 3]
    assert [e.occurred_at for e in newest] == [4, 5]


def test_examples_of_one_time_stay_on_one_side() -> None:
    older, newest = split_by_time([example(at) for at in (1, 2, 2, 2, 3)], 0.6)
    assert [e.occurred_at for e in older] == [1, 2, 2, 2]
    assert [e.occurred_at for e in newest] == [3]
    assert split_by_time([example(1)] * 3, 0.5) == ([example(1)] * 3, [])


def test_a_label_is_known_when_its_example_is_made() -> None:
    snapshot = Snapshot(
        at_ms=5, item_key=1, text_key=2, item=NO_ITEM, mu=0.5, totals=NO_TOTALS, past=NO_PAST
    ).encode()
    record = labeled("", "watch a", occurred_at=5, labeled_at=9, snapshot=snapshot)
    made = Example.from_record(record)
    before = replace(made, occurred_at=4, labeled_at=None)
    # A clock was set back.
    early = replace(made, occurred_at=6, labeled_at=2)
    assert [one.known_at for one in (made, before, early)] == [9, 4, 6]
    assert latest_known_at([before], [made]) == 9
    chosen = LateExamples.of([before, made, early], [], LateTraining())
    assert [one.known_at_ms for one in chosen.labelled()] == [5, 9, 6]


def test_holding_out_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="held_out=1"):
        split_by_time([example(1)], 1)


def test_an_unknown_z_is_nan() -> None:
    found = labels([example(1, 0.0, 0.25), example(2, 1.0, None)])
    assert found.dtype == np.float32
    assert found[0].tolist() == [0.0, 0.25]
    assert np.isnan(found[1, 1])
    assert labels([]).shape == (0, 2)


def test_a_text_contains_only_earlier_outcomes_of_its_user(tokenizer: BehaviourTokenizer) -> None:
    pairs = [pair(1, "ann", 1.0), pair(2, "bob", 0.0), pair(3, "ann", 0.0), pair(4, "ann", 1.0)]
    made = list(label_in_order(pairs, tokenizer))
    assert [(e.history, e.target) for e in made] == [
        ("", "watch Film 1"),
        ("", "watch Film 2"),
        ("user likes 100 percent of 1 ; watch Film 1 loved", "watch Film 3"),
        ("user likes 50 percent of 2 ; watch Film 1 loved ; watch Film 3 hated", "watch Film 4"),
    ]
    assert [(e.y, e.z, e.occurred_at) for e in made][2] == (0.0, 0.0, 1003)


def test_a_later_outcome_changes_no_earlier_text(tokenizer: BehaviourTokenizer) -> None:
    """Flipping every label from the k-th on changes no text up to the k-th."""
    pairs = [pair(n, "ann", float(n % 2)) for n in range(12)]
    made = list(label_in_order(pairs, tokenizer))
    for k in range(12):
        flipped = [pair(n, "ann", float(n % 2) if n < k else 1.0 - n % 2) for n in range(12)]
        again = list(label_in_order(flipped, tokenizer))
        assert [(e.history, e.target) for e in again[: k + 1]] == [
            (e.history, e.target) for e in made[: k + 1]
        ]


def test_a_full_window_drops_its_oldest_behaviour(tokenizer: BehaviourTokenizer) -> None:
    made = list(label_in_order([pair(n, "ann", 1.0) for n in range(5)], tokenizer, max_behaviours=2))
    assert made[-1].history == "user likes 100 percent of 2 ; watch Film 2 loved ; watch Film 3 loved"
    snapshot = Snapshot.decode(made[-1].snapshot or b"")
    assert snapshot.past["text"].tolist() == [text_key("watch Film 2"), text_key("watch Film 3")]
    assert snapshot.text_key == text_key(made[-1].target)


def test_an_example_is_made_from_a_record() -> None:
    record = labeled("history", "target", occurred_at=7, labeled_at=8, z=0.75)
    assert Example.from_record(record) == Example("history", "target", 1.0, 0.75, 7, "u", "i", None, 8)
    assert Example.from_record(replace(record, snapshot=b"s")).snapshot == b"s"


def test_equal_targets_become_one_with_means_and_counts() -> None:
    examples = [
        Example("a", "watch Heat", 1.0, 0.75, 1),
        Example("b", "watch Alien", 0.0, None, 2),
        Example("c", "watch Heat", 0.0, None, 3),
    ]
    distinct = distinct_targets(examples)
    assert distinct.targets == ["watch Alien", "watch Heat"]
    assert distinct.labels[1].tolist() == [0.5, 0.75]
    assert distinct.labels[0, 0] == 0.0
    assert np.isnan(distinct.labels[0, 1])
    assert distinct.counts.tolist() == [1.0, 2.0]
    assert distinct.of_example.tolist() == [1, 0, 1]


def drop_histories(examples: list[Example], share: float, seed: int) -> list[Example]:
    return augment_rows(examples, range(len(examples)), Augmentation(histories_dropped=share), seed=seed)


def test_a_dropped_history_keeps_the_rates() -> None:
    long = Example(
        "user likes 50 percent of 2 ; watch Heat liked ; watch Alien hated", "watch x", 1.0, None, 1
    )
    bare = Example("watch Heat liked", "watch x", 1.0, None, 1)
    assert [e.history for e in drop_histories([long, bare], 1.0, seed=0)] == [
        "user likes 50 percent of 2",
        "",
    ]
    assert drop_histories([long, bare], 0.0, seed=0) == [long, bare]
    some = drop_histories([bare] * 100, 0.5, seed=1)
    assert 30 < sum(not e.history for e in some) < 70
    assert some == drop_histories([bare] * 100, 0.5, seed=1)
    with pytest.raises(ValueError, match="histories_dropped=2"):
        drop_histories([], 2, seed=0)

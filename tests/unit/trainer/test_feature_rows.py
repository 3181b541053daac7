"""Feature rows as a worker makes them: windows, delays, partitions, refits, and rows with an unseen item."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from model.features.items import ItemTable
from model.features.keys import NO_KEY, item_key, text_key
from model.features.names import NAMES
from schemas.records import BehaviorEvent, Outcome
from trainer.feature_rows import FeatureRows, RowMaker, RowSettings, feature_rows
from trainer.snapshots import Pair, StreamSettings, snapshots
from trainer.text_vectors import BehaviourText, TextVectors

HOUR_MS = 3_600_000


def pairs_of(*rows: tuple[str, str, int, float]) -> list[Pair]:
    """Return events and outcomes for rows of (user, item, minute, z)."""
    made = []
    for place, (user, item, minute, z) in enumerate(rows):
        at_ms = 10**12 + minute * 60_000
        event = BehaviorEvent(f"e{place}", user, "watch", at_ms, item_id=item, item_text=f"text {item}")
        made.append((event, Outcome(f"e{place}", user, y=float(z > 0.5), z=z, observed_at=at_ms)))
    return made


def text_of(event: BehaviorEvent) -> str:
    """Return the text of a behaviour."""
    return event.item_text


def vectors(pairs: list[Pair]) -> TextVectors:
    """Return random text vectors, the same for the same number of texts."""
    return TextVectors.of(
        [BehaviourText(item_key(e.item_id), text_key(e.item_text), e.item_text) for e, _ in pairs],
        lambda texts: np.random.default_rng(0).normal(size=(len(texts), 5)).astype(np.float32),
    )


def rows_of(pairs: list[Pair], settings: RowSettings, stream: StreamSettings | None = None) -> FeatureRows:
    return feature_rows(snapshots(pairs, text_of, stream), vectors(pairs), settings)


def feature(rows: FeatureRows, name: str) -> list[float]:
    """Return one feature of all rows."""
    return [float(value) for value in rows.numbers[:, NAMES.index(name)]]


def crowd(events: int = 400) -> list[Pair]:
    """Return events of 20 users and 30 items of two kinds. Users like the items of one kind."""
    random = np.random.default_rng(1)
    rows = []
    for minute in range(events):
        user, item = int(random.integers(20)), int(random.integers(30))
        rows.append((f"u{user}", f"i{item}", minute, float((user + item) % 2 == 0)))
    return pairs_of(*rows)


PLAIN = RowSettings(refit_rows=0, unseen_share=0.0, kept=3)


def test_a_snapshot_lists_behaviours_newest_first_with_known_outcomes() -> None:
    pairs = pairs_of(("u", "a", 0, 1.0), ("u", "b", 1, 0.0), ("v", "c", 2, 1.0), ("u", "a", 61, 0.5))
    rows = rows_of(pairs, PLAIN, StreamSettings(delay_ms=HOUR_MS))
    texts = vectors(pairs)
    assert rows.text.tolist() == [0, 1, 2, 0]
    assert rows.past_text[3].tolist() == [1, 0, -1]
    np.testing.assert_allclose(rows.past[3, :, 3], [np.log1p(3600), np.log1p(3660), 0], rtol=1e-6)
    assert rows.past[3, :, :2].tolist() == [[1, 0], [1, 1], [0, 0]]
    assert rows.past[1, 0, 0] == 0  # the delay of an hour has not passed
    assert texts.by_item().keys() == {item_key(item_id) for item_id in "abc"}


def test_late_outcomes_of_dropped_behaviours_still_count_for_items() -> None:
    pairs = pairs_of(("u", "a", 0, 1.0), ("u", "b", 1, 1.0), ("u", "c", 2, 1.0), ("v", "a", 70, 1.0))
    rows = rows_of(pairs, PLAIN, StreamSettings(max_behaviours=1, delay_ms=HOUR_MS))
    assert rows.past_text[2, :2].tolist() == [1, -1]
    assert feature(rows, "item_outcomes")[3] == np.float32(np.log1p(1))


def test_items_are_counted_separately_in_each_partition() -> None:
    pairs = pairs_of(("u", "a", 0, 1.0), ("v", "a", 1, 1.0), ("u", "a", 2, 1.0))
    rows = rows_of(pairs, PLAIN, StreamSettings(partition_of=lambda user_id: ord(user_id)))
    assert np.expm1(feature(rows, "item_outcomes")).round().tolist() == [0, 0, 1]


def test_an_uncounted_item_stays_unknown_but_its_outcomes_are_read() -> None:
    pairs = crowd()
    counted = StreamSettings(counted=lambda item_id: item_id != "i3")
    rows = rows_of(pairs, RowSettings(refit_rows=100, counted=counted.counted, mapped=False), counted)
    uncounted = rows.items == "i3"
    for name in ("item_outcomes", "item_prior", "item_prior_outcomes", "like_sum"):
        assert not np.any(np.array(feature(rows, name))[uncounted]), name
        assert np.any(np.array(feature(rows, name))[~uncounted]), name
    assert feature(rows, "total_known")[399] > 0


def test_item_vectors_are_fitted_on_earlier_rows_only() -> None:
    pairs, other = crowd(), crowd()
    for place in range(100, 400):
        event, outcome = other[place]
        other[place] = (
            event,
            Outcome(outcome.event_id, outcome.user_id, 1 - outcome.y, 0, z=1 - (outcome.z or 0)),
        )
    settings = RowSettings(refit_rows=100, unseen_share=0.0)
    one, two = rows_of(pairs, settings), rows_of(other, settings)
    assert one.numbers[:101].tobytes() == two.numbers[:101].tobytes()
    assert one.numbers[101:].tobytes() != two.numbers[101:].tobytes()
    first = slice(0, 1 + 2 * 31)
    assert one.item_vectors[first].tobytes() == two.item_vectors[first].tobytes()


def test_an_outcome_enters_item_vectors_once_it_is_known() -> None:
    pairs = crowd()
    late = [
        pairs[350][0].occurred_at if place == 50 else event.occurred_at
        for place, (event, _) in enumerate(pairs)
    ]
    labelled = [one._replace(known_at_ms=at) for one, at in zip(snapshots(pairs, text_of), late, strict=True)]
    flipped = [
        one._replace(y=1 - one.y, z=1 - (one.z or 0)) if place == 50 else one
        for place, one in enumerate(labelled)
    ]
    settings = RowSettings(refit_rows=100, unseen_share=0.0)
    one, other = (feature_rows(rows, vectors(pairs), settings) for rows in (labelled, flipped))
    assert one.numbers.tobytes() == other.numbers.tobytes()  # the last fit is before row 350
    first = slice(0, 1 + 3 * 2 * 31)
    assert one.item_vectors[first].tobytes() == other.item_vectors[first].tobytes()
    at_once = [row._replace(known_at_ms=row.snapshot.at_ms) for row in flipped]
    assert feature_rows(at_once, vectors(pairs), settings).numbers.tobytes() != one.numbers.tobytes()


def test_item_vectors_are_frozen_after_the_training_rows() -> None:
    settings = RowSettings(refit_rows=100, refit_until=200, unseen_share=0.0)
    rows = rows_of(crowd(), settings)
    # Two fits, each of all items and of unseen items, with a row for the unknown item.
    assert len(rows.item_vectors) == 1 + 2 * 2 * 31
    assert not rows.item[:100].any()
    assert rows.item[200:].min() > 2 * 31


def test_some_rows_are_repeated_with_an_unseen_item() -> None:
    pairs = crowd()
    rows = rows_of(pairs, RowSettings(refit_rows=100, unseen_share=0.3))
    again = rows.places(0, 400, unseen=True)[400:]
    assert 80 < len(again) < 160
    assert (rows.items[again] == rows.items[rows.of[again]]).all()
    assert (rows.y[again] == rows.y[rows.of[again]]).all()
    item_outcomes, known = np.array(feature(rows, "item_outcomes")), np.array(feature(rows, "known"))
    assert not item_outcomes[again].any()
    assert (known[again] == known[rows.of[again]]).all()
    assert rows.places(100, 300).tolist() == list(range(100, 300))


def test_rows_carry_the_outcomes_of_their_events() -> None:
    pairs = pairs_of(("u", "a", 0, 0.75), ("u", "b", 1, 0.25))
    pairs.append((pairs[0][0], Outcome("e2", "u", y=1.0, observed_at=0)))
    rows = rows_of(pairs, PLAIN)
    assert rows.y.tolist() == [1, 0, 1]
    assert rows.z.tolist() == [0.75, 0.25, 1]  # without z the grade is y


def test_a_behaviour_with_an_unknown_text_has_the_empty_text() -> None:
    pairs = pairs_of(("u", "a", 0, 1.0), ("u", "b", 1, 0.0), ("u", "c", 2, 1.0))
    known = vectors([pairs[1], pairs[2]])
    rows = feature_rows(list(snapshots(pairs, text_of))[1:], known, PLAIN)
    empty = known.texts.index("")
    assert rows.past_text[1].tolist() == [0, empty, -1]
    assert np.expm1(feature(rows, "known")).round().tolist() == [1, 2]
    assert feature(rows, "text_closest")[1] == pytest.approx(known.cosines(1, np.array([0, empty])).max())


def test_item_vectors_use_the_residual_of_the_outcomes_snapshot() -> None:
    pairs = pairs_of(*((f"u{place}", "a", place, 1.0) for place in range(9)))
    maker = RowMaker(vectors(pairs), RowSettings(refit_rows=0, unseen_share=0.0))
    labelled = list(snapshots(pairs, text_of))
    for one in labelled:
        maker.take(one)
    above = sum(1 - one.snapshot.mu for one in labelled)
    facts = maker.fit_all().table.facts_of_row(0)
    assert facts.bias == np.float32(above / (9 + 8))
    assert facts.log_outcomes == np.float32(np.log1p(9))


def test_new_rows_read_items_from_an_earlier_checkpoint() -> None:
    pairs = crowd()
    maker = RowMaker(vectors(pairs), RowSettings(refit_rows=0, mapped=False))
    for one in list(snapshots(pairs, text_of))[:200]:
        maker.take(one)
    known, until_ms = maker.fit_all().table, pairs[199][0].occurred_at

    def rows(refit_rows: int, start_until_ms: int | None) -> FeatureRows:
        settings = RowSettings(refit_rows=refit_rows, unseen_share=0.0)
        later = RowMaker(vectors(pairs), settings, start=known, start_until_ms=start_until_ms)
        for one in snapshots(pairs, text_of):
            later.take(one)
        return later.rows()

    without, found = rows(0, None), rows(0, until_ms)
    # The table already contains the labels of the first 200 rows.
    assert found.numbers[:200].tobytes() == without.numbers[:200].tobytes()
    assert not any(feature(without, "item_prior_outcomes"))
    for place in (200, 399):
        facts = known.facts(pairs[place][0].item_id)
        assert feature(found, "item_prior_outcomes")[place] == np.float32(facts.log_outcomes)
        assert found.item_vectors[found.item[place]].tolist() == facts.vector.tolist()
    refitted = np.array(feature(rows(100, until_ms), "item_prior_outcomes"))
    assert (refitted[200:] >= np.array(feature(found, "item_prior_outcomes"))[200:]).all()


def test_vectors_are_rotated_onto_an_earlier_checkpoints_table() -> None:
    pairs = crowd()
    settings = RowSettings(refit_rows=0, mapped=False)

    def fitted(start: ItemTable) -> ItemTable:
        maker = RowMaker(vectors(pairs), settings, start=start)
        for one in snapshots(pairs, text_of):
            maker.take(one)
        return maker.fit_all().table

    first = fitted(ItemTable())
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(32, 32)))[0].astype(np.float32)
    again = fitted(replace(first, vectors=first.vectors @ turn))
    np.testing.assert_allclose(again.vectors, first.vectors @ turn, atol=1e-5)


def test_a_repeated_text_is_encoded_once() -> None:
    encoded: list[NDArray[np.float32]] = []

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        encoded.append(np.eye(len(texts), dtype=np.float32) * 2)
        return encoded[-1]

    behaviours = [BehaviourText(item_key(name), text_key(name), name) for name in "aab"]
    texts = TextVectors.of(behaviours, encode)
    assert len(encoded) == 1
    assert texts.vectors.shape == (3, 3)
    assert texts.texts == ("a", "b", "")
    assert texts.cosines(0, np.array([0, 1, 0])).tolist() == [1, 0, 1]
    keys = np.array([NO_KEY, *(text_key(name) for name in "bca")], np.uint64)
    assert texts.rows_of(keys).tolist() == [2, 1, 2, 0]

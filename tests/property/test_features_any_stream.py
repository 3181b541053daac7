"""Feature numbers of any stream of events and outcomes: equal to a recomputation, independent of later records."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.features.history import NO_PAST, History, Past, past_array
from model.features.items import ItemTable
from model.features.keys import item_key, text_key
from model.features.learning import learn
from model.features.names import FEATURES, NAMES, Group, columns
from model.features.numbers import numbers
from model.features.snapshot import Snapshot, SnapshotError, numbers_of
from model.features.state import (
    ITEM_MAX_BYTES,
    MEAN_BYTES,
    NO_ITEM,
    NO_MEAN,
    NO_TOTALS,
    USER_BYTES,
    ItemState,
    Mean,
    UserTotals,
    as_float32,
)
from schemas.records import BehaviorEvent, Outcome
from tests.support.plain_features import Rated, plain_numbers
from trainer.feature_rows import FeatureRows, RowSettings, feature_rows
from trainer.snapshots import Pair, StreamSettings, snapshots
from trainer.text_vectors import BehaviourText, TextVectors

ITEMS = ("", "a", "b", "c", "d")
OF_A_CHECKPOINT = (
    *columns(Group.ITEM_VECTORS),
    NAMES.index("item_prior"),
    NAMES.index("item_prior_outcomes"),
)
SHARES = st.floats(0, 1, width=32)
GAPS_MS = st.sampled_from([0, 1, 400, 1000, 70_000, 3 * 86_400_000])
ROWS = st.tuples(st.sampled_from("uv"), st.sampled_from(ITEMS), GAPS_MS, SHARES, SHARES)
STREAMS = st.lists(ROWS, min_size=1, max_size=25)
DELAYS_MS = st.sampled_from([0, 1000, 60_000])
LIMITS = st.integers(1, 6)


def pairs_of(rows: Sequence[tuple[str, str, int, float, float]]) -> list[Pair]:
    """Return events in time order, each with its outcome."""
    at_ms, pairs = 900_000_000_000, []
    for place, (user, item, gap_ms, y, z) in enumerate(rows):
        at_ms += gap_ms
        event = BehaviorEvent(f"e{place}", user, "watch", at_ms, item_id=item, item_text=item)
        pairs.append((event, Outcome(f"e{place}", user, y=y, z=z, observed_at=at_ms)))
    return pairs


def text_of(event: BehaviorEvent) -> str:
    """Return the text of a behaviour."""
    return f"watch {event.item_text}"


def text_vectors(pairs: Sequence[Pair]) -> TextVectors:
    """Return vectors in which each text has a fixed direction."""

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        places = [ITEMS.index(text.removeprefix("watch ")) for text in texts]
        return np.array([[1.0, np.cos(place), np.sin(place)] for place in places], np.float32)

    said = [
        BehaviourText(item_key(event.item_id), text_key(text_of(event)), text_of(event)) for event, _ in pairs
    ]
    return TextVectors.of(said, encode)


def rows_of(pairs: Sequence[Pair], *, delay_ms: int, max_behaviours: int = 4) -> FeatureRows:
    """Return feature rows without item vectors."""
    stream = StreamSettings(delay_ms=delay_ms, max_behaviours=max_behaviours)
    chosen = RowSettings(kept=3, refit_rows=0, unseen_share=0)
    return feature_rows(snapshots(pairs, text_of, stream), text_vectors(pairs), chosen)


@settings(deadline=None, max_examples=40)
@given(rows=STREAMS, delay_ms=DELAYS_MS, max_behaviours=LIMITS)
def test_incremental_numbers_equal_those_recomputed_from_all_events(
    rows: list[tuple[str, str, int, float, float]], delay_ms: int, max_behaviours: int
) -> None:
    pairs = pairs_of(rows)
    texts = text_vectors(pairs)
    rated = [
        Rated(e.user_id, e.item_id, e.occurred_at, o.y, o.z or 0.0, e.occurred_at + delay_ms)
        for e, o in pairs
    ]

    def cosine(one: str, other: str) -> float:
        keys = np.array([text_key(f"watch {item}") for item in (one, other)], np.uint64)
        a, b = texts.unit[texts.rows_of(keys)]
        return float(a @ b)

    found = rows_of(pairs, delay_ms=delay_ms, max_behaviours=max_behaviours).numbers
    for now in range(len(pairs)):
        expected = plain_numbers(
            rated, now, max_behaviours=max_behaviours, to_float32=as_float32, cosine=cosine
        )
        for name, value in expected.items():
            assert abs(found[now, NAMES.index(name)] - value) < 2e-5 + 1e-5 * abs(value), (now, name)


@settings(deadline=None, max_examples=40)
@given(rows=STREAMS, delay_ms=DELAYS_MS, data=st.data())
def test_a_row_ignores_its_own_and_later_outcomes(
    rows: list[tuple[str, str, int, float, float]], delay_ms: int, data: st.DataObject
) -> None:
    pairs = pairs_of(rows)
    now = data.draw(st.integers(0, len(pairs) - 1))
    later = pairs[now][0].occurred_at - delay_ms
    hidden = [place for place, (event, _) in enumerate(pairs) if place >= now or event.occurred_at > later]
    others = list(pairs)
    for place in hidden:
        event, outcome = pairs[place]
        others[place] = event, replace(outcome, y=1 - outcome.y, z=1 - (outcome.z or 0.0))
    one, other = rows_of(pairs, delay_ms=delay_ms), rows_of(others, delay_ms=delay_ms)
    assert one.numbers[now].tobytes() == other.numbers[now].tobytes()
    assert one.past[now].tobytes() == other.past[now].tobytes()


@settings(deadline=None, max_examples=40)
@given(rows=STREAMS, delay_ms=DELAYS_MS, data=st.data())
def test_rows_do_not_depend_on_where_the_stream_is_cut(
    rows: list[tuple[str, str, int, float, float]], delay_ms: int, data: st.DataObject
) -> None:
    pairs = pairs_of(rows)
    cut = data.draw(st.integers(1, len(pairs)))
    start, whole = rows_of(pairs[:cut], delay_ms=delay_ms), rows_of(pairs, delay_ms=delay_ms)
    assert start.numbers.tobytes() == whole.numbers[:cut].tobytes()


@given(outcomes=st.lists(st.tuples(SHARES, st.none() | SHARES, st.integers(0, 2**53)), max_size=15))
def test_state_round_trips_through_its_bytes(outcomes: list[tuple[float, float | None, int]]) -> None:
    item, totals, mean = NO_ITEM, NO_TOTALS, NO_MEAN
    for y, z, at_ms in outcomes:
        totals = totals.with_behaviour(at_ms)
        _, item, totals, mean = learn(
            Past(at_ms, "a"), y, z, item=item, totals=totals, mean=mean, own_mean=0.3
        )
        assert ItemState.decode(item.encode()) == item
        assert UserTotals.decode(totals.encode()) == totals
        assert Mean.decode(mean.encode()) == mean
        assert len(item.encode()) <= ITEM_MAX_BYTES
        assert (len(totals.encode()), len(mean.encode())) == (USER_BYTES, MEAN_BYTES)


TIMES = st.integers(-(2**63), 2**63 - 1)
IDS = st.sampled_from([*ITEMS, "never seen"])
OUTCOMES = st.just(()) | st.tuples(SHARES, SHARES, st.floats(-2, 2, width=32))
PASTS = st.builds(lambda at_ms, item_id, outcome: Past(at_ms, item_id, *outcome), TIMES, IDS, OUTCOMES)


@settings(deadline=None)
@given(
    at_ms=TIMES,
    pasts=st.lists(PASTS, max_size=8),
    cosine=st.floats(allow_nan=True, allow_infinity=True),
    size=st.integers(0, 2**32 - 1),
    z_sum=st.floats(0, 2**32),
)
def test_numbers_are_finite_for_hostile_input(
    at_ms: int, pasts: list[Past], cosine: float, size: int, z_sum: float
) -> None:
    item = ItemState(
        outcomes=size,
        y_sum=z_sum,
        z_sum=z_sum,
        above_mean=z_sum,
        above_user=-z_sum,
        last_at_ms=at_ms,
        recent=(1.0,) * 10,
    )
    totals = UserTotals(
        behaviours=size,
        outcomes=size,
        y_sum=z_sum,
        z_sum=z_sum,
        residual_sum=-z_sum,
        residual_squares=z_sum,
        slow=1.0,
        first_at_ms=-at_ms,
        last_at_ms=at_ms,
    )
    table = ItemTable(
        np.sort(np.array([item_key("a"), item_key("b")], np.uint64)),
        np.full((3, 32), 1e3, np.float32),
        np.full(3, -1e3, np.float32),
        np.full(3, 20, np.float32),
    )
    history = History.of(past_array(pasts) if pasts else NO_PAST)
    cosines = np.full(len(pasts), cosine)
    found = numbers(at_ms, item, 0.5, history, totals, cosines, table.facts("a"), table)
    assert found.dtype == np.float32
    assert found.shape == (len(FEATURES),)
    assert np.isfinite(found).all()


SNAPSHOTS = st.builds(
    lambda at_ms, keys, outcomes, mu, pasts: Snapshot(
        at_ms=at_ms,
        item_key=keys[0],
        text_key=keys[1],
        item=ItemState(
            outcomes=outcomes,
            y_sum=1.5,
            z_sum=1.25,
            above_mean=-0.5,
            above_user=0.25,
            last_at_ms=at_ms,
            recent=(0.5,) * min(outcomes, 10),
        ),
        mu=mu,
        totals=UserTotals(
            behaviours=outcomes,
            outcomes=outcomes,
            y_sum=1.0,
            z_sum=0.5,
            residual_sum=0.25,
            residual_squares=0.125,
            slow=-0.5,
            first_at_ms=-at_ms,
            last_at_ms=at_ms,
        ),
        past=past_array(pasts, list(range(len(pasts)))) if pasts else NO_PAST,
    ),
    st.integers(-(2**53), 2**53),
    st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
    st.lists(PASTS, max_size=8),
)


@given(snapshot=SNAPSHOTS)
def test_a_decoded_snapshot_gives_the_same_numbers(snapshot: Snapshot) -> None:
    found = Snapshot.decode(snapshot.encode())
    assert found.encode() == snapshot.encode()
    assert (found.at_ms, found.item_key, found.text_key) == (
        snapshot.at_ms,
        snapshot.item_key,
        snapshot.text_key,
    )
    assert (found.item, found.mu, found.totals) == (snapshot.item, snapshot.mu, snapshot.totals)
    cosines = np.full(len(snapshot.past), 0.5)
    assert numbers_of(found, cosines).tobytes() == numbers_of(snapshot, cosines).tobytes()


@given(snapshot=SNAPSHOTS, data=st.data())
def test_invalid_snapshot_bytes_are_refused(snapshot: Snapshot, data: st.DataObject) -> None:
    raw = snapshot.encode()
    cut = data.draw(st.integers(0, len(raw) - 1))
    for bad in (raw[:cut], raw + b"x", bytes([raw[0] + 1]) + raw[1:]):
        with pytest.raises(SnapshotError):
            Snapshot.decode(bad)

"""The sliding window: the same for any order of arrival, within its limits, and unchanged by repeats."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from model.features.history import Past
from model.features.keys import item_key, text_key
from model.features.learning import known_mean
from model.tokens import Piece
from model.words import count_habits
from schemas.state_records import Behaviour
from schemas.window_state import encode_behaviour
from stream.scoring.window_columns import Columns
from stream.scoring.windows import (
    Entry,
    Stored,
    Window,
    WindowLimits,
    columns_of,
    find,
    history,
    insert,
    with_outcome,
)


def entry(offset: int, occurred_at: int, text: str = "", y: float | None = None) -> Entry:
    behaviour = Behaviour(f"e{offset}", offset, occurred_at, "view", "i", text, y=y)
    return Entry(
        (occurred_at, offset),
        behaviour.event_id,
        behaviour,
        encode_behaviour(behaviour),
        piece(behaviour),
    )


def piece(behaviour: Behaviour) -> Piece:
    return Piece(f"{behaviour.event_id} {behaviour.y}", b"", 0, cut=False)


def target(behaviour: Behaviour) -> Piece:
    return Piece(behaviour.event_id, b"", 0, cut=False)


class Words:
    """Renders a behaviour as its id and outcome."""

    def pieces(self, behaviours: Sequence[Behaviour]) -> list[Piece]:
        return [piece(behaviour) for behaviour in behaviours]

    def targets(self, behaviours: Sequence[Behaviour]) -> list[Piece]:
        return [target(behaviour) for behaviour in behaviours]


def texts(history: Sequence[Piece]) -> list[str]:
    return [one.text for one in history]


def kept(entries: Sequence[Entry]) -> list[Stored]:
    return [Stored(*one[:4]) for one in entries]


OUTCOMES = st.sampled_from([None, 0.0, 1.0])
ENTRIES = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 120), OUTCOMES), max_size=40).map(
    lambda drawn: [entry(offset, time, "x" * length, y) for offset, (time, length, y) in enumerate(drawn)]
)
LIMITS = st.builds(WindowLimits, st.integers(1, 30), st.integers(200, 1_500))


def filled(entries: list[Entry], limits: WindowLimits) -> Window:
    window = Window(tokenizer=Words())
    for one in entries:
        window = insert(window, one, limits)
    return window


def reference(entries: list[Entry], limits: WindowLimits) -> list[Entry]:
    """Return the newest entries that fit the limits, by definition, oldest first."""
    kept: list[Entry] = []
    size = 0
    for one in sorted(entries, key=lambda e: e.position, reverse=True):
        size += len(one.block)
        if len(kept) == limits.max_behaviours or size > limits.max_bytes:
            break
        kept.append(one)
    return kept[::-1]


@given(entries=ENTRIES, limits=LIMITS, shuffled=st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_window(entries, limits, shuffled) -> None:  # type: ignore[no-untyped-def]
    other = list(entries)
    shuffled.shuffle(other)
    window = filled(entries, limits)
    assert filled(other, limits) == window
    assert list(window.entries) == kept(reference(entries, limits))
    assert window.size_bytes == sum(len(e.block) for e in window.entries) <= limits.max_bytes
    assert Window.of([e.block for e in window.entries], window.floor) == window
    again = Window.of([e.block for e in window.entries], window.floor)
    assert (again.outcomes, again.newest) == (window.outcomes, window.newest)


@given(entries=ENTRIES, limits=LIMITS)
def test_repeated_events_change_nothing(entries: list[Entry], limits: WindowLimits) -> None:
    window = filled(entries, limits)
    again = window
    for one in entries:
        again = insert(again, one, limits)
    assert again == window


@given(entries=ENTRIES, limits=LIMITS, position=st.tuples(st.integers(-1, 21), st.integers(-1, 15)))
def test_history_is_everything_before_a_position(
    entries: list[Entry], limits: WindowLimits, position: tuple[int, int]
) -> None:
    window = filled(entries, limits)
    before = [e for e in window.entries if e.position < position]
    past = history(window, position)
    assert texts(past) == [piece(e.behaviour).text for e in before]
    assert texts(list(reversed(past))) == texts(past)[::-1]
    assert (len(past), past.habits) == (len(before), count_habits(e.behaviour.y for e in before))
    for count in range(len(before) + 1):
        assert texts(past.newest(count)) == texts(past)[len(before) - count :]


@given(entries=ENTRIES.filter(bool), limits=LIMITS, data=st.data())
def test_an_outcome_changes_its_own_entry_only(
    entries: list[Entry], limits: WindowLimits, data: st.DataObject
) -> None:
    window = filled(entries, limits)
    index = data.draw(st.integers(0, len(window.entries) - 1))
    old = window.entries[index]
    known = entry(old.behaviour.offset, old.behaviour.occurred_at, old.behaviour.item_text, y=1.0)
    changed = with_outcome(window, index, known.behaviour, limits)
    left = len(changed.entries)
    expected = [Stored(*known[:4]) if e.event_id == old.event_id else e for e in window.entries]
    # An outcome makes its entry longer, so the oldest entries may be dropped.
    assert list(changed.entries) == expected[len(expected) - left :]
    assert texts(history(changed, (99, 0))) == [piece(e.behaviour).text for e in changed.entries]
    assert changed.habits == count_habits(e.behaviour.y for e in changed.entries)
    assert [find(changed, e.event_id) for e in changed.entries] == list(range(left))
    assert find(changed, "e-none") is None


@given(entries=ENTRIES.filter(bool), limits=LIMITS)
def test_a_window_read_from_state_behaves_like_one_in_memory(
    entries: list[Entry], limits: WindowLimits
) -> None:
    in_memory = Window(tokenizer=Words())
    for one in entries:
        read = Window.of([e.block for e in in_memory.entries], in_memory.floor, Words())
        assert texts(history(in_memory, one.position)) == texts(history(read, one.position))
        in_memory, read = insert(in_memory, one, limits), insert(read, one, limits)
        assert in_memory == read
        assert texts(history(in_memory, (99, 0))) == texts(history(read, (99, 0)))


@given(entries=ENTRIES, limits=LIMITS, data=st.data())
def test_updated_columns_equal_rebuilt_ones(
    entries: list[Entry], limits: WindowLimits, data: st.DataObject
) -> None:
    """Events in any order, some with outcomes; some outcomes have no residual, as in state of older versions."""
    window, residuals, have_columns = Window(tokenizer=Words()), b"", False
    for one in entries:
        have_columns = have_columns or data.draw(st.booleans())
        if have_columns:
            columns_of(window, residuals)
        labelled = one.behaviour
        new = replace(labelled, y=None)
        window = insert(
            window, Entry(one.position, one.event_id, new, encode_behaviour(new), target(new)), limits
        )
        index = find(window, one.event_id)
        if labelled.y is None or index is None:
            continue
        columns_of(window, residuals)
        learned = Past(
            labelled.occurred_at, labelled.item_id, labelled.y, labelled.y, residual=labelled.offset / 64
        )
        window = with_outcome(window, index, labelled, limits, data.draw(st.sampled_from([learned, None])))
        residuals = columns_of(window, residuals).residuals()
    updated = columns_of(window, residuals)
    rebuilt = columns_of(Window.of([e.block for e in window.entries], window.floor, Words()), residuals)
    assert updated == rebuilt
    assert len(updated) == len(window)
    rows = updated.array(len(updated))
    assert rows["at_ms"].tolist() == [e.position[0] for e in window.entries]
    assert rows["text"].tolist() == [text_key(e.event_id) for e in window.entries]
    assert rows["item"].tolist() == [item_key("i")] * len(window)
    plain = [Past(0, "i", float(y), float(z), float(r)) for _, _, _, y, z, r in rows.tolist()]
    assert updated.known_mean(0.25) == known_mean(plain, 0.25)


def test_columns_of_an_empty_window_are_empty() -> None:
    columns = columns_of(Window(), b"")
    assert columns == Columns()
    assert (len(columns), columns.known_mean(0.25), columns.residuals()) == (0, 0.25, b"")


def test_an_event_id_inside_a_text_is_not_found() -> None:
    quoting = entry(1, occurred_at=10, text="as e77 said")
    longer_id = entry(777, occurred_at=20)
    window = insert(insert(Window(tokenizer=Words()), quoting, WindowLimits()), longer_id, WindowLimits())
    assert find(window, "e77") is None
    assert find(insert(window, entry(77, occurred_at=30), WindowLimits()), "e77") == 2


def test_a_small_event_older_than_a_dropped_one_is_dropped() -> None:
    limits = WindowLimits(max_behaviours=10, max_bytes=300)
    big = entry(1, occurred_at=10, text="x" * 260)
    newest = entry(2, occurred_at=20, text="y" * 30)
    small = entry(0, occurred_at=5, text="z")
    assert [e.event_id for e in filled([newest, big, small], limits).entries] == ["e2"]
    assert filled([small, big, newest], limits) == filled([newest, big, small], limits)

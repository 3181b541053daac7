"""The sliding window: one answer for every order of arrival, within its limits, and blind to repeats."""

from hypothesis import given
from hypothesis import strategies as st

from model.tokens import Piece
from schemas.records import Behaviour
from schemas.window_state import encode_behaviour
from stream.windows import EMPTY, Entry, Window, WindowLimits, find, history, insert, with_outcome


def entry(offset: int, occurred_at: int, text: str = "", y: float | None = None) -> Entry:
    behaviour = Behaviour(f"e{offset}", offset, occurred_at, "view", "i", text, None, y, None)
    return Entry(
        (occurred_at, offset),
        behaviour.event_id,
        behaviour,
        encode_behaviour(behaviour),
        Piece(text, b"", 0, cut=False),
    )


ENTRIES = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 120)), max_size=14).map(
    lambda drawn: [entry(offset, time, "x" * length) for offset, (time, length) in enumerate(drawn)]
)
LIMITS = st.builds(WindowLimits, st.integers(1, 8), st.integers(200, 600))


def filled(entries: list[Entry], limits: WindowLimits) -> Window:
    window = EMPTY
    for one in entries:
        window = insert(window, one, limits)
    return window


def reference(entries: list[Entry], limits: WindowLimits) -> list[Entry]:
    """The longest newest-first run within the limits, said plainly."""
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
    assert list(window.entries) == reference(entries, limits)
    assert window.size_bytes == sum(len(e.block) for e in window.entries) <= limits.max_bytes


@given(entries=ENTRIES, limits=LIMITS)
def test_the_same_events_again_change_nothing(entries: list[Entry], limits: WindowLimits) -> None:
    window = filled(entries, limits)
    again = window
    for one in entries:
        again = insert(again, one, limits)
    assert again == window


@given(entries=ENTRIES, limits=LIMITS, position=st.tuples(st.integers(-1, 21), st.integers(-1, 15)))
def test_history_is_what_happened_before(
    entries: list[Entry], limits: WindowLimits, position: tuple[int, int]
) -> None:
    window = filled(entries, limits)
    assert list(history(window, position)) == [e for e in window.entries if e.position < position]


@given(entries=ENTRIES.filter(bool), limits=LIMITS, data=st.data())
def test_an_outcome_changes_its_own_entry_only(
    entries: list[Entry], limits: WindowLimits, data: st.DataObject
) -> None:
    window = filled(entries, limits)
    index = data.draw(st.integers(0, len(window.entries) - 1))
    old = window.entries[index]
    known = entry(old.behaviour.offset, old.behaviour.occurred_at, old.behaviour.item_text, y=1.0)
    changed = with_outcome(window, index, known, limits)
    kept = len(changed.entries)
    expected = [known if e.event_id == old.event_id else e for e in window.entries]
    assert (
        list(changed.entries) == expected[len(expected) - kept :]
    )  # its outcome takes bytes: the oldest may go
    assert find(changed, "e-none") is None


def test_an_older_and_smaller_one_cannot_slip_in_behind_what_was_dropped() -> None:
    limits = WindowLimits(10, 300)
    big = entry(1, 10, "x" * 260)
    newest = entry(2, 20, "y" * 30)
    small = entry(0, 5, "z")
    assert [e.event_id for e in filled([newest, big, small], limits).entries] == ["e2"]
    assert filled([small, big, newest], limits) == filled([newest, big, small], limits)

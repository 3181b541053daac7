"""Columns computed for many windows at once equal those of each window, decoded behaviour by behaviour."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from model.tokens import BehaviourTokenizer
from schemas.state_records import Behaviour
from schemas.window_state import encode_behaviour
from stream.scoring.window_columns import Columns
from stream.scoring.windows import Window, columns_of, make_columns
from stream.scoring.word_keys import WordKeys

ITEMS = st.sampled_from([("", ""), ("i1", "Alien 1979"), ("i2", "Brazil <i>1985</i>"), ("i2", "Ü" * 200)])
NUMBERS = st.integers(0, 2**40) | st.integers(0, 2**53) | st.just(2**60)
BEHAVIOURS = st.builds(
    lambda event_id, offset, at, action, item, value, y, z: Behaviour(
        event_id, offset, at, action, item[0], item[1], value, y, None if y is None else z
    ),
    st.text(max_size=70),
    NUMBERS,
    NUMBERS,
    st.sampled_from(["watch", "rate", "purchase", "", "look" * 16]),
    ITEMS,
    st.none() | st.sampled_from([0.0, 4.5, 1_300.0, float("inf")]),
    st.none() | st.floats(0, 1),
    st.none() | st.floats(0, 1),
)
WINDOWS = st.lists(st.lists(BEHAVIOURS, max_size=6), min_size=1, max_size=4)


@settings(deadline=None)
@given(drawn=WINDOWS, data=st.data())
def test_batched_columns_equal_those_of_single_windows(
    tokenizer: BehaviourTokenizer, drawn: list[list[Behaviour]], data: st.DataObject
) -> None:
    """Residuals cover all outcomes or half of them, in any order; event ids are unique within a window."""
    windows, residuals = [], []
    for behaviours in drawn:
        placed = [replace(one, offset=one.offset + place) for place, one in enumerate(behaviours)]
        offsets = {one.offset for one in placed if one.y is not None}
        known = data.draw(st.permutations(sorted(offsets)) | st.just(sorted(offsets)))
        windows.append([encode_behaviour(one) for one in placed])
        residuals.append(_residuals(known if data.draw(st.booleans()) else known[: len(known) // 2]))
    keys = WordKeys(tokenizer)
    for _ in ("new words", "cached words"):
        together = [Window.of(blocks, None, tokenizer) for blocks in windows]
        make_columns(together, residuals, keys)
        for window, blocks, of_window in zip(together, windows, residuals, strict=True):
            alone = columns_of(Window.of(blocks, None, tokenizer), of_window)
            assert columns_of(window, of_window) == alone


def test_usual_windows_get_batched_columns(tokenizer: BehaviourTokenizer) -> None:
    behaviours = [
        Behaviour(f"e{place}", place, 1_700_000_000_000 + place, "watch", "i1", "Alien 1979", value, y)
        for place, (value, y) in enumerate([(None, None), (90.0, 0.5), (None, 1.0)])
    ]
    window = Window.of([encode_behaviour(one) for one in behaviours], None, tokenizer)
    make_columns([window, Window()], [b"", b""], WordKeys(tokenizer))
    assert isinstance(window.columns, Columns)


def _residuals(offsets: list[int]) -> bytes:
    behaviours = [Behaviour("", offset, 0, "", "", "", None, 0.0) for offset in offsets]
    columns = Columns.of(behaviours, [""] * len(behaviours), b"")
    for place in range(len(behaviours)):
        columns = columns.with_outcome(place, 0.0, 0.0, (place + 1) / 64)
    return columns.residuals()

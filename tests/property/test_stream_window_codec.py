"""A window decodes to its entries and words: state read from disk gives the same text as memory."""

from hypothesis import given, settings
from hypothesis import strategies as st

from model.tokens import BehaviourTokenizer
from schemas.state_records import Behaviour
from stream.scoring.behaviours import WindowCodec, entry_of
from stream.scoring.windows import History, Window, behaviour_with_outcome

TEXTS = st.one_of(st.sampled_from(["alien", "Brazil <i>1985</i>", ""]), st.text(max_size=40))
SHARES = st.floats(0, 1)
BEHAVIOURS = st.builds(
    Behaviour,
    event_id=st.text(min_size=1, max_size=20),
    offset=st.integers(0, 2**53),
    occurred_at=st.integers(0, 2**53),
    action=st.one_of(st.sampled_from(["watch", "rate", "purchase"]), st.text(max_size=10)),
    item_id=st.text(max_size=20),
    item_text=TEXTS,
    value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
KNOWN = st.none() | st.tuples(SHARES, st.none() | SHARES)
FLOORS = st.none() | st.tuples(st.integers(0, 2**53), st.integers(0, 2**53))


@settings(deadline=None)
@given(drawn=st.lists(st.tuples(BEHAVIOURS, KNOWN), max_size=16), floor=FLOORS)
def test_a_window_round_trips_through_its_bytes(
    tokenizer: BehaviourTokenizer,
    drawn: list[tuple[Behaviour, tuple[float, float | None] | None]],
    floor: tuple[int, int] | None,
) -> None:
    entries = []
    for behaviour, known in drawn:
        if known is not None:
            behaviour = behaviour_with_outcome(behaviour, *known)
        entries.append(entry_of(behaviour, tokenizer.piece(behaviour)))
    window = Window.of([entry.block for entry in entries], floor)
    codec = WindowCodec(tokenizer)
    raw = codec.dumps(window)
    back = codec.loads(raw)
    assert codec.dumps(back) == raw
    assert (back.size_bytes, back.floor) == (window.size_bytes, floor)
    words = History(back, len(back))
    for entry, other, piece in zip(entries, back.entries, words, strict=True):
        assert entry[:4] == other
        assert (entry.piece.ids, entry.piece.text) == (piece.ids, piece.text)

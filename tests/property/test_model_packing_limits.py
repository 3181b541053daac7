"""Batches stay within their limits, and no text is lost, duplicated or starved."""

from concurrent.futures import Future

from hypothesis import given, settings
from hypothesis import strategies as st

from model.packing import PackingSettings, choose_batch, wait_s
from model.tokens import EncodedText
from model.waiting import Group, ScoredTexts, WaitingTexts
from tests.unit.model.scoring_models import EchoModel, encoded

limits = st.builds(
    PackingSettings,
    max_batch_tokens=st.integers(1, 600),
    max_batch_rows=st.integers(1, 20),
    look_ahead=st.integers(1, 40),
    pass_overhead_tokens=st.integers(0, 500),
    multiple=st.sampled_from([1, 8]),
)
counts = st.lists(st.integers(1, 128), min_size=1, max_size=60)


def padded(tokens: int, multiple: int) -> int:
    return -(-tokens // multiple) * multiple


@settings(max_examples=500, deadline=None)
@given(counts, limits)
def test_a_batch_stays_within_limits_and_contains_the_oldest(
    tokens: list[int], packing: PackingSettings
) -> None:
    chosen = choose_batch(tokens, packing)
    assert chosen[0] == 0
    assert chosen == sorted(set(chosen))
    assert chosen[-1] < packing.look_ahead
    assert len(chosen) <= packing.max_batch_rows
    longest = max(padded(tokens[index], packing.multiple) for index in chosen)
    assert len(chosen) == 1 or len(chosen) * longest <= packing.max_batch_tokens


@settings(max_examples=300, deadline=None)
@given(counts, limits)
def test_batches_lose_and_duplicate_nothing(tokens: list[int], packing: PackingSettings) -> None:
    waiting = list(enumerate(tokens))
    served: list[int] = []
    while waiting:
        chosen = set(choose_batch([count for _, count in waiting], packing))
        served += [number for index, (number, _) in enumerate(waiting) if index in chosen]
        waiting = [entry for index, entry in enumerate(waiting) if index not in chosen]
    assert sorted(served) == list(range(len(tokens)))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 128), st.integers(1, 60), limits)
def test_equal_texts_fill_the_batch(tokens: int, rows: int, packing: PackingSettings) -> None:
    fits = max(1, packing.max_batch_tokens // padded(tokens, packing.multiple))
    expected = min(rows, fits, packing.max_batch_rows, packing.look_ahead)
    assert choose_batch([tokens] * rows, packing) == list(range(expected))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(1, 128), max_size=20), st.integers(0, 1), st.booleans()), max_size=8
    ),
    limits,
)
def test_every_text_is_served_once_oldest_group_first(
    submitted: list[tuple[list[int], int, bool]], packing: PackingSettings
) -> None:
    models = [EchoModel("one"), EchoModel("two")]
    waiting = WaitingTexts()
    groups = []
    for number, (lengths, model, _) in enumerate(submitted):
        texts: list[EncodedText] = [encoded(length) for length in lengths]
        future: Future[ScoredTexts] = Future()
        groups.append(Group(texts, models[model], 0.0, number, future))
        waiting.add(groups[-1])
    cancelled = [group for group, (_, _, cancel) in zip(groups, submitted, strict=True) if cancel]
    for group in cancelled:
        group.future.cancel()

    served: list[tuple[int, int]] = []
    while (oldest := waiting.oldest()) is not None:
        entries = waiting.take(packing)
        assert oldest in [group for group, _ in entries]
        assert len({id(group.model) for group, _ in entries}) == 1
        served += [(group.number, position) for group, position in entries]
    wanted = [g for g in groups if g not in cancelled]
    assert sorted(served) == [(g.number, i) for g in wanted for i in range(len(g.texts))]
    assert (waiting.rows, waiting.tokens, waiting.take(packing)) == (0, 0, [])


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 50), st.integers(1, 1000), st.floats(0, 10), st.booleans(), limits)
def test_nothing_waits_longer_than_allowed(
    rows: int, tokens: int, waited_s: float, busy: bool, packing: PackingSettings
) -> None:
    delay = wait_s(
        waiting_rows=rows, waiting_tokens=tokens, oldest_waited_s=waited_s, busy=busy, settings=packing
    )
    assert 0 <= delay <= packing.max_wait_s
    if not busy or waited_s >= packing.max_wait_s or rows >= packing.max_batch_rows:
        assert delay == 0

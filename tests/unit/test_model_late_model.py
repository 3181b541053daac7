"""A late model: its scores are the trainer's and those of a row alone; what it keeps changes nothing."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from model import late_checkpoint
from model.errors import DeviceError, ModelOutputError
from model.features.items import ItemFacts, ItemTable
from model.features.keys import item_key, text_key
from model.features.snapshot import Snapshot
from model.forward import ForwardPass
from model.jobs import LATE_TOKENS, LateText
from model.late_batch import LateBatch
from model.late_checkpoint import LateComponents
from model.late_model import LateModel
from model.network import TwoHeadedNetwork
from model.packing import PackingSettings
from model.reading import Reading
from model.scorer import BatchStats, MicroBatcher
from model.text import TextSettings
from model.tokens import BehaviourTokenizer, Piece
from schemas.records import BehaviorEvent, Outcome
from schemas.state_records import Behaviour
from tests.support.late import item_map, late_model, late_network, late_parts, late_text
from trainer.feature_rows import RowMaker, RowSettings
from trainer.late import score_late
from trainer.late_batches import LateRows
from trainer.late_texts import kept_vectors
from trainer.snapshots import StreamSettings, snapshots
from trainer.text_vectors import BehaviourText, TextVectors

PATIENCE_S = 120
WORDS = [f"watch film {number} drama" for number in range(12)]
ITEMS = ("a", "b", "c", "unknown", "")


@pytest.fixture
def model(tiny_base: Path, tokenizer: BehaviourTokenizer) -> LateModel:
    """A late model with nothing kept."""
    return late_model(tiny_base, tokenizer)


class Lasting(NamedTuple):
    """Models that score one batch after another. alone: float32 (N, 2)."""

    rows: list[LateText]
    alone: Tensor
    models: list[LateModel]


def embeddings(network: TwoHeadedNetwork) -> Tensor:
    """The vectors of an encoder's words, to be changed in place."""
    return network.encoder.get_parameter("embeddings.word_embeddings.weight")


def some_rows(tokenizer: BehaviourTokenizer, count: int, seed: int = 0, longest: int = 7) -> list[LateText]:
    """Rows with pasts of different lengths over a dozen texts and a few items."""
    random = np.random.default_rng(seed)
    pieces = tokenizer.words(WORDS)

    def behaviour() -> tuple[Piece, str, float | None]:
        grade = None if random.random() < 0.3 else float(random.integers(5)) / 4
        return pieces[random.integers(len(pieces))], ITEMS[random.integers(len(ITEMS))], grade

    rows = []
    for _ in range(count):
        piece, item, _ = behaviour()
        rows.append(late_text(piece, item, [behaviour() for _ in range(random.integers(longest + 1))]))
    return rows


def test_a_late_model_says_what_it_is(model: LateModel) -> None:
    assert (model.reading, model.version, model.dtype, model.lam) == (Reading.LATE, "late", "fp32", 0.25)
    assert model.text == TextSettings()
    assert model.probe.behaviours == 0
    assert model.probe.tokens == LATE_TOKENS


def test_warming_up_scores_rows_of_every_length(model: LateModel) -> None:
    model.warm_up()
    assert len(model.vectors) > 1


def test_a_model_that_gives_nan_is_not_warmed_up(tiny_base: Path, tokenizer: BehaviourTokenizer) -> None:
    parts = late_parts(tiny_base)
    torch.nn.init.constant_(parts.late.output.bias, torch.nan)
    with pytest.raises(DeviceError, match="known-good"):
        late_model(tiny_base, tokenizer, parts).warm_up()


# --- what a score depends on ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lasting(tiny_base: Path, tokenizer: BehaviourTokenizer) -> Lasting:
    """One model with room for all texts and one with room for two; rows, and what each scores by itself."""
    parts = late_parts(tiny_base)
    rows = some_rows(tokenizer, 20)
    alone = [late_model(tiny_base, tokenizer, parts).score_texts([row]) for row in rows]
    models = [late_model(tiny_base, tokenizer, parts, cached_vectors=size) for size in (1_000, 2)]
    return Lasting(rows, torch.cat(alone), models)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 19), min_size=1, max_size=20))
def test_scores_depend_on_the_row_alone_and_not_on_what_was_scored_before(
    lasting: Lasting, chosen: list[int]
) -> None:
    for model in lasting.models:
        scored = model.score_texts([lasting.rows[place] for place in chosen])
        torch.testing.assert_close(scored, lasting.alone[chosen], atol=1e-5, rtol=0)


def test_rows_differ_and_a_small_table_stays_small(lasting: Lasting) -> None:
    assert len({float(value) for value in lasting.alone[:, 0]}) > 15
    for model in lasting.models:
        model.score_texts(lasting.rows)
    assert [len(model.vectors) for model in lasting.models] == [len(WORDS), 2]


def test_a_part_of_a_batch_scores_as_in_the_whole(model: LateModel, tokenizer: BehaviourTokenizer) -> None:
    rows = some_rows(tokenizer, 9)
    batch = model.pack(rows)
    whole = model.score(batch)
    assert (len(batch), batch.padded_tokens) == (9, 9 * LATE_TOKENS)
    torch.testing.assert_close(model.score(batch.rows(2, 6)), whole[2:6], atol=1e-5, rtol=0)
    torch.testing.assert_close(model.score(batch.select([8, 0])), whole[[8, 0]], atol=1e-5, rtol=0)
    assert set(batch.rows(2, 3).keys.tolist()) < set(batch.keys.tolist())


def test_only_the_newest_behaviours_are_attended_to(tiny_base: Path, tokenizer: BehaviourTokenizer) -> None:
    parts = late_parts(tiny_base)._replace(late=late_network(behaviours=2, columns=(0,)))
    model = late_model(tiny_base, tokenizer, parts)
    pieces = tokenizer.words(WORDS)
    newest = [(pieces[1], "a", 0.5), (pieces[2], "b", 1.0)]
    one, other = (late_text(pieces[0], "a", [(pieces[3], "c", grade), *newest]) for grade in (0.0, 1.0))
    moved = late_text(pieces[0], "a", [(pieces[3], "c", 0.0), (pieces[1], "a", 1.0), newest[1]])
    scored = model.score_texts([one, other, moved])
    torch.testing.assert_close(scored[0], scored[1], atol=1e-6, rtol=0)
    assert not torch.allclose(scored[0], scored[2], atol=1e-4)


def with_item(table: ItemTable, item: str, facts: ItemFacts) -> ItemTable:
    """The table with one item more."""
    keys = np.append(table.keys, np.uint64(item_key(item)))
    order = np.argsort(keys)

    def column(old: NDArray[np.float32], new: object) -> NDArray[np.float32]:
        added = np.array([new], np.float32)
        return np.concatenate([np.concatenate([old[:-1], added])[order], old[-1:]])

    return ItemTable(
        keys[order],
        column(table.vectors, facts.vector),
        column(table.bias, facts.bias),
        column(table.log_outcomes, facts.log_outcomes),
    )


def test_an_item_that_the_table_lacks_is_what_its_text_says(
    tiny_base: Path, tokenizer: BehaviourTokenizer
) -> None:
    parts = late_parts(tiny_base)
    assert parts.item_map is not None
    pieces = tokenizer.words(WORDS)
    rows = [late_text(piece, "unknown", [(pieces[0], "a", 1.0), (pieces[1], "b", 0.0)]) for piece in pieces]
    model = late_model(tiny_base, tokenizer, parts)
    scored = model.score_texts([*some_rows(tokenizer, 3), *rows])[3:]
    found = model.vectors.find(np.array([row.snapshot.text_key for row in rows], np.uint64))
    without = late_model(tiny_base, tokenizer, parts._replace(item_map=None)).score_texts(rows)
    for place, row in enumerate(rows):
        facts = parts.item_map.facts(found.vectors[place].numpy())
        table = with_item(parts.table, "unknown", facts)
        knows = late_model(tiny_base, tokenizer, parts._replace(table=table)).score_texts([row])[0]
        torch.testing.assert_close(scored[place], knows, atol=1e-5, rtol=0)
        assert not torch.allclose(scored[place], without[place], atol=1e-4)


# --- the trainer's path ---------------------------------------------------------------------------------


def test_scores_are_those_of_the_trainers_path(
    tiny_network: TwoHeadedNetwork, tokenizer: BehaviourTokenizer, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    pairs = []
    for number in range(240):
        item = int(random.integers(70))
        event = BehaviorEvent(
            f"e{number}",
            f"u{random.integers(6)}",
            "watch",
            1_000_000 + number * 977,
            f"i{item}",
            f"film {item} {item % 5}",
        )
        pairs.append(
            (
                event,
                Outcome(event.event_id, event.user_id, float(random.integers(2)), event.occurred_at),
            )
        )
    told = [
        Behaviour(e.event_id, 0, e.occurred_at, e.action, e.item_id, e.item_text, e.value) for e, _ in pairs
    ]
    pieces = tokenizer.targets(told)
    words = {event.event_id: piece.text for (event, _), piece in zip(pairs, pieces, strict=True)}
    labelled = list(snapshots(pairs, lambda event: words[event.event_id], StreamSettings(max_behaviours=12)))

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        return kept_vectors(tiny_network, texts, tokenizer, tmp_path, pad_id=0)

    said = [
        BehaviourText(one.snapshot.item_key, one.snapshot.text_key, piece.text)
        for one, piece in zip(labelled, pieces, strict=True)
    ]
    texts = TextVectors.of(said, encode)
    settings = RowSettings(refit_rows=150, kept=10, unseen_share=0.0)
    maker, until_fit = RowMaker(texts, settings), RowMaker(texts, settings)
    for place, one in enumerate(labelled):
        maker.take(one)
        if place < 150:
            until_fit.take(one)
    rows = LateRows.of(maker.rows(), texts.vectors)
    items = until_fit.fit_all()
    network = late_network(behaviours=10)
    network.standardise_by(rows.inputs.numbers)
    places = np.arange(150, 240)  # from the fit on; those before had no items yet
    expected = score_late(network, rows, places, rows.texts)

    parts = LateComponents(tiny_network, network, items.table, items.map)
    model = LateModel("late", parts, tokenizer, device=torch.device("cpu"), dtype="fp32")
    by_key = {one.text_key: piece for one, piece in zip(said, pieces, strict=True)}

    def job(taken: Snapshot) -> LateText:
        return LateText(
            taken, by_key[taken.text_key], lambda: [by_key[int(key)] for key in taken.past["text"]], False
        )

    jobs = [job(one.snapshot) for one in labelled[150:]]
    np.testing.assert_allclose(model.score_texts(jobs).numpy(), expected, atol=1e-5)
    assert np.ptp(expected) > 0.1
    assert max(len(one.snapshot.past) for one in labelled) == 12


# --- vectors --------------------------------------------------------------------------------------------


def test_a_row_is_asked_for_its_past_only_where_a_vector_is_missing(
    model: LateModel, tokenizer: BehaviourTokenizer
) -> None:
    asked: list[str] = []
    pieces = tokenizer.words(WORDS)
    first = late_text(pieces[0], "a", [(pieces[1], "b", 1.0), (pieces[2], "c", None)], asked=asked)
    known = late_text(pieces[2], "a", [(pieces[0], "b", 1.0), (pieces[1], "c", None)], asked=asked)
    model.score_texts([first, known])
    assert asked == [WORDS[0]]
    model.score_texts([known, first])
    assert asked == [WORDS[0]]
    assert (model.vectors.misses, model.vectors.hits) == (3, 3)
    new = late_text(pieces[5], "a", [(pieces[2], "b", 1.0)], asked=asked)
    model.score_texts([new])
    assert asked == [WORDS[0]]  # its own words are at hand


def test_the_probe_is_encoded_anew_each_time(model: LateModel) -> None:
    for _ in range(2):
        model.score_texts([model.probe])
    assert (len(model.vectors), model.vectors.misses) == (0, 2)


def test_a_successor_begins_with_the_texts_that_were_used_last(
    tiny_base: Path, model: LateModel, tokenizer: BehaviourTokenizer
) -> None:
    model.score_texts(some_rows(tokenizer, 30))
    again = late_parts(tiny_base, seed=3)
    with torch.no_grad():
        embeddings(again.encoder).mul_(1.5)
    successor = late_model(tiny_base, tokenizer, again)
    assert successor.fill_from(model, seconds=PATIENCE_S) == len(model.vectors) == len(WORDS)
    fresh = late_model(tiny_base, tokenizer, again)
    rows = some_rows(tokenizer, 10, seed=5)
    torch.testing.assert_close(successor.score_texts(rows), fresh.score_texts(rows), atol=1e-5, rtol=0)
    assert successor.vectors.misses == 0


def test_a_smaller_table_is_filled_with_the_newest_texts(
    tiny_base: Path, model: LateModel, tokenizer: BehaviourTokenizer
) -> None:
    pieces = tokenizer.words(WORDS)
    for piece in pieces:
        model.score_texts([late_text(piece)])
    successor = late_model(tiny_base, tokenizer, cached_vectors=3)
    assert successor.fill_from(model, seconds=PATIENCE_S) == 3
    kept = {kept.key for kept in successor.vectors.newest(10)}
    assert kept == {text_key(piece.text) for piece in pieces[-3:]}


def test_of_what_was_filled_in_the_texts_that_were_used_longest_ago_go_first(
    tiny_base: Path, model: LateModel, tokenizer: BehaviourTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.late_model._FILLED_AT_ONCE", 2)
    pieces = tokenizer.words(WORDS)
    for piece in pieces:
        model.score_texts([late_text(piece)])
    successor = late_model(tiny_base, tokenizer, cached_vectors=len(pieces))
    successor.fill_from(model, seconds=PATIENCE_S)
    (new,) = tokenizer.words(["watch something new"])
    successor.score_texts([late_text(new)])
    kept = {kept.key for kept in successor.vectors.newest(100)}
    assert text_key(new.text) in kept
    assert {text_key(piece.text) for piece in pieces[-4:]} <= kept


def test_filling_ends_with_its_time_and_when_it_is_told_to(
    tiny_base: Path, model: LateModel, tokenizer: BehaviourTokenizer
) -> None:
    model.score_texts(some_rows(tokenizer, 5))
    successor = late_model(tiny_base, tokenizer)
    assert successor.fill_from(model, seconds=0) == 0
    assert successor.fill_from(model, seconds=PATIENCE_S, stop=lambda: True) == 0


def test_a_model_that_reads_texts_in_another_way_is_not_filled(
    tiny_base: Path, model: LateModel, tokenizer: BehaviourTokenizer, minilm_dir: Path
) -> None:
    model.score_texts(some_rows(tokenizer, 5))
    other = BehaviourTokenizer.from_folder(minilm_dir, TextSettings(lowercase=True))
    assert late_model(tiny_base, other).fill_from(model, seconds=PATIENCE_S) == 0


# --- in the micro-batcher -------------------------------------------------------------------------------


def test_the_micro_batcher_scores_late_rows(model: LateModel, tokenizer: BehaviourTokenizer) -> None:
    rows = some_rows(tokenizer, 40)
    alone = model.score_texts(rows).numpy()
    stats: list[BatchStats] = []
    with MicroBatcher(
        model, PackingSettings(max_batch_tokens=16 * LATE_TOKENS), on_batch=stats.append
    ) as batcher:
        scored = batcher.submit(rows).result(PATIENCE_S)
    np.testing.assert_allclose(np.stack([scored.y_hat, scored.z_hat], 1), alone, atol=1e-5)
    assert [batch.rows for batch in stats] == [16, 16, 8]
    assert [batch.fill for batch in stats] == [1.0, 1.0, 0.5]
    assert {(batch.tokens, batch.padded_tokens) for batch in stats} == {(128, 128), (64, 64)}


class _GatedLateModel(LateModel):
    """Scores only while its gate is open."""

    gate: threading.Event

    def score(self, batch: LateBatch) -> Tensor:
        assert self.gate.wait(PATIENCE_S)
        return super().score(batch)


def test_a_cancelled_groups_rows_are_not_scored(tiny_base: Path, tokenizer: BehaviourTokenizer) -> None:
    model = _GatedLateModel("late", late_parts(tiny_base), tokenizer, device=torch.device("cpu"))
    model.gate = threading.Event()
    pieces = tokenizer.words(WORDS)
    with MicroBatcher(model, PackingSettings(max_wait_s=0, max_batch_rows=4)) as batcher:
        running = batcher.submit([late_text(pieces[0])] * 4)
        cancelled, kept = (
            batcher.submit([late_text(pieces[1])] * 2),
            batcher.submit([late_text(pieces[2])] * 2),
        )
        assert cancelled.cancel()
        model.gate.set()
        assert not running.result(PATIENCE_S).failed
        assert not kept.result(PATIENCE_S).failed
    assert {kept.key for kept in model.vectors.newest(9)} == {text_key(WORDS[0]), text_key(WORDS[2])}


class _CrampedLateModel(LateModel):
    """Has memory for three rows."""

    def score(self, batch: LateBatch) -> Tensor:
        if len(batch) > 3:
            raise torch.OutOfMemoryError("injected: out of memory")
        return super().score(batch)


def test_a_full_memory_halves_a_batch_of_rows(tiny_base: Path, tokenizer: BehaviourTokenizer) -> None:
    model = _CrampedLateModel("late", late_parts(tiny_base), tokenizer, device=torch.device("cpu"))
    rows = some_rows(tokenizer, 8)
    alone = torch.cat([model.score_texts([row]) for row in rows]).numpy()
    stats: list[BatchStats] = []
    forward = ForwardPass(sleep=lambda _: None)
    with MicroBatcher(model, forward=forward, on_batch=stats.append) as batcher:
        scored = batcher.submit(rows).result(PATIENCE_S)
    assert (scored.failed, stats[0].passes) == ({}, 7)
    np.testing.assert_allclose(scored.y_hat, alone[:, 0], atol=1e-5)


def break_word(model: LateModel, tokenizer: BehaviourTokenizer, word: str) -> None:
    """Let the encoder give NaN for every text with this word."""
    (token,) = np.frombuffer(tokenizer.words([word])[0].ids, np.int32).tolist()
    with torch.no_grad():
        embeddings(model.network)[token] = torch.nan


def test_rows_with_a_text_that_the_encoder_fails_on_are_named_and_the_others_are_scored(
    model: LateModel, tokenizer: BehaviourTokenizer
) -> None:
    rows = some_rows(tokenizer, 12)
    alone = model.score_texts(rows).numpy()
    break_word(model, tokenizer, "zebra")
    (bad,) = tokenizer.words(["watch zebra"])
    pieces = tokenizer.words(WORDS)
    with MicroBatcher(model) as batcher:
        mixed = [rows[0], late_text(bad, "a"), *rows[1:], late_text(pieces[0], "a", [(bad, "b", 1.0)])]
        scored = batcher.submit(mixed).result(PATIENCE_S)
    assert sorted(scored.failed) == [1, 13]
    assert all(isinstance(error, ModelOutputError) for error in scored.failed.values())
    np.testing.assert_allclose(np.delete(scored.y_hat, [1, 13]), alone[:, 0], atol=1e-5)
    assert text_key("watch zebra") not in {kept.key for kept in model.vectors.newest(1_000)}


def test_an_encoder_that_breaks_breaks_the_batcher_though_the_probes_text_was_scored_before(
    model: LateModel, tokenizer: BehaviourTokenizer
) -> None:
    model.warm_up()
    model.score_texts([late_text(model.probe.piece)])
    with torch.no_grad():
        embeddings(model.network).fill_(torch.nan)
    with MicroBatcher(model) as batcher, pytest.raises(DeviceError, match="known-good"):
        batcher.submit([late_text(tokenizer.words(["watch something else"])[0])]).result(PATIENCE_S)


def test_a_device_that_breaks_breaks_the_batcher(model: LateModel, tokenizer: BehaviourTokenizer) -> None:
    rows = some_rows(tokenizer, 4)
    torch.nn.init.constant_(model._late.output.bias, torch.nan)
    with MicroBatcher(model) as batcher, pytest.raises(DeviceError, match="known-good"):
        batcher.submit(rows).result(PATIENCE_S)


def test_a_model_with_a_map_of_another_width_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    parts = late_parts(tiny_base)
    wrong = item_map()
    with pytest.raises(ValueError, match=r"map\.x_mean"):
        late_checkpoint.save(
            tmp_path,
            *parts._replace(item_map=type(wrong)(wrong.weights, wrong.x_mean[:-1], wrong.t_mean)),
            parts.settings,
            tokenizer_from=tiny_base,
        )

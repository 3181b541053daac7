"""Late models: a score depends on its row alone and equals the trainer's."""

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
from model.errors import DeviceError
from model.features.items import ItemFacts, ItemTable
from model.features.keys import item_key
from model.features.snapshot import Snapshot
from model.jobs import LATE_TOKENS, LateText
from model.late_checkpoint import LateComponents
from model.late_model import LateModel
from model.network import TwoHeadedNetwork
from model.reading import Reading
from model.text import TextSettings
from model.tokens import BehaviourTokenizer
from schemas.records import BehaviorEvent, Outcome
from schemas.state_records import Behaviour
from tests.support.late import item_map, late_model, late_network, late_parts, late_text
from tests.unit.model.late_rows import TEXTS, some_rows
from trainer.feature_rows import RowMaker, RowSettings
from trainer.late import score_late
from trainer.late_batches import LateRows
from trainer.late_texts import kept_vectors
from trainer.snapshots import StreamSettings, snapshots
from trainer.text_vectors import BehaviourText, TextVectors


@pytest.fixture
def model(tiny_base: Path, tokenizer: BehaviourTokenizer) -> LateModel:
    """A late model with an empty cache."""
    return late_model(tiny_base, tokenizer)


class ReusedModels(NamedTuple):
    """Rows, the scores of each row alone (float32 (N, 2)), and models that are reused between examples."""

    rows: list[LateText]
    alone: Tensor
    models: list[LateModel]


def test_a_late_model_exposes_its_properties(model: LateModel) -> None:
    assert (model.reading, model.version, model.dtype, model.lam) == (Reading.LATE, "late", "fp32", 0.25)
    assert model.text == TextSettings()
    assert model.probe.behaviours == 0
    assert model.probe.tokens == LATE_TOKENS


def test_warming_up_scores_rows_of_every_length(model: LateModel) -> None:
    model.warm_up()
    assert len(model.vectors) > 1


def test_a_model_that_returns_nan_fails_to_warm_up(tiny_base: Path, tokenizer: BehaviourTokenizer) -> None:
    parts = late_parts(tiny_base)
    torch.nn.init.constant_(parts.late.output.bias, torch.nan)
    with pytest.raises(DeviceError, match="known-good"):
        late_model(tiny_base, tokenizer, parts).warm_up()


@pytest.fixture(scope="module")
def reused(tiny_base: Path, tokenizer: BehaviourTokenizer) -> ReusedModels:
    """One model that can cache all texts and one that can cache two."""
    parts = late_parts(tiny_base)
    rows = some_rows(tokenizer, 20)
    alone = [late_model(tiny_base, tokenizer, parts).score_texts([row]) for row in rows]
    models = [late_model(tiny_base, tokenizer, parts, cached_vectors=size) for size in (1_000, 2)]
    return ReusedModels(rows, torch.cat(alone), models)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 19), min_size=1, max_size=20))
def test_scores_depend_on_the_row_alone(reused: ReusedModels, chosen: list[int]) -> None:
    for model in reused.models:
        scored = model.score_texts([reused.rows[place] for place in chosen])
        torch.testing.assert_close(scored, reused.alone[chosen], atol=1e-5, rtol=0)


def test_rows_score_differently_and_caches_stay_bounded(reused: ReusedModels) -> None:
    assert len({float(value) for value in reused.alone[:, 0]}) > 15
    for model in reused.models:
        model.score_texts(reused.rows)
    assert [len(model.vectors) for model in reused.models] == [len(TEXTS), 2]


def test_part_of_a_batch_scores_like_the_whole(model: LateModel, tokenizer: BehaviourTokenizer) -> None:
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
    pieces = tokenizer.words(TEXTS)
    newest = [(pieces[1], "a", 0.5), (pieces[2], "b", 1.0)]
    one, other = (late_text(pieces[0], "a", [(pieces[3], "c", grade), *newest]) for grade in (0.0, 1.0))
    moved = late_text(pieces[0], "a", [(pieces[3], "c", 0.0), (pieces[1], "a", 1.0), newest[1]])
    scored = model.score_texts([one, other, moved])
    torch.testing.assert_close(scored[0], scored[1], atol=1e-6, rtol=0)
    assert not torch.allclose(scored[0], scored[2], atol=1e-4)


def with_item(table: ItemTable, item: str, facts: ItemFacts) -> ItemTable:
    """Return the table with one more item."""
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


def test_an_item_missing_from_the_table_uses_its_text(tiny_base: Path, tokenizer: BehaviourTokenizer) -> None:
    parts = late_parts(tiny_base)
    assert parts.item_map is not None
    pieces = tokenizer.words(TEXTS)
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


def test_scores_match_the_trainer(
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
    behaviours = [
        Behaviour(e.event_id, 0, e.occurred_at, e.action, e.item_id, e.item_text, e.value) for e, _ in pairs
    ]
    pieces = tokenizer.targets(behaviours)
    words = {event.event_id: piece.text for (event, _), piece in zip(pairs, pieces, strict=True)}
    labelled = list(snapshots(pairs, lambda event: words[event.event_id], StreamSettings(max_behaviours=12)))

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        return kept_vectors(tiny_network, texts, tokenizer, tmp_path, pad_id=0)

    texts_of_behaviours = [
        BehaviourText(one.snapshot.item_key, one.snapshot.text_key, piece.text)
        for one, piece in zip(labelled, pieces, strict=True)
    ]
    texts = TextVectors.of(texts_of_behaviours, encode)
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
    places = np.arange(150, 240)  # from the fit on; earlier rows have no item vectors
    expected = score_late(network, rows, places, rows.texts)

    parts = LateComponents(tiny_network, network, items.table, items.map)
    model = LateModel("late", parts, tokenizer, device=torch.device("cpu"), dtype="fp32")
    by_key = {one.text_key: piece for one, piece in zip(texts_of_behaviours, pieces, strict=True)}

    def job(taken: Snapshot) -> LateText:
        return LateText(
            taken, by_key[taken.text_key], lambda: [by_key[int(key)] for key in taken.past["text"]], False
        )

    jobs = [job(one.snapshot) for one in labelled[150:]]
    np.testing.assert_allclose(model.score_texts(jobs).numpy(), expected, atol=1e-5)
    assert np.ptp(expected) > 0.1
    assert max(len(one.snapshot.past) for one in labelled) == 12


def test_an_item_map_of_another_width_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    parts = late_parts(tiny_base)
    wrong = item_map()
    with pytest.raises(ValueError, match=r"map\.x_mean"):
        late_checkpoint.save(
            tmp_path,
            *parts._replace(item_map=type(wrong)(wrong.weights, wrong.x_mean[:-1], wrong.t_mean)),
            parts.settings,
            tokenizer_from=tiny_base,
        )

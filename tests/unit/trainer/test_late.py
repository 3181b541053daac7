"""Fitting a late network to rows with a known rule, on fixed vectors and through BERT's top layers."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.features.names import FEATURES
from model.late import LateNetwork, LateSettings, late_loss
from model.network import TwoHeadedNetwork
from model.tokens import BehaviourTokenizer
from trainer.feature_rows import FeatureRows
from trainer.late import LateConfig, LateFit, fit_late, interpolate_weights, score_late
from trainer.late_batches import LateRows, own_tables
from trainer.text_encoder import TopLayers

ROWS, TEXTS, WIDTH, BEHAVIOURS = 600, 8, 6, 4
SMALL = LateSettings(text_width=WIDTH, width=8, heads=2, tower=16, dropout=0.0, input_dropout=0.0)
CONFIG = LateConfig(
    network=SMALL, numbers_epochs=1, epochs=6, batch_rows=32, learning_rate=1e-2, group_rows=200
)
TRAIN, VALID = np.arange(500), np.arange(500, ROWS)


def feature_rows(
    y: NDArray[np.float32], text: NDArray[np.int32], past_text: NDArray[np.int32]
) -> FeatureRows:
    """Return rows whose numbers and items carry no information."""
    past = np.zeros((ROWS, BEHAVIOURS, 4), np.float32)
    past[:, :, 0] = 1
    return FeatureRows(
        numbers=np.zeros((ROWS, len(FEATURES)), np.float32),
        y=y,
        z=np.full(ROWS, np.nan, np.float32),
        users=np.full(ROWS, "u"),
        items=np.full(ROWS, "i"),
        text=text,
        item=np.zeros(ROWS, np.int32),
        past_text=past_text,
        past_item=np.zeros((ROWS, BEHAVIOURS), np.int32),
        past=past,
        item_vectors=np.zeros((1, 32), np.float32),
        of=np.arange(ROWS),
        events=ROWS,
    )


def rows_by_text(seed: int = 0) -> tuple[FeatureRows, NDArray[np.float32]]:
    """Return rows whose label depends on the behaviour's own text, and the vectors of the texts."""
    random = np.random.default_rng(seed)
    text = random.integers(0, TEXTS, ROWS).astype(np.int32)
    past_text = random.integers(-1, TEXTS, (ROWS, BEHAVIOURS)).astype(np.int32)
    y = (text % 2 == 0).astype(np.float32)
    return feature_rows(y, text, past_text), random.normal(size=(TEXTS, WIDTH)).astype(np.float32)


class ProjectionEncoder:
    """In place of BERT: text vectors are a tunable projection of fixed vectors."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._below = torch.from_numpy(vectors)
        self.weight = nn.Parameter(torch.eye(WIDTH))
        self.encoded: list[int] = []

    def parameters(self) -> Iterator[nn.Parameter]:
        yield self.weight

    def encode(self, texts: NDArray[np.int64]) -> Tensor:
        self.encoded.extend(texts.tolist())
        return self._below[texts] @ self.weight

    def parts(self, texts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        # In another order than the texts.
        return [texts[1::2], texts[::2]]


def fit(rows: FeatureRows, vectors: NDArray[np.float32], config: LateConfig = CONFIG) -> LateFit:
    """Fit on fixed vectors."""
    return fit_late(LateRows.of(rows, vectors), TRAIN, VALID, config)


def test_a_network_learns_from_texts() -> None:
    found = fit(*rows_by_text())
    assert found.valid_loss < 0.1
    assert found.epochs[0] > found.valid_loss


def test_the_epoch_with_the_best_validation_loss_is_kept() -> None:
    rows, vectors = rows_by_text()
    # Inverted labels: every epoch makes the validation loss worse.
    rows.y[TRAIN] = 1 - rows.y[TRAIN]
    found = fit(rows, vectors)
    y_hat = score_late(found.network, LateRows.of(rows, vectors), VALID, found.texts)[:, 0]
    assert found.valid_loss == min(found.epochs) == found.epochs[0]
    assert np.mean(-np.log(np.where(rows.y[VALID] > 0, y_hat, 1 - y_hat))) == pytest.approx(
        found.valid_loss, rel=1e-3
    )


def test_the_second_stage_keeps_the_weights_of_numbers() -> None:
    rows, vectors = rows_by_text()
    rows.numbers[:, 0] = np.random.default_rng(0).normal(size=ROWS)
    stages = [replace(CONFIG, epochs=epochs) for epochs in (0, 3)]
    one, other = (fit(rows, vectors, config).network for config in stages)
    assert all(
        torch.equal(a, b) for a, b in zip(one.numbers_parameters(), other.numbers_parameters(), strict=True)
    )
    assert other.fusion_output.weight.any()
    assert not one.fusion_output.weight.any()


def test_the_same_seed_gives_the_same_network() -> None:
    one, other = fit(*rows_by_text()), fit(*rows_by_text())
    assert one.epochs == other.epochs


def test_a_network_learns_from_repeated_texts() -> None:
    random = np.random.default_rng(3)
    text = random.integers(0, TEXTS, ROWS).astype(np.int32)
    past_text = (text[:, None] + random.integers(1, TEXTS, (ROWS, BEHAVIOURS))) % TEXTS
    again = random.random(ROWS) < 0.5
    past_text[again, random.integers(0, BEHAVIOURS, ROWS)[again]] = text[again]
    rows = feature_rows(again.astype(np.float32), text, past_text.astype(np.int32))
    config = LateConfig(network=SMALL, numbers_epochs=1, epochs=15, batch_rows=32, learning_rate=2e-2)
    assert fit(rows, np.eye(TEXTS, WIDTH, dtype=np.float32) * 3, config).valid_loss < 0.6


def test_tuning_returns_the_vectors_of_the_best_epoch() -> None:
    rows, vectors = rows_by_text()
    encoder = ProjectionEncoder(vectors)
    config = LateConfig(
        network=SMALL, numbers_epochs=1, epochs=3, batch_rows=32, group_rows=200, text_learning_rate=1e-2
    )
    found = fit_late(LateRows.of(rows, vectors), TRAIN, VALID, config, encoder=encoder)
    assert not torch.equal(encoder.weight, torch.eye(WIDTH))
    assert found.epochs[-1] == found.valid_loss
    torch.testing.assert_close(found.texts, torch.from_numpy(vectors) @ encoder.weight.detach())


def test_a_continued_fit_is_never_worse_than_its_start() -> None:
    rows, vectors = rows_by_text()
    first = fit(rows, vectors)
    # Inverted labels: every further epoch makes the validation loss worse.
    rows.y[TRAIN] = 1 - rows.y[TRAIN]
    late_rows = LateRows.of(rows, vectors)
    again = fit_late(late_rows, TRAIN, VALID, CONFIG, start=first.network)
    assert again.valid_loss == again.epochs[0] == pytest.approx(first.valid_loss)
    for name, value in again.network.state_dict().items():
        assert torch.equal(value, first.network.state_dict()[name])


@pytest.mark.parametrize("tuned", [False, True])
def test_an_interrupted_fit_resumes_to_the_same_result(tmp_path: Path, *, tuned: bool) -> None:
    rows, vectors = rows_by_text()
    config = replace(CONFIG, network=replace(SMALL, dropout=0.2), numbers_epochs=2, epochs=2)

    def fitted(
        progress: Callable[[int, int, float], None], kept: Path | None
    ) -> tuple[LateFit, ProjectionEncoder]:
        encoder = ProjectionEncoder(vectors)
        late_rows = LateRows.of(rows, vectors)
        return fit_late(
            late_rows,
            TRAIN,
            VALID,
            config,
            encoder=encoder if tuned else None,
            state_file=kept,
            progress=progress,
        ), encoder

    def cut(epoch: int, _of: int, _loss: float) -> None:
        raise InterruptedError(epoch)

    whole, encoder = fitted(lambda _epoch, _of, _loss: None, None)
    for epoch in (1, 2, 3, 4):
        with pytest.raises(InterruptedError, match=str(epoch)):
            fitted(cut, tmp_path / "fit.pt")
    # No epoch is left to fit.
    again, resumed = fitted(cut, tmp_path / "fit.pt")
    assert again.epochs == whole.epochs
    assert torch.equal(again.texts, whole.texts)
    assert torch.equal(resumed.weight, encoder.weight)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name])


def test_the_encoder_keeps_its_state_of_the_best_epoch() -> None:
    rows, vectors = rows_by_text()
    rows.y[TRAIN] = 1 - rows.y[TRAIN]
    encoder = ProjectionEncoder(vectors)
    found = fit_late(LateRows.of(rows, vectors), TRAIN, VALID, CONFIG, encoder=encoder)
    assert found.valid_loss == found.epochs[0]
    assert torch.equal(encoder.weight, torch.eye(WIDTH))


def test_only_the_texts_of_a_group_are_encoded() -> None:
    rows, vectors = rows_by_text()
    rows.text[:] = np.where(rows.text < 4, rows.text, 0)
    rows.past_text[:] = np.where(rows.past_text < 4, rows.past_text, -1)
    encoder = ProjectionEncoder(vectors)
    config = LateConfig(network=SMALL, numbers_epochs=1, epochs=1, batch_rows=32, group_rows=500)
    fit_late(LateRows.of(rows, vectors), TRAIN, VALID, config, encoder=encoder)
    # The four texts are encoded twice: for the vectors and for the gradient.
    trained = encoder.encoded[:8]
    assert sorted(trained) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_cached_gradient_equals_the_full_gradient() -> None:
    rows, vectors = rows_by_text()
    late_rows = LateRows.of(rows, vectors)
    places = torch.arange(64)
    torch.manual_seed(0)
    network = LateNetwork(SMALL).eval()
    nn.init.normal_(network.output.weight)
    encoder = ProjectionEncoder(vectors)
    every = np.arange(TEXTS)

    def loss(texts: Tensor) -> Tensor:
        logits = network(late_rows.batch(places), texts, late_rows.items)
        return late_loss(logits, late_rows.y[places], late_rows.z[places], SMALL)

    (whole,) = torch.autograd.grad(loss(encoder.encode(every)), encoder.weight)
    leaf = encoder.encode(every).detach().requires_grad_()
    (of_vectors,) = torch.autograd.grad(loss(leaf), leaf)
    for part in encoder.parts(every):
        torch.autograd.backward(encoder.encode(part), of_vectors[part])
    assert encoder.weight.grad is not None
    torch.testing.assert_close(encoder.weight.grad, whole)


@pytest.mark.parametrize("no_text_is_known", [False, True])
def test_own_tables_of_a_batch_give_the_same_gradients(no_text_is_known: bool) -> None:
    rows, vectors = rows_by_text()
    random = np.random.default_rng(1)
    rows.item[:] = random.integers(0, 50, ROWS)
    rows.past_item[:] = random.integers(0, 50, (ROWS, BEHAVIOURS))
    rows.past_text[:] = -1 if no_text_is_known else rows.past_text
    late_rows, places = LateRows.of(rows, vectors), torch.arange(20)
    torch.manual_seed(0)
    network = LateNetwork(SMALL).eval()
    for output in (network.output, network.fusion_output):
        nn.init.normal_(output.weight)

    def gradients(*, own: bool) -> list[Tensor | None]:
        texts, items = (torch.from_numpy(of) for of in (vectors, random_items))
        texts.requires_grad_()
        items.requires_grad_()
        batch = late_rows.batch(places)
        logits = network(*own_tables(batch, texts, items)) if own else network(batch, texts, items)
        loss = late_loss(logits, late_rows.y[places], late_rows.z[places], SMALL)
        return list(torch.autograd.grad(loss, [texts, items, *network.parameters()], allow_unused=True))

    random_items = random.normal(size=(50, 32)).astype(np.float32)
    for one, other in zip(gradients(own=True), gradients(own=False), strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_tables_of_a_batch_hold_each_distinct_row_once() -> None:
    rows, vectors = rows_by_text()
    rows.past_text[:2] = [[3, 3, -1, -1], [5, 3, -1, -1]]
    rows.text[:2] = [5, 7]
    late_rows = LateRows.of(rows, vectors)
    found = own_tables(late_rows.batch(torch.tensor([0, 1])), late_rows.texts, late_rows.items)
    assert found.texts.tolist() == vectors[[3, 5, 7]].tolist()
    assert found.inputs.text.tolist() == [1, 2]
    assert found.inputs.past_text.tolist() == [[0, 0], [1, 0]]
    assert len(found.items) == 1


def test_a_batch_omits_columns_that_no_row_needs() -> None:
    rows, vectors = rows_by_text()
    rows.past_text[:, 2:] = -1
    rows.past_text[:, :2] = 1
    batch = LateRows.of(rows, vectors).batch(torch.tensor([3, 1]))
    assert batch.past_text.shape == (2, 2)
    assert batch.past.shape == (2, 2, 4)
    assert LateRows.of(rows, vectors).batch(torch.tensor([3, 1]), behaviours=1).past_item.shape == (2, 1)
    # An unknown text does not end the past.
    rows.past_text[3] = [-1, -1, 1, -1]
    assert LateRows.of(rows, vectors).batch(torch.tensor([3, 1])).past_text.tolist()[0] == [-1, -1, 1]


def test_top_layers_match_the_network_and_tune_only_themselves(
    tiny_network: TwoHeadedNetwork, tokenizer: BehaviourTokenizer
) -> None:
    pieces = tokenizer.words(["watch heat 1995", "buy a lamp", "view three red chairs in a row"])
    layers = TopLayers(tiny_network, [tokenizer.encode((), piece) for piece in pieces], 1, pad_id=0)
    every = np.arange(3)
    vectors = layers.encode(every)
    np.testing.assert_allclose(vectors.detach().numpy(), layers.vectors, atol=2e-3)
    torch.autograd.backward(vectors.square().sum())
    tuned = {id(parameter) for parameter in layers.parameters()}
    moved = {id(parameter) for parameter in tiny_network.parameters() if parameter.grad is not None}
    assert moved == tuned
    assert sorted(np.concatenate(layers.parts(every)).tolist()) == [0, 1, 2]


def test_without_validation_rows_the_last_epoch_is_kept(tmp_path: Path) -> None:
    rows, vectors = rows_by_text()
    late_rows = LateRows.of(rows, vectors)
    found = fit_late(late_rows, TRAIN, None, CONFIG, state_file=tmp_path / "kept.pt")
    assert np.isnan([found.valid_loss, *found.epochs]).all()
    assert score_late(found.network, late_rows, TRAIN, found.texts)[rows.y[TRAIN] > 0, 0].min() > 0.5
    # The finished fit is found and not repeated.
    again = fit_late(late_rows, TRAIN, None, CONFIG, state_file=tmp_path / "kept.pt")
    assert all(
        torch.equal(a, b) for a, b in zip(found.network.parameters(), again.network.parameters(), strict=True)
    )


def test_weights_are_interpolated_towards_the_start() -> None:
    rows, vectors = rows_by_text()
    start = fit(rows, vectors, replace(CONFIG, epochs=1)).network
    fitted = fit_late(LateRows.of(rows, vectors), TRAIN, VALID, CONFIG, start=start).network
    before = {name: value.clone() for name, value in fitted.state_dict().items()}
    interpolate_weights(fitted, start, 0.25)
    for name, other in start.state_dict().items():
        torch.testing.assert_close(fitted.state_dict()[name], 0.75 * before[name] + 0.25 * other)
    interpolate_weights(fitted, start, 1.0)
    assert all(torch.equal(fitted.state_dict()[name], other) for name, other in start.state_dict().items())

"""The late network: masks, order, gradients, losses, and its checkpoint."""

import json
from pathlib import Path

import pytest
import torch

from model import late
from model.errors import ModelIncompatible
from model.features.history import PAST_COLUMNS
from model.features.names import FEATURES
from model.late import LateInputs, LateNetwork, LateSettings, Loss, late_loss

SETTINGS = LateSettings(text_width=8, width=8, heads=2, tower=16)
TEXTS, ITEMS, BEHAVIOURS = 6, 5, 4


def network(settings: LateSettings = SETTINGS, seed: int = 0) -> LateNetwork:
    """Return a network with random weights in all parts, as if trained."""
    torch.manual_seed(seed)
    made = LateNetwork(settings)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made.eval()


def inputs(rows: int = 3, seed: int = 1) -> LateInputs:
    """Return rows with full histories."""
    generator = torch.Generator().manual_seed(seed)
    return LateInputs(
        torch.randn(rows, len(FEATURES), generator=generator),
        torch.randint(TEXTS, (rows,), generator=generator),
        torch.randint(ITEMS, (rows,), generator=generator),
        torch.randint(TEXTS, (rows, BEHAVIOURS), generator=generator),
        torch.randint(ITEMS, (rows, BEHAVIOURS), generator=generator),
        torch.rand(rows, BEHAVIOURS, PAST_COLUMNS, generator=generator),
    )


def tables() -> tuple[torch.Tensor, torch.Tensor]:
    """Return text vectors and item vectors."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(TEXTS, 8, generator=generator), torch.randn(ITEMS, 32, generator=generator)


def test_an_untrained_network_scores_one_half() -> None:
    assert torch.equal(LateNetwork(SETTINGS).score(inputs(), *tables()), torch.full((3, 2), 0.5))


def test_absent_behaviours_do_not_count() -> None:
    one = inputs()
    absent = one._replace(past_text=one.past_text.clone())
    absent.past_text[:, -1] = -1
    other = absent._replace(past=absent.past.clone(), past_item=absent.past_item.clone())
    other.past[:, -1] = 9.0
    other.past_item[:, -1] = 0
    scored = [network().score(each, *tables()) for each in (one, absent, other)]
    assert torch.equal(scored[1], scored[2])
    assert not torch.equal(scored[0], scored[1])
    assert (network().attention(absent, *tables())[:, BEHAVIOURS - 1] == 0).all()


def test_an_empty_history_attends_to_nothing() -> None:
    empty = inputs()
    empty = empty._replace(past_text=torch.full_like(empty.past_text, -1))
    assert torch.equal(network().attention(empty, *tables())[:, -1], torch.ones(3))
    assert torch.isfinite(network().score(empty, *tables())).all()


def test_history_order_does_not_matter_but_its_gaps_do() -> None:
    one = inputs()
    order = torch.tensor([2, 0, 3, 1])
    moved = one._replace(
        past_text=one.past_text[:, order], past_item=one.past_item[:, order], past=one.past[:, order]
    )
    torch.testing.assert_close(network().score(moved, *tables()), network().score(one, *tables()))
    older = one._replace(
        past=one.past + torch.tensor([0.0, 0.0, 0.0, 5.0]) * torch.tensor([[[1.0], [0], [0], [0]]])
    )
    weights = network().attention(one, *tables()), network().attention(older, *tables())
    assert (weights[1][:, 0] < weights[0][:, 0]).all()


def test_a_row_scores_the_same_alone_and_in_a_batch() -> None:
    batch = inputs(rows=16)
    together = network().score(batch, *tables())
    for row in range(16):
        alone = LateInputs(*(part[row : row + 1] for part in batch))
        torch.testing.assert_close(network().score(alone, *tables())[0], together[row], atol=1e-6, rtol=1e-5)


def test_gradients_reach_only_vectors_of_target_and_history() -> None:
    rows = inputs(rows=1)._replace(
        text=torch.tensor([0]),
        past_text=torch.tensor([[1, 2, -1, 2]]),
        past_item=torch.tensor([[1, 1, 4, 2]]),
    )
    texts, items = (table.requires_grad_() for table in tables())
    loss = late_loss(network()(rows, texts, items), torch.ones(1), torch.ones(1), SETTINGS)
    (gradient,) = torch.autograd.grad(loss, texts)
    assert gradient.abs().sum(1).gt(0).tolist() == [True, True, True, False, False, False]


def test_vectors_initially_contribute_nothing() -> None:
    torch.manual_seed(0)
    made = LateNetwork(SETTINGS).eval()
    torch.nn.init.normal_(made.output.weight)
    one = inputs()
    assert torch.equal(made(one, *tables()), made(one, *tables(), numbers_only=True))


def test_each_weight_belongs_to_numbers_or_to_vectors() -> None:
    made = LateNetwork(SETTINGS)
    parts = [*made.numbers_parameters(), *made.vectors_parameters()]
    assert {id(part) for part in parts} == {id(part) for part in made.parameters()}
    assert len(parts) == len(list(made.parameters()))


def test_a_numbers_only_network_reads_no_vectors() -> None:
    alone = LateSettings(text_width=8, width=8, heads=2, tower=16, text=False, items=False, history=False)
    made, one = network(alone), inputs()
    assert torch.equal(made(one, *tables()), made(one, *tables(), numbers_only=True))


def test_a_disabled_input_changes_nothing() -> None:
    one, (texts, items) = inputs(), tables()
    off = LateSettings(text_width=8, width=8, heads=2, tower=16, text=False, items=False)
    scored = network(off).score(one, texts, items)
    assert torch.equal(scored, network(off).score(one, torch.randn(TEXTS, 8), torch.randn(ITEMS, 32)))
    without = LateSettings(text_width=8, width=8, heads=2, tower=16, history=False)
    assert torch.equal(
        network(without).score(one, texts, items),
        network(without).score(one._replace(past=one.past + 1), texts, items),
    )


def test_input_dropout_drops_at_most_one_input_per_row() -> None:
    made = network(LateSettings(text_width=8, width=8, heads=2, tower=16, input_dropout=0.5)).train()
    kept = made._input_mask(1000, torch.device("cpu"))[:, :, 0]
    assert set(kept.sum(0).tolist()) == {2.0, 3.0}
    assert (kept.mean(1) < 1).all()
    assert made.eval()._input_mask(1000, torch.device("cpu")).min() == 1


def test_unselected_columns_change_nothing() -> None:
    made = network(LateSettings(text_width=8, width=8, heads=2, tower=16, columns=(0, 3)))
    one = inputs()
    other = one._replace(numbers=one.numbers + torch.tensor([0.0, 1, 1] + [0.0] * (len(FEATURES) - 3)))
    assert torch.equal(made.score(one, *tables()), made.score(other, *tables()))


@pytest.mark.parametrize("loss", list(Loss))
def test_a_row_without_z_counts_in_the_first_term_only(loss: Loss) -> None:
    settings = LateSettings(loss=loss, lam=0.5)
    logits, y = torch.tensor([[0.3, -0.2], [1.0, 2.0]]), torch.tensor([1.0, 0.0])
    z = torch.tensor([0.75, float("nan")])
    p = torch.sigmoid(logits)
    if loss is Loss.MSE:
        first, second = (p[:, 0] - y) ** 2, (p[0, 1] - 0.75) ** 2
    else:
        first = -(y * p[:, 0].log() + (1 - y) * (1 - p[:, 0]).log())
        second = -(0.75 * p[0, 1].log() + 0.25 * (1 - p[0, 1]).log())
    expected = (first.sum() + 0.5 * second) / 2
    torch.testing.assert_close(late_loss(logits, y, z, settings), expected)


def test_a_loaded_checkpoint_scores_like_the_saved_network(tmp_path: Path) -> None:
    made = network(LateSettings(text_width=8, width=8, heads=2, tower=16, loss=Loss.MSE, columns=(1, 2, 5)))
    made.standardise_by(torch.randn(20, len(FEATURES)))
    late.save(made, tmp_path)
    again = late.load(tmp_path)
    assert again.settings == made.settings
    assert torch.equal(again.score(inputs(), *tables()), made.score(inputs(), *tables()))


def test_a_checkpoint_of_another_features_version_is_refused(tmp_path: Path) -> None:
    late.save(network(), tmp_path)
    path = tmp_path / late.SETTINGS_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"features_version": 0}))
    with pytest.raises(ModelIncompatible, match="features_version=0"):
        late.load(tmp_path)


def test_a_checkpoint_with_broken_weights_is_refused(tmp_path: Path) -> None:
    late.save(network(), tmp_path)
    (tmp_path / late.WEIGHTS_FILE).write_bytes(b"nothing")
    with pytest.raises(ModelIncompatible, match="not a checkpoint"):
        late.load(tmp_path)

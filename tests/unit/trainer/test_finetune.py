"""Fine-tuning the top layers on stored activations of the frozen ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import DistilBertConfig, DistilBertModel, ElectraConfig, ElectraModel, PreTrainedModel

from model import checkpoint
from model.batches import batches_of_similar_length, to_tensors
from model.network import NetworkSettings, TwoHeadedNetwork
from model.tokens import BehaviourTokenizer, EncodedText
from trainer.config import FinetuneConfig
from trainer.errors import TrainingRefused
from trainer.finetune import finetune
from trainer.grouped_batches import LengthGroupedBatches
from trainer.layers import TopNetwork, frozen_activations, layer_list
from trainer.loop import Run
from trainer.rows import ActivationRows, TextRows

FAST = FinetuneConfig(epochs=6, batch_rows=8, learning_rate=1e-3, heads_learning_rate=1e-2, dropout=0.0)


@pytest.fixture
def texts(tokenizer: BehaviourTokenizer) -> list[EncodedText]:
    """Sixty-four texts of different lengths. Every second one ends in a loved film."""
    history = tokenizer.words([f"watch Film {n} liked" for n in range(8)])
    good, bad = tokenizer.words(["watch wonderful delight", "watch terrible waste"])
    return [tokenizer.encode(history[: n % 7], good if n % 2 else bad) for n in range(64)]


@pytest.fixture
def labels() -> NDArray[np.float32]:
    """y depends on the film. z is the same, and unknown for every fifth text."""
    y = np.arange(64, dtype=np.float32) % 2
    z = np.where(np.arange(64) % 5, y, np.nan).astype(np.float32)
    return np.stack([y, z], axis=1)


def outputs_of(network: TwoHeadedNetwork, texts: list[EncodedText]) -> torch.Tensor:
    batch = to_tensors(texts, pad_id=0)
    with torch.inference_mode():
        outputs: torch.Tensor = network.eval()(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    return outputs


def assert_activations_match(network: TwoHeadedNetwork, texts: list[EncodedText]) -> None:
    """Assert that the top layers, given activations, return what the whole network returns, given ids."""
    for trained in range(1, len(layer_list(network.encoder)) + 1):
        activations = frozen_activations(network, texts, trained, pad_id=0, batch_tokens=100)
        with torch.inference_mode():
            top = TopNetwork(network, trained).eval()(**activations.padded(range(len(texts))))
        # Activations are stored in float16.
        assert torch.allclose(top, outputs_of(network, texts), atol=2e-3)


def test_the_top_layers_on_activations_equal_the_whole_network(
    tiny_network: TwoHeadedNetwork, texts: list[EncodedText]
) -> None:
    assert_activations_match(tiny_network, texts)
    # The original network keeps all its layers.
    assert len(layer_list(tiny_network.encoder)) == 2


@pytest.mark.parametrize("family", ["distilbert", "electra"])
def test_other_model_families_are_split(family: str, texts: list[EncodedText]) -> None:
    torch.manual_seed(0)
    encoder: PreTrainedModel
    if family == "distilbert":
        encoder = DistilBertModel(DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64))
    else:
        encoder = ElectraModel(  # type: ignore[no-untyped-call]
            ElectraConfig(
                embedding_size=16,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=64,
            )
        )
    network = TwoHeadedNetwork(encoder, NetworkSettings())
    torch.nn.init.normal_(network.heads.weight, std=0.1)
    assert_activations_match(network, texts)


def test_features_are_the_pooled_output(tiny_network: TwoHeadedNetwork, texts: list[EncodedText]) -> None:
    done: list[int] = []
    activations = frozen_activations(tiny_network, texts, 1, pad_id=0, batch_tokens=256, progress=done.append)
    features = torch.from_numpy(activations.features)
    assert torch.allclose(tiny_network.heads(features), outputs_of(tiny_network, texts), atol=1e-5)
    assert len(activations) == 64
    assert done == sorted(done)
    assert done[-1] == 64


def test_only_the_trained_layers_change(
    tiny_network: TwoHeadedNetwork, texts: list[EncodedText], labels: NDArray[np.float32]
) -> None:
    before = {name: value.clone() for name, value in tiny_network.named_parameters()}
    activations = frozen_activations(tiny_network, texts, 1, pad_id=0)
    steps: list[tuple[int, int]] = []
    run = Run(progress=lambda step, total, _loss: steps.append((step, total)))
    result = finetune(
        tiny_network, ActivationRows(activations, labels), replace(FAST, trained_layers=1), run=run
    )
    changed = {n for n, value in tiny_network.named_parameters() if not torch.equal(value, before[n])}
    assert changed
    assert all(name.startswith(("heads.", "encoder.encoder.layer.1.")) for name in changed)
    assert result.steps == 48
    assert steps == [(step, 48) for step in range(1, 49)]


def test_fine_tuning_learns(
    tiny_network: TwoHeadedNetwork, texts: list[EncodedText], labels: NDArray[np.float32]
) -> None:
    finetune(tiny_network, TextRows(texts, labels, pad_id=0), FAST)
    y_hat = outputs_of(tiny_network, texts)[:, 0].numpy()
    assert y_hat[1::2].min() > y_hat[::2].max()
    assert not tiny_network.training
    # The dropout of the checkpoint is restored.
    assert tiny_network.encoder.get_submodule("embeddings.dropout").p == 0.1


def test_the_same_seed_gives_the_same_weights(
    tiny_base: Path, texts: list[EncodedText], labels: NDArray[np.float32]
) -> None:
    found = []
    for seed in (3, 3, 4):
        network = checkpoint.from_base(tiny_base, NetworkSettings())
        activations = frozen_activations(network, texts, 1, pad_id=0)
        rows = ActivationRows(activations, labels)
        finetune(network, rows, FinetuneConfig(epochs=1, seed=seed, trained_layers=1))
        found.append(network.heads.weight.detach().clone())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_every_text_is_in_one_batch_of_an_epoch() -> None:
    tokens = np.arange(101, dtype=np.int64) % 30 + 1
    batches = LengthGroupedBatches(tokens, 8, seed=1)
    first, second = list(batches), list(batches)
    assert len(first) == len(batches) == 13
    assert sorted(row for batch in first for row in batch) == list(range(101))
    assert first != second
    assert list(LengthGroupedBatches(tokens, 8, seed=1)) == first
    assert np.mean([np.ptp(tokens[batch]) for batch in first]) < 4


def test_batches_of_similar_length_keep_to_the_budget() -> None:
    tokens = np.array([5, 90, 5, 40, 200, 7], dtype=np.int64)
    batches = batches_of_similar_length(tokens, 100)
    assert sorted(row for batch in batches for row in batch) == list(range(6))
    assert all(len(batch) == 1 or len(batch) * tokens[batch].max() <= 100 for batch in batches)


def test_invalid_knobs_are_refused(tiny_network: TwoHeadedNetwork, texts: list[EncodedText]) -> None:
    with pytest.raises(TrainingRefused, match="epochs=0"):
        FinetuneConfig(epochs=0)
    with pytest.raises(ValueError, match="trained_layers=3"):
        frozen_activations(tiny_network, texts, 3, pad_id=0)
    with pytest.raises(ValueError, match="Linear"):
        layer_list(torch.nn.Linear(1, 1))

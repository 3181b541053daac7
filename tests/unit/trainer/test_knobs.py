"""Each knob of a training has its documented effect."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model.network import TwoHeadedNetwork, two_head_loss
from model.text import split_history
from model.tokens import BehaviourTokenizer, EncodedText
from trainer.adversarial import FastGradient
from trainer.augment import Augmentation, augment_rows
from trainer.config import Pretraining, TrainingConfig
from trainer.dataset import Example
from trainer.errors import TrackingError
from trainer.pretrain import Vocabulary, pretrain
from trainer.rows import network_inputs
from trainer.tracking import tracking

RATES = "user likes 65 percent of many ; item liked by 40 percent of few"
HISTORY = f"{RATES} ; " + " ; ".join(f"watch film {number}" for number in range(12))
EXAMPLES = [Example(HISTORY, f"watch target {row}", 1.0, None, row) for row in range(40)]


@pytest.fixture
def texts(tokenizer: BehaviourTokenizer) -> list[EncodedText]:
    words = ["watch heat crime", "watch gigli comedy", "purchase lamp price 20", "rate alien rating 4"]
    return tokenizer.encode_texts([(f"view {words[n % 4]} liked", words[n % 4]) for n in range(40)])


def test_the_adversarial_step_raises_the_loss(
    tiny_network: TwoHeadedNetwork, texts: list[EncodedText]
) -> None:
    network = tiny_network.eval()
    inputs = network_inputs(texts[:8], 0)
    y = torch.tensor([0.0, 1.0] * 4)
    z = torch.full((8,), float("nan"))
    embedding = network.encoder.get_input_embeddings()
    gradient = FastGradient(embedding, 0.5)
    moved: list[torch.Tensor] = []
    with gradient.recording():
        clean = two_head_loss(network(**inputs), y, z, 0.5)
    clean.backward()  # type: ignore[no-untyped-call]
    before = embedding(inputs["input_ids"]).detach()
    with gradient.perturbing():
        hook = embedding.register_forward_hook(lambda _module, _inputs, output: moved.append(output.detach()))
        perturbed = two_head_loss(network(**inputs), y, z, 0.5)
        hook.remove()
    assert perturbed.item() > clean.item() + 1e-4
    assert torch.linalg.vector_norm(moved[0] - before, dim=(1, 2)).numpy() == pytest.approx(0.5, rel=1e-3)
    again = two_head_loss(network(**inputs), y, z, 0.5)
    # The perturbation is removed.
    assert again.item() == pytest.approx(clean.item(), abs=1e-6)


def test_pretraining_lowers_its_loss_on_unseen_texts(
    tiny_network: TwoHeadedNetwork, texts: list[EncodedText], minilm_dir: Path
) -> None:
    vocabulary = Vocabulary.from_folder(minilm_dir)
    few = Pretraining(epochs=1, learning_rate=1e-5, batch_rows=16, mask_share=0.3)
    many = Pretraining(epochs=12, learning_rate=5e-3, batch_rows=16, mask_share=0.3)
    before = pretrain(tiny_network, texts, vocabulary, few, seed=0).validation["valid_loss"]
    after = pretrain(tiny_network, texts, vocabulary, many, seed=0).validation["valid_loss"]
    # About the logarithm of the vocabulary's size, the loss of a random guess.
    assert before > 9
    assert after < 0.7 * before


def behaviours(augmentation: Augmentation, seed: int = 3) -> list[tuple[str, list[str], str]]:
    made = augment_rows(EXAMPLES, range(len(EXAMPLES)), augmentation, seed=seed)
    return [(*split_history(example.history), example.target) for example in made]


def is_subsequence(part: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(one in rest for one in part)


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(histories_dropped=0.5),
        Augmentation(cropped=0.5, crop_to=4),
        Augmentation(behaviours_dropped=0.3),
        Augmentation(reordered=0.3),
        Augmentation(histories_dropped=0.2, cropped=0.3, crop_to=4, behaviours_dropped=0.2, reordered=0.2),
    ],
    ids=["histories", "cropping", "dropping", "reordering", "all"],
)
def test_augmentation_adds_nothing_to_a_history(augmentation: Augmentation) -> None:
    _, whole = split_history(HISTORY)
    made = behaviours(augmentation)
    assert made == behaviours(augmentation)
    assert made != behaviours(augmentation, seed=4)
    assert [target for *_, target in made] == [example.target for example in EXAMPLES]
    assert {rates for rates, *_ in made} == {RATES}
    for _, kept, _ in made:
        assert len(set(kept)) == len(kept)
        assert set(kept) <= set(whole)
        if not augmentation.reordered:
            assert is_subsequence(kept, whole)
    assert any(kept != whole for _, kept, _ in made)


def test_crops_keep_the_newest_and_reordering_swaps_neighbours() -> None:
    _, whole = split_history(HISTORY)
    cropped = [kept for _, kept, _ in behaviours(Augmentation(cropped=1.0, crop_to=4))]
    assert all(kept == whole[-len(kept) :] and len(kept) <= 4 for kept in cropped)
    for _, kept, _ in behaviours(Augmentation(reordered=0.5)):
        assert sorted(kept) == sorted(whole)
        assert np.abs([kept.index(one) - place for place, one in enumerate(whole)]).max() <= 1


def test_weights_and_biases_is_opt_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if wandb were not installed.
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(TrackingError, match="wandb"), tracking(TrainingConfig(wandb=True), tmp_path):
        pass
    with tracking(TrainingConfig(wandb=False, tensorboard=True), tmp_path) as tracker:
        tracker.log("texts", {"loss": 0.5}, 1)
    assert list(tmp_path.rglob("events.out.tfevents.*"))

"""Version ids of configurations stay as they are, because a request that is read again finds its version by its id."""

import pytest

from model.late import Loss
from model.network import Pooling
from model.reading import Reading
from model.text import TextSettings
from trainer.augment import Augmentation
from trainer.config import LateTraining, Lora, Pretraining, TargetStage, TrainingConfig
from trainer.first_model import joint_config, late_config
from trainer.job import version_of

JOINT = TrainingConfig(
    lam=1,
    pooling=Pooling.MEAN,
    text=TextSettings(max_tokens=128, lowercase=True),
    kept_layers=4,
    pretraining=Pretraining(epochs=0.5, mask_share=0.2),
    targets=TargetStage(epochs=3, trained_layers=6, on_champion=True),
    heads_first=True,
    newest_texts=6_000,
    trained_layers=None,
    patience=2,
    augmentation=Augmentation(histories_dropped=0.5, crop_to=3),
    lora=Lora(rank=4, dropout=0.1),
    adversarial_epsilon=0.5,
    bf16=True,
    seed=7,
    threads=2,
    wandb_project="other",
)
LATE = TrainingConfig(
    reading=Reading.LATE, late=LateTraining(held_out=0.2, loss=Loss.MSE, trained_layers=2, champion_share=1)
)
FILE = {
    "reading": "late",
    "lam": 1,
    "epochs": 3,
    "pooling": "mean",
    "text": {"max_tokens": 128},
    "augmentation": {"cropped": 1},
    "late": {"epochs": 2, "loss": "mse", "weight_decay": 0},
}


@pytest.mark.parametrize(
    ("config", "version"),
    [
        (TrainingConfig(), "v-c5e4544487fe"),
        # Whole numbers given in code are hashed as such, those of a file as floats.
        (TrainingConfig(trained_layers=2, epochs=1), "v-3addb91b3e16"),
        (TrainingConfig(trained_layers=2, epochs=1.0), "v-beca1b239f39"),
        (
            TrainingConfig(trained_layers=2, epochs=1, learning_rate=2e-5, heads_learning_rate=1e-4),
            "v-2c9988f29b0a",
        ),
        (late_config(TextSettings()), "v-44f6b58d7e4c"),
        (joint_config(TextSettings()), "v-492a5cfb488d"),
        (JOINT, "v-03117ab40da2"),
        (LATE, "v-a5725af5fdb7"),
        (TrainingConfig.from_plain(FILE), "v-b126b016bc26"),
        (TrainingConfig.from_plain(JOINT.to_plain()), "v-bbf8ea4a8dcc"),
    ],
    ids=[
        "defaults",
        "sway train",
        "sway train --epochs 1",
        "sway trainer",
        "first late",
        "first joint",
        "joint",
        "late",
        "file",
        "read again",
    ],
)
def test_a_configuration_has_the_version_id_that_it_always_had(config: TrainingConfig, version: str) -> None:
    assert version_of("parent", "base", {"split": "80/10/10"}, config) == version

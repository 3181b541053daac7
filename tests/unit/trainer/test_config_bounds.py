"""What a configuration refuses: each knob by its name, with its value and what is allowed."""

import datetime
import re
from dataclasses import replace
from typing import Any

import pytest

from trainer.config import LateTraining, Lora, Pretraining, TargetStage, TrainingConfig
from trainer.errors import TrainingRefused


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ({"epochs": 0}, "epochs=0 must be above 0 and at most 1000"),
        ({"warmup": 1.0}, "warmup=1.0 must be at least 0 and below 1"),
        ({"lam": -1.0}, "lam=-1.0 must be 0 to 1000"),
        ({"lam": float("nan")}, "lam=nan must be 0 to 1000"),
        ({"targets": {"learning_rate": 2.0}}, "targets.learning_rate=2.0 must be 1e-05 to 1"),
        ({"late": {"held_out": 0.0}}, "late.held_out=0.0 must be above 0 and at most 0.5"),
        ({"late": {"loss": "mae"}}, "late.loss='mae' must be 'bce' or 'mse'"),
        ({"late": 3}, "late=3 must be an object"),
        ({"seed": 1.0}, "seed=1.0 must be a valid integer"),
        ({"seed": True}, "seed=True must be a valid integer"),
        ({"epochs": "2"}, "epochs='2' must be a valid number"),
        ({"bf16": 1}, "bf16=1 must be a valid boolean"),
        ({"text": {"max_tokens": "64"}}, "text.max_tokens='64' must be a valid integer"),
        ({"wandb_project": datetime.date(2026, 1, 2)}, "wandb_project=['2026-01-02'] must be a valid string"),
        ({"augmentation": {"cropped": 2}}, "augmentation: cropped=2.0 must be 0 to 1"),
        ({"lora": {"rang": 1}}, "no knob is called lora.rang; there are rank, alpha, dropout"),
        ({"late": {"layers": 1}}, "no knob is called late.layers; there are most_rows, "),
        ({"epochs": 0, "rate": 1}, "no knob is called rate; there are "),
        ({"late": {"heads": 5}}, "late.width=32 must be a multiple of late.heads=5"),
        (
            {"trained_layers": 2, "adversarial_epsilon": 1},
            "adversarial_epsilon=1.0 moves the word embeddings, ",
        ),
    ],
)
def test_a_file_is_refused_with_what_its_knob_may_be(plain: dict[str, Any], said: str) -> None:
    with pytest.raises(TrainingRefused, match=f"^{re.escape(said)}"):
        TrainingConfig.from_plain(plain)


@pytest.mark.parametrize(
    ("kind", "knob", "said"),
    [
        (LateTraining, {"epochs": 0}, "late.epochs=0 must be 1 to 1000"),
        (Lora, {"dropout": 1.0}, "lora.dropout=1.0 must be at least 0 and below 1"),
        (Pretraining, {"mask_share": 0.0}, "pretraining.mask_share=0.0 must be above 0 and at most 0.9"),
        (TargetStage, {"batch_rows": 0}, "targets.batch_rows=0 must be 1 to 65536"),
        (TrainingConfig, {"newest_texts": 0}, "newest_texts=0 must be 1 to 1e+09"),
    ],
)
def test_a_constructor_refuses_with_the_name_of_the_table(
    kind: type[Any], knob: dict[str, Any], said: str
) -> None:
    with pytest.raises(TrainingRefused, match=f"^{re.escape(said)}$"):
        kind(**knob)
    with pytest.raises(TrainingRefused, match=f"^{re.escape(said)}$"):
        replace(kind(), **knob)


def test_a_whole_number_is_a_float_in_a_file_alone() -> None:
    of_file, in_code = TrainingConfig.from_plain({"epochs": 1, "lam": 1}), TrainingConfig(epochs=1, lam=1)
    assert of_file == in_code
    assert (repr(of_file.epochs), repr(of_file.lam)) == ("1.0", "1.0")
    assert (repr(in_code.epochs), repr(in_code.lam)) == ("1", "1")

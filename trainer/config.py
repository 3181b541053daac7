"""Every knob of a training, with its bounds.

For counts and magnitudes (epochs, rank, epsilon, patience) zero turns the feature off, because TOML has no null.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Annotated, Any, Self

from pydantic import Field

from model.late import Loss
from model.network import Pooling
from model.reading import Reading
from model.text import TextSettings
from trainer.augment import Augmentation
from trainer.errors import TrainingRefused
from trainer.knobs import Number, read, table

MIN_LEARNING_RATE = 1e-5
"""With a lower rate a sentence encoder hardly changes within a few epochs of fine-tuning."""

_NOT_IN_THE_RESULT = ("tensorboard", "wandb", "wandb_project", "threads")
_LATER_KNOBS = ("reading", "late")

LearningRate = Annotated[Number, Field(ge=MIN_LEARNING_RATE, le=1)]
Share = Annotated[Number, Field(ge=0, le=1)]
ShareBelowOne = Annotated[Number, Field(ge=0, lt=1)]
OptionalEpochs = Annotated[Number, Field(ge=0, le=1000)]
UpTo1000 = Annotated[int, Field(ge=1, le=1000)]
BatchRows = Annotated[int, Field(ge=1, le=65536)]
LateRows = Annotated[int, Field(ge=1, le=1_000_000)]
Width = Annotated[int, Field(ge=1, le=4096)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]


@table("targets")
class TargetStage:
    """The first stage: learn from the distinct target texts, without their histories (trainer.targets).

    epochs: 0 skips the stage. on_champion: whether to run it from a Sway checkpoint too, which has learned its items
    already. trained_layers: the number of top layers; None for all.
    """

    epochs: OptionalEpochs = 5.0
    batch_rows: BatchRows = 32
    learning_rate: LearningRate = 1e-4
    trained_layers: UpTo1000 | None = None
    on_champion: bool = False


@table("lora")
class Lora:
    """Low-rank adapters on the trained layers' matrices, merged into the weights afterwards.

    rank: 0 trains the weights themselves.
    Source: E. Hu et al., 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
    """

    rank: Annotated[int, Field(ge=0, le=1024)] = 0
    alpha: Annotated[int, Field(ge=1, le=10_000)] = 16
    dropout: ShareBelowOne = 0.0


@table("pretraining")
class Pretraining:
    """Further pre-training by masked language modelling on behaviour texts, labelled or not.

    epochs: 0 skips the stage. mask_share: the share of tokens to predict.
    """

    epochs: OptionalEpochs = 0.0
    mask_share: Annotated[Number, Field(gt=0, le=0.9)] = 0.15
    learning_rate: LearningRate = 5e-5
    batch_rows: BatchRows = 32


@table("late")
class LateTraining:
    """How a late network is trained (trainer.late_job). The joint reading ignores it.

    most_rows: the maximum number of training examples; the newest are used. held_out: the newest share of them, for
    choosing the epoch and for calibration when there are no validation examples.
    behaviours: the number of newest behaviours of a window that attention reads. A late start keeps its own.
    item_fits: the number of times that item vectors are refitted along the examples. No row reads a vector that was
    fitted on its own label. most_items: the maximum size of the checkpoint's item table; items with the most outcomes
    are kept.
    unseen_share: the share of examples that are used a second time with their item treated as unseen.
    numbers_epochs, epochs: of the first stage, on numbers alone, and of the second stage, which adds vectors.
    learning_rate: the peak; champion_learning_rate: the peak when the start is a late checkpoint.
    champion_share: the weight of such a start's parameters in the average with the fitted ones; 0 keeps the fitted
    ones. There is no averaging when BERT is tuned.
    least_judges: the minimum number of validation users. With fewer, a training from a late start uses the validation
    examples as training examples, without early stopping or calibration.
    width, heads, tower: see model.late. A late start keeps its own.
    dropout, input_dropout, loss: see model.late.
    trained_layers: the number of BERT's top layers that are tuned through the attention; 0 freezes BERT.
    text_learning_rate: of these layers. group_rows: rows per pass of BERT when it is tuned.
    """

    most_rows: Annotated[int, Field(ge=2, le=10_000_000)] = 100_000
    held_out: Annotated[Number, Field(gt=0, le=0.5)] = 0.1
    behaviours: Annotated[int, Field(ge=1, le=10_000)] = 30
    item_fits: UpTo1000 = 16
    most_items: Annotated[int, Field(ge=0, le=100_000_000)] = 200_000
    unseen_share: Share = 0.2
    numbers_epochs: UpTo1000 = 12
    epochs: UpTo1000 = 4
    batch_rows: LateRows = 512
    learning_rate: LearningRate = 2e-3
    champion_learning_rate: LearningRate = 1e-3
    champion_share: Share = 0.5
    least_judges: Annotated[int, Field(ge=0, le=1_000_000)] = 50
    weight_decay: Share = 0.01
    width: Width = 32
    heads: Width = 4
    tower: Width = 64
    dropout: ShareBelowOne = 0.1
    input_dropout: ShareBelowOne = 0.1
    loss: Loss = Loss.BCE
    trained_layers: Annotated[int, Field(ge=0, le=1000)] = 0
    text_learning_rate: LearningRate = 3e-4
    group_rows: LateRows = 16_384

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise TrainingRefused(f"late.width={self.width} must be a multiple of late.heads={self.heads}")


@table()
class FinetuneConfig:
    """How layers are fine-tuned with the two-head loss.

    learning_rate: of the encoder, at its peak; heads_learning_rate: of the heads. warmup: share of the steps.
    batch_rows: rows per step and process. dropout: in the trained layers. trained_layers: the number of top layers to
    train, on cached activations of the frozen layers below; None for all, from token ids. patience: stop after this
    many consecutive evaluations without a lower validation loss and keep the best weights; 0 never stops early.
    evaluations_per_epoch: also the number of checkpoints per epoch. adversarial_epsilon: the norm of the FGM
    perturbation of a text's word embeddings; 0 for none. bf16: run forward passes in bfloat16. seed: of the row order
    and dropout.
    Raises TrainingRefused for a knob out of bounds, and for knobs that exclude each other.
    """

    epochs: Annotated[Number, Field(gt=0, le=1000)] = 2.0
    batch_rows: BatchRows = 16
    learning_rate: LearningRate = 1e-4
    heads_learning_rate: LearningRate = 1e-3
    warmup: ShareBelowOne = 0.1
    weight_decay: Share = 0.01
    dropout: ShareBelowOne = 0.1
    max_grad_norm: Annotated[Number, Field(gt=0, le=1_000_000)] = 1.0
    trained_layers: Count | None = None
    patience: Annotated[int, Field(ge=0, le=1000)] = 0
    evaluations_per_epoch: UpTo1000 = 2
    adversarial_epsilon: Annotated[Number, Field(ge=0, le=1000)] = 0.0
    bf16: bool = False
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0

    def __post_init__(self) -> None:
        if self.adversarial_epsilon and self.trained_layers is not None:
            raise TrainingRefused(
                f"adversarial_epsilon={self.adversarial_epsilon} moves the word embeddings, and "
                f"trained_layers={self.trained_layers} works from cached activations above them: leave one out"
            )


@table()
class TrainingConfig(FinetuneConfig):
    """How a model is trained.

    reading: None keeps the start's reading. For a plain checkpoint it is late if the examples carry snapshots, else
    joint.
    late: knobs of the late reading. All knobs below are of the joint reading, except those in
    trainer.knob_readings.OF_BOTH.

    Model. lam: the weight of the affinity; None keeps the start's value, or 0.5 for a plain checkpoint. pooling, text,
    kept_layers (the number of lowest encoder layers to keep): only for a plain Hugging Face checkpoint; a Sway
    checkpoint has its own.

    Stages, in order: pretraining, targets, whole texts. heads_first: whether to fit the heads in closed form before the
    first fine-tuning; None does so if they are untrained. newest_texts: the number of newest whole texts to learn from;
    None for all.

    Fine-tuning on whole texts: see FinetuneConfig. seed: of all stages, and of both readings.

    threads: of the CPU; None keeps torch's default.
    Raises TrainingRefused for a knob out of bounds, and for knobs that exclude each other.
    """

    reading: Reading | None = None
    late: LateTraining = field(default_factory=LateTraining)

    lam: Annotated[Number, Field(ge=0, le=1000)] | None = None
    pooling: Pooling | None = None
    text: TextSettings | None = None
    kept_layers: Count | None = None

    pretraining: Pretraining = field(default_factory=Pretraining)
    targets: TargetStage = field(default_factory=TargetStage)
    heads_first: bool | None = None
    newest_texts: Count | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    lora: Lora = field(default_factory=Lora)

    threads: Count | None = None
    tensorboard: bool = True
    wandb: bool = False
    wandb_project: str = "sway"

    def to_plain(self) -> dict[str, Any]:
        """Return the configuration as JSON-compatible values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return the configuration from to_plain() output or a TOML table. Missing knobs take their defaults.

        Raises TrainingRefused for a knob that is unknown, of the wrong type, or out of bounds.
        """
        return read(cls, plain)

    def identity(self) -> dict[str, Any]:
        """Return the knobs that determine the result: all but tracking and threads.

        Knobs of later releases are omitted while they have their default values, so that version ids stay the same.
        """
        plain, defaults = self.to_plain(), type(self)().to_plain()
        omitted = {name for name in _LATER_KNOBS if plain[name] == defaults[name]}
        return {name: value for name, value in plain.items() if name not in {*_NOT_IN_THE_RESULT, *omitted}}

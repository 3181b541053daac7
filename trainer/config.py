"""Every knob of a training, in one frozen dataclass that checks its bounds.

For counts and magnitudes (epochs, rank, epsilon, patience) zero turns the feature off, because TOML has no null.
"""

import json
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from enum import StrEnum
from typing import Any, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from model.late import Loss
from model.network import Pooling
from model.reading import Reading
from model.text import TextSettings
from trainer.augment import Augmentation
from trainer.errors import TrainingRefused

MIN_LEARNING_RATE = 1e-5
"""With a lower rate a sentence encoder hardly changes within a few epochs of fine-tuning."""

_NOT_IN_THE_RESULT = ("tensorboard", "wandb", "wandb_project", "threads")
_LATER_KNOBS = ("reading", "late")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TargetStage:
    """The first stage: learn from the distinct target texts, without their histories (trainer.targets).

    epochs: 0 skips the stage. on_champion: whether to run it from a Sway checkpoint too, which has learned its items
    already. trained_layers: the number of top layers; None for all.
    """

    epochs: float = 5.0
    batch_rows: int = 32
    learning_rate: float = 1e-4
    trained_layers: int | None = None
    on_champion: bool = False

    def __post_init__(self) -> None:
        _within("targets.epochs", self.epochs, 0, 1000)
        _within("targets.batch_rows", self.batch_rows, 1, 65536)
        _within("targets.learning_rate", self.learning_rate, MIN_LEARNING_RATE, 1)
        if self.trained_layers is not None:
            _within("targets.trained_layers", self.trained_layers, 1, 1000)


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank adapters on the trained layers' matrices, merged into the weights afterwards.

    rank: 0 trains the weights themselves.
    Source: E. Hu et al., 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
    """

    rank: int = 0
    alpha: int = 16
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _within("lora.rank", self.rank, 0, 1024)
        _within("lora.alpha", self.alpha, 1, 10_000)
        _below("lora.dropout", self.dropout, 0, 1)


@dataclass(frozen=True, slots=True)
class Pretraining:
    """Further pre-training by masked language modelling on behaviour texts, labelled or not.

    epochs: 0 skips the stage. mask_share: the share of tokens to predict.
    """

    epochs: float = 0.0
    mask_share: float = 0.15
    learning_rate: float = 5e-5
    batch_rows: int = 32

    def __post_init__(self) -> None:
        _within("pretraining.epochs", self.epochs, 0, 1000)
        _above("pretraining.mask_share", self.mask_share, 0, 0.9)
        _within("pretraining.learning_rate", self.learning_rate, MIN_LEARNING_RATE, 1)
        _within("pretraining.batch_rows", self.batch_rows, 1, 65536)


@dataclass(frozen=True, slots=True)
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

    most_rows: int = 100_000
    held_out: float = 0.1
    behaviours: int = 30
    item_fits: int = 16
    most_items: int = 200_000
    unseen_share: float = 0.2
    numbers_epochs: int = 12
    epochs: int = 4
    batch_rows: int = 512
    learning_rate: float = 2e-3
    champion_learning_rate: float = 1e-3
    champion_share: float = 0.5
    least_judges: int = 50
    weight_decay: float = 0.01
    width: int = 32
    heads: int = 4
    tower: int = 64
    dropout: float = 0.1
    input_dropout: float = 0.1
    loss: Loss = Loss.BCE
    trained_layers: int = 0
    text_learning_rate: float = 3e-4
    group_rows: int = 16_384

    def __post_init__(self) -> None:
        _within("late.most_rows", self.most_rows, 2, 10_000_000)
        _above("late.held_out", self.held_out, 0, 0.5)
        _within("late.behaviours", self.behaviours, 1, 10_000)
        for name in ("item_fits", "numbers_epochs", "epochs"):
            _within(f"late.{name}", getattr(self, name), 1, 1000)
        _within("late.most_items", self.most_items, 0, 100_000_000)
        _within("late.unseen_share", self.unseen_share, 0, 1)
        for name in ("batch_rows", "group_rows"):
            _within(f"late.{name}", getattr(self, name), 1, 1_000_000)
        for name in ("learning_rate", "champion_learning_rate", "text_learning_rate"):
            _within(f"late.{name}", getattr(self, name), MIN_LEARNING_RATE, 1)
        _within("late.weight_decay", self.weight_decay, 0, 1)
        _within("late.champion_share", self.champion_share, 0, 1)
        _within("late.least_judges", self.least_judges, 0, 1_000_000)
        for name in ("width", "heads", "tower"):
            _within(f"late.{name}", getattr(self, name), 1, 4096)
        if self.width % self.heads:
            raise TrainingRefused(f"late.width={self.width} must be a multiple of late.heads={self.heads}")
        _below("late.dropout", self.dropout, 0, 1)
        _below("late.input_dropout", self.input_dropout, 0, 1)
        _within("late.trained_layers", self.trained_layers, 0, 1000)


@dataclass(frozen=True, slots=True)
class TrainingConfig:
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

    Fine-tuning on whole texts. learning_rate: of the encoder, at its peak. warmup: share of the steps. batch_rows:
    texts per step and process. trained_layers: the number of top layers to train, on cached activations of the frozen
    layers below; None for all. patience: stop after this many consecutive evaluations without a lower validation loss
    and keep the best weights; 0 never stops early. evaluations_per_epoch: also the number of checkpoints per epoch.
    adversarial_epsilon: the norm of the FGM perturbation of a text's word embeddings; 0 for none. bf16: run forward
    passes in bfloat16.

    threads: of the CPU; None keeps torch's default.
    Raises TrainingRefused for a knob out of bounds, and for knobs that exclude each other.
    """

    reading: Reading | None = None
    late: LateTraining = field(default_factory=LateTraining)

    lam: float | None = None
    pooling: Pooling | None = None
    text: TextSettings | None = None
    kept_layers: int | None = None

    pretraining: Pretraining = field(default_factory=Pretraining)
    targets: TargetStage = field(default_factory=TargetStage)
    heads_first: bool | None = None
    newest_texts: int | None = None

    epochs: float = 2.0
    batch_rows: int = 16
    learning_rate: float = 1e-4
    heads_learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.1
    max_grad_norm: float = 1.0
    trained_layers: int | None = None
    patience: int = 0
    evaluations_per_epoch: int = 2
    augmentation: Augmentation = field(default_factory=Augmentation)
    lora: Lora = field(default_factory=Lora)
    adversarial_epsilon: float = 0.0
    bf16: bool = False

    seed: int = 0
    threads: int | None = None
    tensorboard: bool = True
    wandb: bool = False
    wandb_project: str = "sway"

    def __post_init__(self) -> None:
        if self.lam is not None:
            _within("lam", self.lam, 0, 1000)
        for name in ("kept_layers", "newest_texts", "trained_layers", "threads"):
            if getattr(self, name) is not None:
                _within(name, getattr(self, name), 1, 1_000_000_000)
        _above("epochs", self.epochs, 0, 1000)
        _within("batch_rows", self.batch_rows, 1, 65536)
        _within("learning_rate", self.learning_rate, MIN_LEARNING_RATE, 1)
        _within("heads_learning_rate", self.heads_learning_rate, MIN_LEARNING_RATE, 1)
        _below("warmup", self.warmup, 0, 1)
        _within("weight_decay", self.weight_decay, 0, 1)
        _below("dropout", self.dropout, 0, 1)
        _above("max_grad_norm", self.max_grad_norm, 0, 1_000_000)
        _within("patience", self.patience, 0, 1000)
        _within("evaluations_per_epoch", self.evaluations_per_epoch, 1, 1000)
        _within("adversarial_epsilon", self.adversarial_epsilon, 0, 1000)
        _within("seed", self.seed, 0, 2**32 - 1)
        if self.adversarial_epsilon and self.trained_layers is not None:
            raise TrainingRefused(
                f"adversarial_epsilon={self.adversarial_epsilon} moves the word embeddings, and "
                f"trained_layers={self.trained_layers} works from cached activations above them: leave one out"
            )

    def to_plain(self) -> dict[str, Any]:
        """Return the configuration as JSON-compatible values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return the configuration from to_plain() output or a TOML table. Missing knobs take their defaults.

        Raises TrainingRefused for a knob that is unknown, of the wrong type, or out of bounds.
        """
        return _read(cls, plain, "")

    def identity(self) -> dict[str, Any]:
        """Return the knobs that determine the result: all but tracking and threads.

        Knobs of later releases are omitted while they have their default values, so that version ids stay the same.
        """
        plain, defaults = self.to_plain(), type(self)().to_plain()
        omitted = {name for name in _LATER_KNOBS if plain[name] == defaults[name]}
        return {name: value for name, value in plain.items() if name not in {*_NOT_IN_THE_RESULT, *omitted}}


def _read(kind: type[T], plain: Mapping[str, Any], path: str) -> T:
    known = get_type_hints(kind)
    names = [knob.name for knob in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(plain) - set(names))
    if unknown:
        raise TrainingRefused(f"no knob is called {path}{unknown[0]}; there are {', '.join(names)}")
    values = {name: _value(known[name], value, path + name) for name, value in plain.items()}
    try:
        return kind(**values)
    except ValueError as exc:
        raise TrainingRefused(f"{path.rstrip('.') or 'the configuration'}: {exc}") from exc


def _value(kind: Any, value: Any, path: str) -> Any:
    if get_origin(kind) in {Union, types.UnionType}:
        if value is None:
            return None
        kind = next(part for part in get_args(kind) if part is not types.NoneType)
    if is_dataclass(kind) and isinstance(value, Mapping):
        return _read(kind, value, f"{path}.")  # type: ignore[arg-type]
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        if value in list(kind):
            return kind(value)
        raise TrainingRefused(f"{path}={value!r} must be one of {', '.join(kind)}")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise TrainingRefused(f"{path}={value!r} must be of the type {getattr(kind, '__name__', kind)}")
    return value


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise TrainingRefused(f"{name}={value} must be {least:g} to {most:g}")


def _above(name: str, value: float, limit: float, most: float) -> None:
    if not limit < value <= most:
        raise TrainingRefused(f"{name}={value} must be above {limit:g} and at most {most:g}")


def _below(name: str, value: float, least: float, limit: float) -> None:
    if not least <= value < limit:
        raise TrainingRefused(f"{name}={value} must be at least {least:g} and below {limit:g}")

"""Every knob of a training, in one frozen value with its bounds checked.

Zero turns a part off where the part is a number of times (epochs, rank, epsilon, patience), so that a TOML
file, which knows no null, can say so too.
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

LEAST_LEARNING_RATE = 1e-5
"""Below it fine-tuning a sentence encoder hardly moves in the few epochs that are usual."""

_NOT_IN_THE_RESULT = ("tensorboard", "wandb", "wandb_project", "threads")
_LATER_KNOBS = ("reading", "late")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TargetStage:
    """The first stage, on the distinct behaviours being scored alone (trainer.targets).

    epochs: 0 leaves it out. on_champion: whether it is also done when a Sway checkpoint is the start, which
    has learned its items already. trained_layers: None for all.
    """

    epochs: float = 5.0
    batch_rows: int = 32
    learning_rate: float = 1e-4
    trained_layers: int | None = None
    on_champion: bool = False

    def __post_init__(self) -> None:
        _within("targets.epochs", self.epochs, 0, 1000)
        _within("targets.batch_rows", self.batch_rows, 1, 65536)
        _within("targets.learning_rate", self.learning_rate, LEAST_LEARNING_RATE, 1)
        if self.trained_layers is not None:
            _within("targets.trained_layers", self.trained_layers, 1, 1000)


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank adapters on the trained layers' matrices, merged into the weights afterwards.

    rank: 0 trains the weights themselves. Source: E. Hu et al., 2021, "LoRA: Low-Rank Adaptation of Large
    Language Models".
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
    """Further pre-training by masked language modelling on behaviour text, labelled or not.

    epochs: 0 leaves it out. mask_share: of the tokens that are to be guessed.
    """

    epochs: float = 0.0
    mask_share: float = 0.15
    learning_rate: float = 5e-5
    batch_rows: int = 32

    def __post_init__(self) -> None:
        _within("pretraining.epochs", self.epochs, 0, 1000)
        _above("pretraining.mask_share", self.mask_share, 0, 0.9)
        _within("pretraining.learning_rate", self.learning_rate, LEAST_LEARNING_RATE, 1)
        _within("pretraining.batch_rows", self.batch_rows, 1, 65536)


@dataclass(frozen=True, slots=True)
class LateTraining:
    """How a late network is trained (trainer.late_job); the joint reading has no use for it.

    most_rows: learn from so many examples at most, the newest. held_out: the newest share of them, which chooses the
    epoch and calibrates where there are no validation examples.
    behaviours: of a window, the newest, that attention reads; a late checkpoint that is the start keeps its own.
    item_fits: how often item vectors are fitted anew along the examples; no row reads one that was fitted on its own
    label. most_items: of the checkpoint's table, those with most outcomes.
    unseen_share: of the examples, learned from a second time with their item as if nobody had met it.
    numbers_epochs, epochs: of the first stage, numbers alone, and of the second, what vectors add.
    learning_rate: at its peak; champion_learning_rate: where a late checkpoint is the start.
    champion_share: of such a start's weights, in the mean with those fitted that is kept; 0 keeps those fitted. Where
    BERT is tuned there is no such mean.
    least_judges: with fewer users among the validation examples, a late start is neither stopped early nor calibrated
    by them, and they are learned from.
    width, heads, tower: see model.late; a late checkpoint that is the start keeps its own.
    dropout, input_dropout, loss: see model.late.
    trained_layers: the top so many of BERT are tuned through the attention; 0 leaves BERT as it is.
    text_learning_rate: of these layers; group_rows: rows to each of its passes.
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
            _within(f"late.{name}", getattr(self, name), LEAST_LEARNING_RATE, 1)
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

    reading: None keeps that of the start; on a plain checkpoint it is late if the examples carry snapshots, else joint.
    late: of the late reading. All below but lam, pooling, text, kept_layers, seed and what follows it is of the joint
    reading.

    Of the model. lam: the weight of the affinity; None keeps the start's own, or 0.5 on a plain checkpoint.
    pooling, text, kept_layers (of the encoder, the lowest): only where the start is a plain Hugging Face
    checkpoint; a Sway checkpoint has its own.

    Of the stages. pretraining; targets; then whole texts. heads_first: whether the heads are fitted in closed
    form before the first of them is fine-tuned; None does so where they are untrained.
    newest_texts: how many whole texts, the newest, are learned from; None for all.

    Of fine-tuning on whole texts. learning_rate: of the encoder, at its peak. warmup: share of the steps.
    batch_rows: texts a step and process. trained_layers: the top k, on cached activations of the frozen ones
    below; None for all. patience: how many evaluations in a row without a lower loss on the validation examples
    end the training, and the best is kept; 0 never ends early. evaluations_per_epoch: also how often a
    checkpoint is written. adversarial_epsilon: length of FGM's step on a text's word embeddings, 0 for none.
    bf16: forward passes in bfloat16.

    threads: of the CPU; None leaves torch's own number.
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
        _within("learning_rate", self.learning_rate, LEAST_LEARNING_RATE, 1)
        _within("heads_learning_rate", self.heads_learning_rate, LEAST_LEARNING_RATE, 1)
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
        """Return the configuration as JSON has it."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Read what to_plain() gave, or a TOML table; what is left out has its default.

        Raises TrainingRefused for a knob that is unknown, of another type, or out of bounds.
        """
        return _read(cls, plain, "")

    def identity(self) -> dict[str, Any]:
        """Return what the result depends on: everything but tracking and threads.

        Knobs that came later are left out while they have their defaults, so that versions keep their names.
        """
        plain, usual = self.to_plain(), type(self)().to_plain()
        unsaid = {name for name in _LATER_KNOBS if plain[name] == usual[name]}
        return {name: value for name, value in plain.items() if name not in {*_NOT_IN_THE_RESULT, *unsaid}}


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

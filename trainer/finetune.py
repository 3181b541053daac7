"""Fine-tuning with the two-head loss, by Hugging Face's Trainer.

Either all layers, from token ids, or the top k, from cached activations of the frozen ones below.

Source: DESIGN section 8; the loss, section 6.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from model.batches import to_tensors
from model.network import TwoHeadedNetwork, two_head_loss
from model.tokens import EncodedText
from trainer.layers import Activations, TopNetwork

Collate = Callable[[Sequence[int]], dict[str, Tensor]]


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """Knobs of fine-tuning.

    learning_rate: of the encoder's layers, at its peak; heads_learning_rate: of the heads.
    warmup: share of the steps. dropout: in the trained layers. seed: of order and dropout.
    """

    epochs: float = 2.0
    batch_rows: int = 16
    learning_rate: float = 1e-4
    heads_learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.1
    max_grad_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_rows", "learning_rate", "heads_learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")


@dataclass(frozen=True, slots=True)
class FinetuneResult:
    """steps: of the optimiser; loss: its mean over all of them."""

    steps: int
    loss: float


def finetune_top(
    network: TwoHeadedNetwork,
    activations: Activations,
    labels: NDArray[np.float32],
    trained_layers: int,
    config: FinetuneConfig,
    *,
    weights: NDArray[np.float32] | None = None,
    progress: Callable[[int, int], None] = lambda _step, _steps: None,
) -> FinetuneResult:
    """Train the top layers and the heads, in place, on cached activations.

    labels: float32 (N, 2), NaN where z is not known. weights: float32 (N,), how many examples each row stands
    for. progress: called with step and steps.
    """
    tokens = np.diff(activations.starts)
    relative = None if weights is None else torch.from_numpy(weights / weights.mean())

    def collate(rows: Sequence[int]) -> dict[str, Tensor]:
        batch = {**activations.padded(rows), "labels": torch.from_numpy(labels[list(rows)])}
        return batch if relative is None else {**batch, "weights": relative[list(rows)]}

    return _train(network, TopNetwork(network, trained_layers), collate, tokens, config, progress)


def finetune_all(
    network: TwoHeadedNetwork,
    texts: Sequence[EncodedText],
    labels: NDArray[np.float32],
    config: FinetuneConfig,
    *,
    pad_id: int,
    progress: Callable[[int, int], None] = lambda _step, _steps: None,
) -> FinetuneResult:
    """Train the whole network, in place, on encoded texts; labels and progress as in finetune_top."""
    tokens = np.array([text.tokens for text in texts], dtype=np.int64)

    def collate(rows: Sequence[int]) -> dict[str, Tensor]:
        batch = to_tensors([texts[row] for row in rows], pad_id=pad_id)
        return {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "token_type_ids": batch.token_type_ids,
            "labels": torch.from_numpy(labels[list(rows)]),
        }

    return _train(network, network, collate, tokens, config, progress)


class LengthGroupedBatches(Sampler[list[int]]):
    """Shuffled batches of texts of similar length; another order every epoch, the same for the same seed."""

    _WINDOW_BATCHES = 50  # sorted by length within so many batches' worth of shuffled texts

    def __init__(self, tokens: NDArray[np.int64], batch_rows: int, seed: int) -> None:
        self._tokens = tokens
        self._rows = batch_rows
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-len(self._tokens) // self._rows)

    def __iter__(self) -> Iterator[list[int]]:
        order = self._random.permutation(len(self._tokens))
        batches: list[list[int]] = []
        for start in range(0, len(order), self._rows * self._WINDOW_BATCHES):
            window = order[start : start + self._rows * self._WINDOW_BATCHES]
            window = window[np.argsort(-self._tokens[window], kind="stable")]
            batches += [window[i : i + self._rows].tolist() for i in range(0, len(window), self._rows)]
        for index in self._random.permutation(len(batches)):
            yield batches[index]


class _TwoHeadTrainer(Trainer):
    """The library's Trainer with our loss, our batches and one learning rate for the heads."""

    def __init__(
        self,
        *,
        lam: float,
        heads: nn.Linear,
        config: FinetuneConfig,
        tokens: NDArray[np.int64],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._lam = lam
        self._trained: nn.Module = kwargs["model"]
        self._heads = heads
        self._config = config
        self._tokens = tokens

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Tensor:
        labels = inputs.pop("labels")
        weights = inputs.pop("weights", None)
        return two_head_loss(model(**inputs), labels[:, 0], labels[:, 1], self._lam, weights)

    def get_train_dataloader(self) -> DataLoader[int]:
        batches = LengthGroupedBatches(self._tokens, self._config.batch_rows, self._config.seed)
        loader = DataLoader(
            self.train_dataset,  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=self.data_collator,
        )
        prepared: DataLoader[int] = self.accelerator.prepare(loader)
        return prepared

    def create_optimizer(self, *_: Any, **__: Any) -> torch.optim.Optimizer:
        config = self._config
        heads = set(self._heads.parameters())
        layers = [p for p in self._trained.parameters() if p.requires_grad and p not in heads]
        decayed = [p for p in layers if p.ndim > 1]
        plain = [p for p in layers if p.ndim <= 1]  # biases and LayerNorm
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "lr": config.learning_rate, "weight_decay": config.weight_decay},
                {"params": plain, "lr": config.learning_rate, "weight_decay": 0.0},
                {"params": list(heads), "lr": config.heads_learning_rate, "weight_decay": 0.0},
            ],
            fused=True,  # one pass over the parameters: 9 ms a step in place of 65 for 10 million on a CPU
        )
        return self.optimizer


class _Report(TrainerCallback):
    """Passes each step on; the library's own output stays off."""

    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self._progress = progress

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 -- the library names them
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        self._progress(state.global_step, state.max_steps)


def _train(
    network: TwoHeadedNetwork,
    trained: nn.Module,
    collate: Collate,
    tokens: NDArray[np.int64],
    config: FinetuneConfig,
    progress: Callable[[int, int], None],
) -> FinetuneResult:
    before = _set_dropout(trained, config.dropout)
    with tempfile.TemporaryDirectory(prefix="sway-finetune-") as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            num_train_epochs=config.epochs,
            per_device_train_batch_size=config.batch_rows,
            learning_rate=config.learning_rate,
            warmup_steps=config.warmup,
            lr_scheduler_type="linear",
            max_grad_norm=config.max_grad_norm,
            seed=config.seed,
            use_cpu=network.device.type == "cpu",
            dataloader_pin_memory=network.device.type != "cpu",
            remove_unused_columns=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = _TwoHeadTrainer(
            model=trained,
            args=arguments,
            train_dataset=range(len(tokens)),
            data_collator=collate,
            callbacks=[_Report(progress)],
            lam=network.settings.lam,
            heads=network.heads,
            config=config,
            tokens=tokens,
        )
        trainer.remove_callback(PrinterCallback)  # it prints the last figures whatever the strategy
        result = trainer.train()
    for module, p in before:
        module.p = p
    network.eval()
    return FinetuneResult(result.global_step, float(result.training_loss))


def _set_dropout(trained: nn.Module, p: float) -> list[tuple[nn.Dropout, float]]:
    """Set every dropout; return what each was, so that the checkpoint keeps its own configuration."""
    found = [module for module in trained.modules() if isinstance(module, nn.Dropout)]
    before = [(module, module.p) for module in found]
    for module in found:
        module.p = p
    return before

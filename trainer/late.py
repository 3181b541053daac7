"""Fit a late network in two stages: the part that reads numbers, then the part that reads vectors.

The second stage freezes the first, and its output starts at zero. The best epoch is kept, so if no epoch of the second
stage has a lower validation loss, the result uses numbers only. A fit from an earlier network keeps that network if no
epoch is better. A fit with a state file resumes after its last complete epoch.

Text vectors are either fixed, or BERT is tuned through the attention, with few large passes. For each group of rows,
BERT encodes the distinct texts once, the network learns from them in small batches while the gradients of the vectors
accumulate, and BERT runs again in parts to backpropagate the sum.

Source: L. Gao et al., 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (the gradient
cache).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.late import LateInputs, LateNetwork, LateSettings, late_loss
from model.metrics import log_loss
from trainer.late_batches import LateRows, own_tables

_SCORED_ROWS = 2_048


@dataclass(frozen=True, slots=True)
class LateConfig:
    """How a late network is fitted, by AdamW with one cycle of the learning rate in each stage.

    The values of one fit; trainer.config.LateTraining documents the knobs that they come from. epochs may be 0, and
    behaviours is None for all.
    """

    network: LateSettings = field(default_factory=LateSettings)
    numbers_epochs: int = 12
    epochs: int = 4
    batch_rows: int = 512
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    seed: int = 0
    group_rows: int = 8_192
    text_learning_rate: float = 1e-4
    behaviours: int | None = None


class TextEncoder(Protocol):
    """An encoder of the distinct texts of a data set, which texts are referred to by index."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that are tuned."""
        ...

    def encode(self, texts: NDArray[np.int64]) -> Tensor:
        """Return the vectors of some texts, float32 (n, d), with their graph if gradients are enabled."""
        ...

    def parts(self, texts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Split texts, in any order, into parts that fit in memory with their graphs."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LateFit:
    """The best network on the validation rows, its text vectors, (U, d), and its log-loss there.

    epochs: the loss after each epoch, preceded by that of the start, if there was one.
    """

    network: LateNetwork
    texts: Tensor
    valid_loss: float
    epochs: tuple[float, ...]


def fit_late(
    rows: LateRows,
    train: NDArray[np.int64],
    valid: NDArray[np.int64] | None,
    config: LateConfig,
    *,
    encoder: TextEncoder | None = None,
    start: LateNetwork | None = None,
    state_file: Path | None = None,
    progress: Callable[[int, int, float], None] = lambda _epoch, _of, _loss: None,
    on_step: Callable[[], None] = lambda: None,
) -> LateFit:
    """Fit on the training rows and keep the epoch with the lowest log-loss of y on the validation rows.

    train, valid: int64, row indices. With valid None the last epoch is kept, and losses are NaN.
    encoder: BERT, tuned in place and left in the state of the best epoch; None keeps rows.texts fixed.
    start: the network to continue from; its settings equal config.network except for lam, loss and dropout.
    state_file: written after each epoch. If it exists, the fit resumes from it.
    progress: called after each epoch with its number, the number of epochs and the validation loss. on_step: called
    after each step; an exception from it ends the fit.
    """
    torch.manual_seed(config.seed)
    network = LateNetwork(config.network)
    fit = _Fit(network, rows, train, valid, config, encoder)
    if start is None:
        network.standardise_by(rows.inputs.numbers[train])
    else:
        network.load_state_dict(start.state_dict())
        fit.best.judge(rows.texts)
    if state_file is not None and state_file.is_file():
        fit.resume(state_file)
    while fit.done < fit.epochs:
        loss = fit.epoch(on_step)
        if state_file is not None:
            fit.save(state_file)
        progress(fit.done, fit.epochs, loss)
    fit.best.restore()
    return LateFit(network.eval(), fit.best.texts, fit.best.loss, tuple(fit.best.losses))


class _Fit:
    """The state of a fit: the completed epochs, the current stage and the best network so far."""

    def __init__(
        self,
        network: LateNetwork,
        rows: LateRows,
        train: NDArray[np.int64],
        valid: NDArray[np.int64] | None,
        config: LateConfig,
        encoder: TextEncoder | None,
    ) -> None:
        self._stage_arguments = network, rows, train, config
        self._network, self._config, self._encoder = network, config, encoder
        self.best = _Best(network, rows, valid, encoder)
        self.epochs = config.numbers_epochs + (config.epochs if network.reads_vectors else 0)
        self.done = 0
        self._stage = _Stage(*self._stage_arguments, None, numbers_only=True)

    def epoch(self, on_step: Callable[[], None]) -> float:
        """Train for one epoch; return the validation loss."""
        if self.done == self._config.numbers_epochs:
            self.best.restore()
            self._stage = _Stage(*self._stage_arguments, self._encoder, numbers_only=False)
        self._stage.epoch(on_step)
        self.done += 1
        return self.best.judge(self._stage.texts())

    def save(self, path: Path) -> None:
        """Write the state that the next epoch depends on, atomically."""
        partial = path.with_suffix(".part")
        torch.save(
            {
                "done": self.done,
                "network": self._network.state_dict(),
                "text": _weights(self._encoder),
                "stage": self._stage.state(),
                "best": self.best.state(),
                "random": torch.get_rng_state(),
            },
            partial,
        )
        partial.replace(path)

    def resume(self, path: Path) -> None:
        """Restore the state that save() wrote."""
        kept = torch.load(path, map_location="cpu", weights_only=True)  # the GPU may no longer be available
        self.done = kept["done"]
        if self.done > self._config.numbers_epochs:
            self._stage = _Stage(*self._stage_arguments, self._encoder, numbers_only=False)
        self._network.load_state_dict(kept["network"])
        _set_weights(self._encoder, kept["text"])
        self._stage.take(kept["stage"])
        self.best.take(kept["best"])
        torch.set_rng_state(kept["random"])


class _Best:
    """The weights with the lowest validation log-loss of y so far; without validation rows, the latest."""

    def __init__(
        self,
        network: LateNetwork,
        rows: LateRows,
        valid: NDArray[np.int64] | None,
        encoder: TextEncoder | None,
    ) -> None:
        self._network, self._rows, self._valid, self._encoder = network, rows, valid, encoder
        self._weights: dict[str, Tensor] = {}
        self._of_text: list[Tensor] = []
        self.texts = rows.texts
        self.loss = float("inf")
        self.losses: list[float] = []

    def judge(self, texts: Tensor) -> float:
        """Evaluate the network, save its weights if it is the best so far, and return its loss."""
        self.losses.append(self._loss(texts))
        if not self._weights or self._valid is None or self.losses[-1] < self.loss:
            self.loss, self.texts = self.losses[-1], texts
            self._weights = {name: value.clone() for name, value in self._network.state_dict().items()}
            self._of_text = _weights(self._encoder)
        return self.losses[-1]

    def _loss(self, texts: Tensor) -> float:
        if self._valid is None:
            return float("nan")
        y_hat = score_late(self._network, self._rows, self._valid, texts)[:, 0]
        return log_loss(y_hat, self._rows.y[self._valid].numpy())

    def restore(self) -> None:
        """Load the best weights into network and encoder."""
        if self._weights:
            self._network.load_state_dict(self._weights)
            _set_weights(self._encoder, self._of_text)

    def state(self) -> dict[str, Any]:
        """Return the state for take()."""
        texts = None if self._encoder is None else self.texts
        return {
            "weights": self._weights,
            "text": self._of_text,
            "texts": texts,
            "loss": self.loss,
            "losses": self.losses,
        }

    def take(self, state: dict[str, Any]) -> None:
        """Restore the state from state()."""
        self._weights, self._of_text = state["weights"], state["text"]
        self.loss, self.losses = state["loss"], state["losses"]
        if state["texts"] is not None:
            self.texts = state["texts"]


def interpolate_weights(network: LateNetwork, start: LateNetwork, share: float) -> None:
    """Interpolate a network's weights towards those of the network that it was fitted from, in place.

    share: the weight of the start's parameters, 0 to 1. The gain of a fit is linear in the step from the start and its
    loss from noise is quadratic, so half of the step keeps more than half of the gain.
    Source: M. Wortsman et al., 2022, "Robust Fine-Tuning of Zero-Shot Models", CVPR.
    """
    with torch.no_grad():
        for mine, other in zip(network.parameters(), start.parameters(), strict=True):
            mine.lerp_(other, share)


def _weights(encoder: TextEncoder | None) -> list[Tensor]:
    return [] if encoder is None else [weight.detach().clone() for weight in encoder.parameters()]


def _set_weights(encoder: TextEncoder | None, weights: list[Tensor]) -> None:
    if encoder is not None:
        with torch.no_grad():
            for weight, value in zip(encoder.parameters(), weights, strict=True):
                weight.copy_(value)


def score_late(
    network: LateNetwork, rows: LateRows, places: NDArray[np.int64], texts: Tensor
) -> NDArray[np.float32]:
    """Return y_hat and z_hat of some rows, float32 (n, 2)."""
    network.eval()
    parts = torch.split(torch.from_numpy(places), _SCORED_ROWS)
    scored = [network.score(*own_tables(rows.batch(part), texts, rows.items)) for part in parts]
    return torch.cat(scored).numpy()


class _Stage:
    """The optimisers and schedules of one stage, and the order of its rows."""

    def __init__(
        self,
        network: LateNetwork,
        rows: LateRows,
        train: NDArray[np.int64],
        config: LateConfig,
        encoder: TextEncoder | None,
        *,
        numbers_only: bool,
    ) -> None:
        self._network, self._rows, self._config, self._encoder = network, rows, config, encoder
        self._train, self._numbers_only = torch.from_numpy(train), numbers_only
        self._generator = torch.Generator().manual_seed(config.seed)
        epochs = config.numbers_epochs if numbers_only else config.epochs
        groups = [len(group) for group in torch.split(self._train, config.group_rows)]
        steps = epochs * sum(-(-size // config.batch_rows) for size in groups)
        self._parameters = network.numbers_parameters() if numbers_only else network.vectors_parameters()
        self._optimiser, self._schedule = _one_cycle(
            self._parameters, config.learning_rate, config.weight_decay, steps
        )
        if encoder is not None:
            self._text_optimiser, self._text_schedule = _one_cycle(
                list(encoder.parameters()),
                config.text_learning_rate,
                config.weight_decay,
                epochs * len(groups),
            )

    def state(self) -> dict[str, Any]:
        """Return the state for take()."""
        return {
            "order": self._generator.get_state(),
            "steps": [part.state_dict() for part in self._steps()],
        }

    def take(self, state: dict[str, Any]) -> None:
        """Restore the state from state()."""
        self._generator.set_state(state["order"])
        for part, kept in zip(self._steps(), state["steps"], strict=True):
            part.load_state_dict(kept)

    def _steps(self) -> list[Any]:
        steps: list[Any] = [self._optimiser, self._schedule]
        return steps if self._encoder is None else [*steps, self._text_optimiser, self._text_schedule]

    def epoch(self, on_step: Callable[[], None]) -> None:
        """Train for one epoch."""
        self._network.train()
        if not self._numbers_only:
            self._network.tower.eval()  # it is frozen, so its dropout would only add noise
        order = self._train[torch.randperm(len(self._train), generator=self._generator)]
        for group in torch.split(order, self._config.group_rows):
            if self._encoder is None:
                self._learn(group, self._rows.texts, on_step)
            else:
                self._learn_with_text(group, self._encoder, on_step)

    def texts(self) -> Tensor:
        """Return the current vectors of all texts."""
        if self._encoder is None:
            return self._rows.texts
        return _encoded(self._encoder, np.arange(len(self._rows.texts)))

    def _learn(
        self, group: Tensor, texts: Tensor, on_step: Callable[[], None], places: Tensor | None = None
    ) -> None:
        """Train on a group in batches. places: the row of each text in `texts`, if that holds a subset."""
        config = self._config
        for rows in torch.split(group, config.batch_rows):
            batch = self._rows.batch(rows, config.behaviours)
            if places is not None:
                batch = _replaced(batch, places)
            if self._numbers_only:
                logits = self._network(batch, texts, self._rows.items, numbers_only=True)
            else:
                logits = self._network(*own_tables(batch, texts, self._rows.items))
            loss = late_loss(logits, self._rows.y[rows], self._rows.z[rows], config.network)
            self._optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self._parameters, config.max_grad_norm)
            self._optimiser.step()
            self._schedule.step()
            on_step()

    def _learn_with_text(self, group: Tensor, encoder: TextEncoder, on_step: Callable[[], None]) -> None:
        """Encode a group's distinct texts, train on the vectors, and take one BERT step with their gradients."""
        inputs = self._rows.inputs
        past = inputs.past_text[group, : self._config.behaviours]
        distinct = np.unique(torch.cat([inputs.text[group], past[past >= 0]]).numpy()).astype(np.int64)
        places = torch.full((len(self._rows.texts),), -1)
        places[distinct] = torch.arange(len(distinct))
        vectors = _encoded(encoder, distinct).requires_grad_()
        self._learn(group, vectors, on_step, places)
        if vectors.grad is None:
            return
        gradients = vectors.grad / -(-len(group) // self._config.batch_rows)
        self._text_optimiser.zero_grad()
        for part in encoder.parts(distinct):
            on_step()
            encoder.encode(part).backward(gradients[places[part]])  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(list(encoder.parameters()), self._config.max_grad_norm)
        self._text_optimiser.step()
        self._text_schedule.step()


def _one_cycle(
    parameters: list[nn.Parameter], learning_rate: float, weight_decay: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW for the parameters, and its one-cycle schedule."""
    optimiser = torch.optim.AdamW(parameters, learning_rate, weight_decay=weight_decay)
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)


def _encoded(encoder: TextEncoder, texts: NDArray[np.int64]) -> Tensor:
    """Encode without a graph into a new tensor, (n, d). texts: ascending."""
    with torch.no_grad():
        parts = encoder.parts(texts)
        vectors = torch.cat([encoder.encode(part) for part in parts])
    return vectors[np.argsort(np.concatenate(parts))]


def _replaced(batch: LateInputs, places: Tensor) -> LateInputs:
    """Return the batch with its text indices mapped to a table of a subset of the texts."""
    past = torch.where(batch.past_text >= 0, places[batch.past_text.clamp(min=0)], -1)
    return batch._replace(text=places[batch.text], past_text=past)

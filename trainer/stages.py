"""The stages of a training for the joint reading. Each continues from the network of the stage before.

    pretraining   masked language modelling on behaviour texts, labelled or not
    targets       the distinct targets without history, weighted by frequency: learns the value of items
    texts         whole texts: learns the preferences of users

The heads are first fitted in closed form on frozen features; then the layers are fine-tuned (LP-FT).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from model.network import TwoHeadedNetwork
from model.tokens import BehaviourTokenizer, EncodedText
from trainer.augment import Augmentation, augment_rows
from trainer.config import FinetuneConfig, Lora
from trainer.dataset import Example, labels
from trainer.finetune import FinetuneResult, finetune
from trainer.heads import Heads, choose_penalty, fit_heads
from trainer.layers import Activations, frozen_activations, layer_list, pooled_features
from trainer.loop import Run
from trainer.lora import adapters
from trainer.progress import OnProgress, Progress, ignore_progress
from trainer.rows import ActivationRows, AugmentedRows, Rows, TextRows, encode
from trainer.targets import distinct_targets


@dataclass(frozen=True, slots=True)
class StageResult:
    """The result of a stage. metrics: by name. curves: the log entries of the training loop."""

    metrics: dict[str, float]
    curves: list[dict[str, float]] = field(default_factory=list)


class Stages:
    """Runs the stages on a network, in place."""

    def __init__(
        self,
        network: TwoHeadedNetwork,
        tokenizer: BehaviourTokenizer,
        *,
        seed: int,
        progress: OnProgress = ignore_progress,
    ) -> None:
        self.network = network
        self._tokenizer = tokenizer
        self._seed = seed
        self._progress = progress

    @property
    def pad_id(self) -> int:
        """The padding token's id."""
        return int(self.network.encoder.config.pad_token_id or 0)

    def targets(
        self,
        ordered: Sequence[Example],
        config: FinetuneConfig,
        *,
        heads_first: bool = True,
        run: Run | None = None,
    ) -> StageResult:
        """Train on the distinct targets, without histories.

        ordered: examples ordered by time. The newest fifth selects the penalty of the heads.
        """
        distinct = distinct_targets(ordered)
        texts = self._tokenizer.encode_texts([("", target) for target in distinct.targets])
        depth = len(layer_list(self.network.encoder))
        trained = min(config.trained_layers or depth, depth)
        activations = self._activations("targets", texts, trained)
        metrics = {}
        if heads_first:
            metrics = self._fit_heads(activations.features[distinct.of_example], labels(ordered))
        rows = ActivationRows(activations, distinct.labels, distinct.counts)
        result = self._finetune("targets", rows, replace(config, trained_layers=trained), None, run)
        return StageResult({**metrics, "targets_loss": result.loss}, result.curves)

    def texts(
        self,
        ordered: Sequence[Example],
        config: FinetuneConfig,
        *,
        valid: Sequence[Example] = (),
        augmentation: Augmentation | None = None,
        lora: Lora | None = None,
        heads_first: bool = False,
        run: Run | None = None,
    ) -> StageResult:
        """Train on whole texts and evaluate on the validation texts, which are never augmented.

        With cached activations a text is augmented once for all epochs, otherwise anew in each epoch.
        """
        augmentation = augmentation or Augmentation()
        shown = augment_rows(ordered, range(len(ordered)), augmentation, seed=self._seed)
        texts = encode(shown, self._tokenizer)
        metrics: dict[str, float] = {}
        rows: Rows
        judge: Rows | None = None
        if config.trained_layers is not None:
            trained = min(config.trained_layers, len(layer_list(self.network.encoder)))
            config = replace(config, trained_layers=trained)
            activations = self._activations("texts", texts, trained)
            if heads_first:
                metrics = self._fit_heads(activations.features, labels(shown))
            rows = ActivationRows(activations, labels(shown))
            if valid:
                of_valid = self._activations("valid texts", encode(valid, self._tokenizer), trained)
                judge = ActivationRows(of_valid, labels(valid))
        else:
            if heads_first:
                features = pooled_features(
                    self.network, texts, pad_id=self.pad_id, progress=self._report("texts", len(texts))
                )
                metrics = self._fit_heads(features, labels(shown))
            rows = TextRows(texts, labels(shown), pad_id=self.pad_id)
            if augmentation.is_active:
                rows = AugmentedRows(
                    ordered, self._tokenizer, augmentation, pad_id=self.pad_id, seed=self._seed
                )
            if valid:
                judge = TextRows(encode(valid, self._tokenizer), labels(valid), pad_id=self.pad_id)
        with adapters(self.network, lora or Lora(), config.trained_layers, self._seed):
            result = self._finetune("texts", rows, config, judge, run)
        return StageResult({**metrics, "texts_loss": result.loss, **result.validation}, result.curves)

    def _activations(self, name: str, texts: Sequence[EncodedText], trained: int) -> Activations:
        report = self._report(name, len(texts))
        report(0)
        return frozen_activations(self.network, texts, trained, pad_id=self.pad_id, progress=report)

    def _report(self, name: str, total: int) -> Callable[[int], None]:
        return lambda done: self._progress(Progress(name, done, total))

    def _finetune(
        self, name: str, rows: Rows, config: FinetuneConfig, valid: Rows | None, run: Run | None
    ) -> FinetuneResult:
        def report(step: int, steps: int, loss: float | None) -> None:
            self._progress(Progress(f"{name}: fine-tuning", step, steps, loss))

        return finetune(
            self.network,
            rows,
            replace(config, seed=self._seed),
            valid=valid,
            run=replace(run or Run(), name=name, progress=report),
        )

    def _fit_heads(self, features: NDArray[np.float32], wanted: NDArray[np.float32]) -> dict[str, float]:
        """Fit the heads in closed form on rows ordered by time."""
        self._progress(Progress("heads", 0, 1))
        penalty, held_out_auc = choose_penalty(features, wanted)
        self._set_heads(fit_heads(features, wanted, penalty))
        self._progress(Progress("heads", 1, 1))
        metrics = {} if np.isnan(held_out_auc) else {"heads_auc_held_out": held_out_auc}
        return {"heads_penalty": penalty, **metrics}

    def _set_heads(self, heads: Heads) -> None:
        with torch.no_grad():
            self.network.heads.weight.copy_(torch.from_numpy(heads.weight))
            self.network.heads.bias.copy_(torch.from_numpy(heads.bias))

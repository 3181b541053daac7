"""Further pre-training by masked language modelling, on behaviour texts without labels.

Of the tokens to predict, 80 % are replaced by the mask token, 10 % by a random token, and 10 % are unchanged.

Source: J. Devlin et al., 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding", section 3.1; S. Gururangan et al., 2020, "Don't Stop Pretraining".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, AutoTokenizer

from model.network import TwoHeadedNetwork
from model.tokens import EncodedText
from trainer.config import FinetuneConfig, Pretraining
from trainer.errors import TrainingRefused
from trainer.loop import LoopResult, Run, run_loop
from trainer.rows import lengths, network_inputs

_HELD_OUT = 0.05
_MAX_HELD_OUT = 1000
_IGNORED = -100  # the label that transformers' loss ignores


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The parts of a tokenizer that masking needs. special: ids that are never masked."""

    size: int
    mask_id: int
    special: frozenset[int]

    @classmethod
    def from_folder(cls, folder: Path) -> "Vocabulary":
        """Read a checkpoint's tokenizer. Raises TrainingRefused if it has no mask token."""
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if tokenizer.mask_token_id is None:
            raise TrainingRefused(f"the tokenizer in {folder} has no mask token: set pretraining.epochs to 0")
        return cls(len(tokenizer), tokenizer.mask_token_id, frozenset(tokenizer.all_special_ids))


class MaskedRows:
    """Encoded texts with a new mask in every epoch (see trainer.rows.Rows)."""

    def __init__(
        self, texts: Sequence[EncodedText], vocabulary: Vocabulary, share: float, *, pad_id: int, seed: int
    ) -> None:
        self.tokens = lengths(texts)
        self._texts = texts
        self._vocabulary = vocabulary
        self._special = np.array(sorted(vocabulary.special))
        self._share = share
        self._pad_id = pad_id
        self._seed = seed

    def batch(self, rows: Sequence[int], epoch: int) -> dict[str, Tensor]:
        """See Rows. labels: int64 (B, T), -100 for tokens that are not predicted."""
        inputs = network_inputs([self._texts[row] for row in rows], self._pad_id)
        random = np.random.default_rng((self._seed, epoch, *rows))
        ids = inputs["input_ids"].numpy()  # (B, T)
        predicted = random.random(ids.shape) < self._share
        predicted &= inputs["attention_mask"].numpy().astype(bool) & ~np.isin(ids, self._special)
        targets = np.where(predicted, ids, _IGNORED)
        draw = random.random(ids.shape)
        masked = np.where(predicted & (draw < 0.8), self._vocabulary.mask_id, ids)
        other = random.integers(0, self._vocabulary.size, ids.shape)
        masked = np.where(predicted & (draw >= 0.9), other, masked)
        inputs["input_ids"] = torch.from_numpy(masked)
        return {**inputs, "labels": torch.from_numpy(targets)}


class _MaskedModelling:
    """transformers' masked-language-model loss as the loop's objective."""

    def __init__(self, *, takes_types: bool) -> None:
        self._takes_types = takes_types

    def loss(self, model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        """See trainer.loop.Objective."""
        given = dict(inputs)
        if not self._takes_types:
            given.pop("token_type_ids")
        if not (given["labels"] != _IGNORED).any():
            given["labels"][0, 0] = given["input_ids"][0, 0]  # the mean of no losses would be NaN
        loss: Tensor = model(**given).loss
        return loss

    def judge(self, model: nn.Module, batches: Iterable[dict[str, Tensor]]) -> dict[str, float]:
        """Return valid_loss, the mean over all predicted tokens."""
        total, count = 0.0, 0
        for inputs in batches:
            tokens = int((inputs["labels"] != _IGNORED).sum())
            if tokens:
                total += float(self.loss(model, inputs)) * tokens
                count += tokens
        return {"valid_loss": total / max(count, 1)}


def pretrain(
    network: TwoHeadedNetwork,
    texts: Sequence[EncodedText],
    vocabulary: Vocabulary,
    config: Pretraining,
    *,
    seed: int,
    run: Run | None = None,
) -> LoopResult:
    """Continue pre-training of a network's encoder, in place; the language-model head is discarded.

    texts: at least two. The last 5 %, at most 1,000, are held out. The result's validation["valid_loss"] is their loss
    after training, in nats per token.
    """
    held_out = min(max(1, round(len(texts) * _HELD_OUT)), _MAX_HELD_OUT)
    pad_id = int(network.encoder.config.pad_token_id or 0)
    rows, valid = (
        MaskedRows(part, vocabulary, config.mask_share, pad_id=pad_id, seed=seed)
        for part in (texts[:-held_out], texts[-held_out:])
    )
    torch.manual_seed(seed)
    model = AutoModelForMaskedLM.from_config(network.encoder.config)  # type: ignore[no-untyped-call]
    setattr(model, model.base_model_prefix, network.encoder)
    model.tie_weights()
    model.to(network.device)
    objective = _MaskedModelling(takes_types=network.takes_types)
    loop = FinetuneConfig(
        epochs=config.epochs,
        batch_rows=config.batch_rows,
        learning_rate=config.learning_rate,
        heads_learning_rate=config.learning_rate,
        seed=seed,
    )
    result = run_loop(model, rows, objective, loop, valid=valid, run=run)
    network.eval()
    return result

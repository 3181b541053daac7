"""Further pre-training by masked language modelling, on behaviour texts that need no label.

Of the tokens that are to be guessed eight in ten become the mask, one another token, and one stays.

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
from trainer.config import Pretraining
from trainer.errors import TrainingRefused
from trainer.loop import LoopConfig, LoopResult, Run, run_loop
from trainer.rows import lengths, network_inputs

_HELD_OUT = 0.05
_MOST_HELD_OUT = 1000
_NOT_ASKED = -100  # what the library's loss leaves out


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What masking must know. special: ids that are never masked."""

    size: int
    mask_id: int
    special: frozenset[int]

    @classmethod
    def from_folder(cls, folder: Path) -> "Vocabulary":
        """Read a checkpoint's tokenizer; raises TrainingRefused if it has no mask."""
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if tokenizer.mask_token_id is None:
            raise TrainingRefused(f"the tokenizer in {folder} has no mask token: set pretraining.epochs to 0")
        return cls(len(tokenizer), tokenizer.mask_token_id, frozenset(tokenizer.all_special_ids))


class MaskedRows:
    """Encoded texts, masked anew in every epoch (see trainer.rows.Rows)."""

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
        """See Rows; labels, int64 (B, T), are -100 wherever nothing is asked."""
        inputs = network_inputs([self._texts[row] for row in rows], self._pad_id)
        random = np.random.default_rng((self._seed, epoch, *rows))
        ids = inputs["input_ids"].numpy()  # (B, T)
        asked = random.random(ids.shape) < self._share
        asked &= inputs["attention_mask"].numpy().astype(bool) & ~np.isin(ids, self._special)
        wanted = np.where(asked, ids, _NOT_ASKED)
        way = random.random(ids.shape)
        masked = np.where(asked & (way < 0.8), self._vocabulary.mask_id, ids)
        other = random.integers(0, self._vocabulary.size, ids.shape)
        masked = np.where(asked & (way >= 0.9), other, masked)
        inputs["input_ids"] = torch.from_numpy(masked)
        return {**inputs, "labels": torch.from_numpy(wanted)}


class _MaskedModelling:
    """The library's own masked-language-model loss as the loop's objective."""

    def __init__(self, *, takes_types: bool) -> None:
        self._takes_types = takes_types

    def loss(self, model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        """See trainer.loop.Objective."""
        given = dict(inputs)
        if not self._takes_types:
            given.pop("token_type_ids")
        if not (given["labels"] != _NOT_ASKED).any():
            given["labels"][0, 0] = given["input_ids"][0, 0]  # a mean over nothing would be NaN
        loss: Tensor = model(**given).loss
        return loss

    def judge(self, model: nn.Module, batches: Iterable[dict[str, Tensor]]) -> dict[str, float]:
        """Return valid_loss, the mean over all tokens that were to be guessed."""
        total, count = 0.0, 0
        for inputs in batches:
            asked = int((inputs["labels"] != _NOT_ASKED).sum())
            if asked:
                total += float(self.loss(model, inputs)) * asked
                count += asked
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
    """Go on pre-training a network's encoder, in place; the head that guesses is thrown away.

    texts: at least two, the last twentieth is held out and judges. Returns its loss after training as
    judged["valid_loss"]: nats a token.
    """
    held_out = min(max(1, round(len(texts) * _HELD_OUT)), _MOST_HELD_OUT)
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
    loop = LoopConfig(
        epochs=config.epochs,
        batch_rows=config.batch_rows,
        learning_rate=config.learning_rate,
        heads_learning_rate=config.learning_rate,
        warmup=0.1,
        weight_decay=0.01,
        dropout=0.1,
        max_grad_norm=1.0,
        seed=seed,
        patience=0,
        evaluations_per_epoch=2,
        bf16=False,
    )
    result = run_loop(model, rows, objective, loop, valid=valid, run=run)
    network.eval()
    return result

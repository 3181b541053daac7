"""The two-headed network: a BERT-family encoder, pooling and two linear heads.

    h = M_theta(x)    y_hat = h W_b + b_b    z_hat = h W_r + b_r
    L = 1/N sum (y_hat - y)^2 + lambda (z_hat - z)^2

Both heads are one nn.Linear(d, 2): row 0 is (W_b, b_b), row 1 is (W_r, b_r).
"""

import inspect
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

import torch
from torch import Tensor, nn

from model.pretrained import PreTrainedModel
from model.text import TextSettings


class Pooling(StrEnum):
    """How token vectors are pooled into one vector.

    CLS: the first token's vector. MEAN: the mean over all tokens, as in sentence-transformers. TARGET: the mean over
    segment B, the behaviour being scored; the history contributes only through attention.
    """

    CLS = "cls"
    MEAN = "mean"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Settings stored with a checkpoint's weights.

    lam: the weight of the affinity in loss and influence, >= 0. text: the text settings used in training.
    """

    pooling: Pooling = Pooling.TARGET
    lam: float = 0.5
    text: TextSettings = field(default_factory=TextSettings)

    def __post_init__(self) -> None:
        if not 0 <= self.lam < float("inf"):
            raise ValueError(f"lam={self.lam} must be finite and not below 0")


class TwoHeadedNetwork(nn.Module):
    """A Hugging Face encoder with two linear heads.

    encoder: a BERT-family model; its pooler, which sentence models do not use, is removed.
    The heads start at zero, so an untrained network returns 0 for every text.
    """

    def __init__(self, encoder: PreTrainedModel, settings: NetworkSettings) -> None:
        super().__init__()
        if getattr(encoder, "pooler", None) is not None:
            setattr(encoder, "pooler", None)  # noqa: B010 -- not every family has one
        self.encoder = encoder
        self.settings = settings
        self.heads = nn.Linear(hidden_size(encoder), 2)
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)
        takes_types = "token_type_ids" in inspect.signature(encoder.forward).parameters
        self._has_types = takes_types and getattr(encoder.config, "type_vocab_size", 0) > 1

    @property
    def takes_types(self) -> bool:
        """Whether the encoder reads token types."""
        return self._has_types

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.heads.weight.device

    def place(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Move to a device and cast the encoder to dtype. The heads stay float32: bf16 scores have steps of 2^-8."""
        self.to(device)
        nn.Module.to(self.encoder, dtype)
        self.heads.to(torch.float32)
        return self

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Return y_hat and z_hat, float32 (B, 2), for ids, mask and token types of (B, T)."""
        outputs: Tensor = self.heads(self.features(input_ids, attention_mask, token_type_ids))
        return outputs

    def features(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Return h, float32 (B, d): the pooled token vectors that the heads read."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self._has_types:
            inputs["token_type_ids"] = token_type_ids
        hidden = self.encoder(**inputs).last_hidden_state  # (B, T, d)
        return pool(hidden, attention_mask, token_type_ids, self.settings.pooling)


def pool(hidden: Tensor, attention_mask: Tensor, token_type_ids: Tensor, pooling: Pooling) -> Tensor:
    """Return one vector per text, float32 (B, d).

    hidden: (B, T, d). attention_mask: 1 for every token except padding. token_type_ids: 1 for segment B.
    """
    if pooling is Pooling.CLS:
        return hidden[:, 0].float()
    counted = attention_mask if pooling is Pooling.MEAN else token_type_ids  # (B, T)
    weights = counted.unsqueeze(-1).float()  # (B, T, 1)
    return (hidden.float() * weights).sum(1) / weights.sum(1)  # (B, d); each segment ends in a special token


def two_head_loss(outputs: Tensor, y: Tensor, z: Tensor, lam: float, weights: Tensor | None = None) -> Tensor:
    """Return L = 1/N sum (y_hat - y)^2 + lam (z_hat - z)^2, a scalar.

    outputs: (N, 2). y: (N,). z: (N,), NaN where unknown; such a row counts only in the first term, and N stays the
    number of all rows. weights: (N,), the number of examples that a row represents, with mean 1 over the data; None
    means 1 for each row.
    """
    first = (outputs[:, 0] - y).square()  # (N,)
    known = ~torch.isnan(z)
    second = torch.where(known, outputs[:, 1] - z.nan_to_num(), 0.0).square()  # (N,)
    losses = first + lam * second
    return (losses if weights is None else weights * losses).mean()


def hidden_size(encoder: PreTrainedModel) -> int:
    """Return d, the dimension of the encoder's token vectors."""
    config = encoder.config
    return int(getattr(config, "hidden_size", 0) or config.dim)  # DistilBERT calls it dim

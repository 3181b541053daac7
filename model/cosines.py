"""Cosines of a behaviour's text with those of its past, by whichever way costs less."""

import torch
from torch import Tensor

from model.vector_table import Found

_PART = 1 << 18  # numbers that are gathered at once: what a core's cache holds
_TEXTS_A_BEHAVIOUR = 64


def cosines(texts: Found, text: Tensor, past_text: Tensor) -> Tensor:
    """Return cosines, float32 (N, H), of a text for each row with those of its past.

    text: int64 (N,), past_text: int64 (N, H), places in texts; where past_text is -1, for none, any number comes out.
    """
    lengths = texts.norms.clamp(min=1e-12)  # (U,)
    past = past_text.clamp(min=0)
    rows, behaviours = past.shape
    if not behaviours:
        return past.float()
    if len(lengths) <= _TEXTS_A_BEHAVIOUR * behaviours:
        products = (texts.vectors[text] @ texts.vectors.T).gather(1, past)
    else:
        size = max(1, _PART // (behaviours * texts.vectors.shape[1]))
        products = torch.cat(
            [
                torch.bmm(
                    texts.vectors[past[part : part + size]], texts.vectors[text[part : part + size], :, None]
                )
                for part in range(0, rows, size)
            ]
        )[:, :, 0]
    return products / (lengths[text][:, None] * lengths[past])

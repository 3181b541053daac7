"""Cosine similarities between a behaviour's text and the texts of its history, by the cheaper of two methods."""

import torch
from torch import Tensor

from model.vector_table import Lookup

# Values gathered at once: about the size of a core's cache.
_PART = 1 << 18
_TEXTS_A_BEHAVIOUR = 64


def cosines(texts: Lookup, text: Tensor, past_text: Tensor) -> Tensor:
    """Return the cosines of each row's text with the texts of its history, float32 (N, H).

    text: int64 (N,) and past_text: int64 (N, H) are row indices into texts. past_text is -1 where there is no
    behaviour; the result is arbitrary there.
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

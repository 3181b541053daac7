"""Encoding of single behaviours into text vectors, in the same way as in training.

The input is the behaviour's text without a history; the pooling is the checkpoint's. Vectors are rounded to float16,
the type in which they are cached, so that a score does not depend on the cache. This changes cosines by about 1e-5.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.batches import batches_of_similar_length, to_tensors
from model.network import TwoHeadedNetwork
from model.packing import PackingSettings
from model.tokens import ID_BYTES, BehaviourTokenizer, Piece


class Encoded(NamedTuple):
    """Vectors of n texts.

    places: int64 (n,), indices of the texts. vectors: float32 (n, d). norms: float32 (n,), Euclidean norms.
    """

    places: NDArray[np.int64]
    vectors: Tensor
    norms: Tensor


class BehaviourEncoder:
    """An encoder of behaviour texts.

    network: on its device, in eval mode; its heads are not used. pad_id: the padding id of its tokenizer.
    """

    def __init__(self, network: TwoHeadedNetwork, tokenizer: BehaviourTokenizer, pad_id: int) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._pad_id = pad_id
        self._packing = PackingSettings.for_device(network.device.type)

    def encode(self, ids: Sequence[bytes]) -> Iterator[Encoded]:
        """Yield the vectors of texts in batches of similar length. ids: token ids as in model.tokens.Piece.ids."""
        pieces = [Piece("", each, len(each) // ID_BYTES, cut=False) for each in ids]
        texts = [self._tokenizer.encode((), piece) for piece in pieces]
        tokens = np.array([text.tokens for text in texts], np.int64)
        packing, device = self._packing, self._network.device
        for places in batches_of_similar_length(tokens, packing.max_batch_tokens):
            batch = to_tensors(
                [texts[place] for place in places], pad_id=self._pad_id, multiple=packing.multiple
            )
            with torch.inference_mode():
                moved = batch.to(device)
                features = self._network.features(moved.input_ids, moved.attention_mask, moved.token_type_ids)
                vectors = features.half().float()
                norms = torch.linalg.vector_norm(vectors, dim=1)
            yield Encoded(np.array(places, np.int64), vectors, norms)

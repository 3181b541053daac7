"""BERT's top layers over the distinct texts of a data set; what the layers below make of each text is computed once."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from model.batches import batches_of_similar_length
from model.network import TwoHeadedNetwork, pool
from model.tokens import EncodedText
from trainer.layers import TopNetwork, frozen_activations, layer_list

_PART_TOKENS = 2_048


class TopLayers:
    """The trained layers of a network as trainer.late.TextEncoder, without its heads.

    network: trained in place. texts: U distinct ones, each at least one token. trained_layers: the top so many.
    """

    def __init__(
        self, network: TwoHeadedNetwork, texts: Sequence[EncodedText], trained_layers: int, *, pad_id: int
    ) -> None:
        self._activations = frozen_activations(network, texts, trained_layers, pad_id=pad_id)
        self._tokens = np.array([text.tokens for text in texts], np.int64)
        self._top = TopNetwork(network, trained_layers)
        self._layers = layer_list(network.encoder)[-trained_layers:]
        self._pooling = network.settings.pooling
        for module in self._top.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # the vectors of the two passes of a gradient cache must be the same

    @property
    def vectors(self) -> NDArray[np.float32]:
        """Of the network as it was, float32 (U, d)."""
        return self._activations.features

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the trained layers' weights."""
        yield from self._layers.parameters()

    def encode(self, texts: NDArray[np.int64]) -> Tensor:
        """Return the vectors of some texts, float32 (n, d)."""
        inputs = self._activations.padded(texts.tolist())
        hidden = self._top.encoder(
            inputs_embeds=inputs["hidden"], attention_mask=inputs["attention_mask"]
        ).last_hidden_state  # (n, T, d)
        return pool(hidden, inputs["attention_mask"], inputs["token_type_ids"], self._pooling)

    def parts(self, texts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Cut texts into parts of similar length and at most 2,048 tokens with padding."""
        return [texts[part] for part in batches_of_similar_length(self._tokens[texts], _PART_TOKENS)]

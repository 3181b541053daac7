"""BERT's top layers as a text encoder, on cached activations of the layers below."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from model.batches import batches_of_similar_length
from model.network import TwoHeadedNetwork, pool
from model.tokens import EncodedText
from trainer.layers import TopNetwork, frozen_activations, layer_list

_PART_TOKENS = 2_048


class TopLayers:
    """The trained layers of a network as a trainer.late.TextEncoder, without the heads.

    network: trained in place. texts: U distinct texts of at least one token each. trained_layers: the number of top
    layers. progress: called with the number of texts whose activations are cached.
    """

    def __init__(
        self,
        network: TwoHeadedNetwork,
        texts: Sequence[EncodedText],
        trained_layers: int,
        *,
        pad_id: int,
        progress: Callable[[int], None] = lambda _done: None,
    ) -> None:
        self._activations = frozen_activations(
            network, texts, trained_layers, pad_id=pad_id, progress=progress
        )
        self._tokens = np.array([text.tokens for text in texts], np.int64)
        self._top = TopNetwork(network, trained_layers)
        self._layers = layer_list(network.encoder)[-trained_layers:]
        self._pooling, self._device = network.settings.pooling, network.device
        for module in self._top.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # both passes of the gradient cache must compute the same vectors

    @property
    def vectors(self) -> NDArray[np.float32]:
        """The text vectors before training, float32 (U, d)."""
        return self._activations.features

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the trained layers' weights."""
        yield from self._layers.parameters()

    def encode(self, texts: NDArray[np.int64]) -> Tensor:
        """Return the vectors of some texts, float32 (n, d), on the CPU."""
        padded = self._activations.padded(texts.tolist())
        inputs = {name: value.to(self._device) for name, value in padded.items()}
        hidden = self._top.encoder(
            inputs_embeds=inputs["hidden"], attention_mask=inputs["attention_mask"]
        ).last_hidden_state  # (n, T, d)
        return pool(hidden, inputs["attention_mask"], inputs["token_type_ids"], self._pooling).cpu()

    def parts(self, texts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Split texts into parts of similar length, of at most 2,048 tokens including padding."""
        return [texts[part] for part in batches_of_similar_length(self._tokens[texts], _PART_TOKENS)]

"""Training of the top layers on cached activations of the frozen layers below.

The frozen layers' output for a text never changes, so it is computed once. With k of n layers trained, an epoch then
costs 3k/n forward passes per text instead of (n + 2k)/n, and the texts need no further tokenization.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.batches import batches_of_similar_length, to_tensors
from model.network import TwoHeadedNetwork, pool
from model.pretrained import PreTrainedModel
from model.tokens import EncodedText

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Activations:
    """The frozen layers' output for N texts, concatenated without padding.

    hidden: float16 (sum of tokens, d). Half precision halves the memory; the layers above normalise their input.
    starts: int64 (N + 1,); text i is hidden[starts[i]:starts[i + 1]].
    first_segments: int64 (N,), the number of tokens of each text in segment A.
    features: float32 (N, d), the pooled output of the whole network before training, for the heads.
    """

    hidden: NDArray[np.float16]
    starts: NDArray[np.int64]
    first_segments: NDArray[np.int64]
    features: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def padded(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Return the inputs of TopNetwork: hidden, float32 (B, T, d), mask and token types, int64 (B, T)."""
        index = np.asarray(rows)
        tokens = self.starts[index + 1] - self.starts[index]  # (B,)
        place = np.arange(tokens.max())  # (T,)
        mask = place < tokens[:, None]  # (B, T)
        second = mask & (place >= self.first_segments[index][:, None])
        hidden = np.zeros((*mask.shape, self.hidden.shape[1]), np.float32)
        hidden[mask] = np.concatenate([self.hidden[self.starts[i] : self.starts[i + 1]] for i in rows])
        return {
            "hidden": torch.from_numpy(hidden),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)),
            "token_type_ids": torch.from_numpy(second.astype(np.int64)),
        }


class TopNetwork(nn.Module):
    """The trained layers and the heads of a network, with activations as input.

    It shares the network's parameters, so training it trains the network.
    """

    def __init__(self, network: TwoHeadedNetwork, trained_layers: int) -> None:
        super().__init__()
        layers = layer_list(network.encoder)
        self.encoder = _with_layers(network.encoder, layers[len(layers) - trained_layers :])
        self.encoder.embeddings = _PassThrough()
        if hasattr(self.encoder, "embeddings_project"):  # ELECTRA projects embeddings before its layers
            self.encoder.embeddings_project = nn.Identity()
        self.heads = network.heads
        self._pooling = network.settings.pooling

    def forward(self, hidden: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Return y_hat and z_hat, (B, 2), from activations (B, T, d), their mask and token types (B, T)."""
        top = self.encoder(inputs_embeds=hidden, attention_mask=attention_mask).last_hidden_state
        outputs: Tensor = self.heads(pool(top, attention_mask, token_type_ids, self._pooling))
        return outputs


def layer_list(encoder: nn.Module) -> nn.ModuleList:
    """Return an encoder's layers, lowest first. Raises ValueError for an unknown architecture."""
    for path in ("encoder.layer", "transformer.layer"):
        try:
            found = encoder.get_submodule(path)
        except AttributeError:
            continue
        if isinstance(found, nn.ModuleList):
            return found
    raise ValueError(f"{type(encoder).__name__} has no encoder.layer: train all layers, trained_layers=None")


def frozen_activations(
    network: TwoHeadedNetwork,
    texts: Sequence[EncodedText],
    trained_layers: int,
    *,
    pad_id: int,
    batch_tokens: int = 2048,
    progress: Callable[[int], None] = lambda _: None,
) -> Activations:
    """Run the network once over N texts; return the inputs of the trained layers and the pooled features.

    progress: called with the number of texts done. Raises ValueError for trained_layers out of bounds.
    """
    layers = layer_list(network.encoder)
    if not 0 < trained_layers <= len(layers):
        raise ValueError(f"trained_layers={trained_layers} must be 1 to {len(layers)}")
    first_trained = layers[len(layers) - trained_layers]
    tokens = np.array([text.tokens for text in texts], dtype=np.int64)
    starts = np.concatenate(([0], np.cumsum(tokens)))
    width = network.heads.in_features
    hidden = np.empty((int(starts[-1]), width), np.float16)
    features = np.empty((len(texts), width), np.float32)
    captured: list[Tensor] = []
    hook = first_trained.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
    network.eval()
    done = 0
    try:
        with torch.inference_mode():
            for rows in batches_of_similar_length(tokens, batch_tokens):
                batch = to_tensors([texts[row] for row in rows], pad_id=pad_id).to(network.device)
                pooled = network.features(batch.input_ids, batch.attention_mask, batch.token_type_ids)
                features[rows] = pooled.cpu().numpy()
                below_top = captured.pop().to(torch.float16).cpu().numpy()  # (B, T, d)
                for index, row in enumerate(rows):
                    hidden[starts[row] : starts[row + 1]] = below_top[index, : tokens[row]]
                done += len(rows)
                progress(done)
    finally:
        hook.remove()
    first_segments = np.array([text.first_segment_tokens for text in texts], dtype=np.int64)
    return Activations(hidden, starts, first_segments, features)


def pooled_features(
    network: TwoHeadedNetwork,
    texts: Sequence[EncodedText],
    *,
    pad_id: int,
    batch_tokens: int = 2048,
    progress: Callable[[int], None] = lambda _: None,
) -> NDArray[np.float32]:
    """Return the pooled features h of N texts, float32 (N, d), for the heads.

    progress: called with the number of texts done.
    """
    tokens = np.array([text.tokens for text in texts], dtype=np.int64)
    features = np.empty((len(texts), network.heads.in_features), np.float32)
    network.eval()
    done = 0
    with torch.inference_mode():
        for rows in batches_of_similar_length(tokens, batch_tokens):
            batch = to_tensors([texts[row] for row in rows], pad_id=pad_id).to(network.device)
            pooled = network.features(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            features[rows] = pooled.cpu().numpy()
            done += len(rows)
            progress(done)
    return features


class _PassThrough(nn.Module):
    """Replaces the embeddings: returns its input, which is embedded already."""

    def forward(self, *inputs: Tensor | None, **named: Any) -> Tensor:
        if named.get("inputs_embeds") is not None:
            return cast("Tensor", named["inputs_embeds"])
        return next(tensor for tensor in inputs if tensor is not None)  # DistilBERT passes it positionally


def _with_layers(encoder: PreTrainedModel, layers: nn.ModuleList) -> PreTrainedModel:
    """Return an encoder that shares all modules with this one but has only the given layers."""
    clone = _shallow(encoder)
    for name in ("encoder", "transformer"):
        stack = getattr(clone, name, None)
        if isinstance(stack, nn.Module) and hasattr(stack, "layer"):
            stack = _shallow(stack)
            stack.layer = layers
            setattr(clone, name, stack)
    return clone


def _shallow(module: ModuleT) -> ModuleT:
    """Copy a module but not its submodules, so that replacing a submodule does not change the original."""
    clone = copy.copy(module)
    clone._modules = dict(module._modules)
    return clone

"""Low-rank adapters on the trained layers' matrices, by peft, merged into the weights at the end.

Source: E. Hu et al., 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from model.network import TwoHeadedNetwork
from trainer.config import Lora
from trainer.errors import TrainingRefused
from trainer.layers import layer_list


@contextlib.contextmanager
def adapters(network: TwoHeadedNetwork, lora: Lora, trained_layers: int | None, seed: int) -> Iterator[None]:
    """Train only adapters and the heads for the duration of the block, then merge the adapters.

    trained_layers: the number of top layers with adapters; None for all.
    After the block the encoder has its original structure with new weights. If the block raises, the adapters are not
    merged, and the network is unusable. With lora.rank 0 this does nothing.
    Raises TrainingRefused if peft is not installed.
    """
    if not lora.rank:
        yield
        return
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as exc:
        raise TrainingRefused("lora.rank needs the package peft: pip install 'sway[train]'") from exc
    torch.manual_seed(seed)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=_matrices(network.encoder, trained_layers),
    )
    wrapped = get_peft_model(network.encoder, config)
    yield
    network.encoder = wrapped.merge_and_unload()  # type: ignore[assignment]
    network.encoder.requires_grad_(requires_grad=True)


def _matrices(encoder: nn.Module, trained_layers: int | None) -> list[str]:
    """Return the qualified names of the linear layers in the top layers."""
    layers = layer_list(encoder)
    top = list(layers)[-(trained_layers or len(layers)) :]
    wanted = {id(module) for layer in top for module in layer.modules() if isinstance(module, nn.Linear)}
    return [name for name, module in encoder.named_modules() if id(module) in wanted]

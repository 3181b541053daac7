"""Measures how many texts a second a model scores in each type, in about a second each."""

import copy
import time
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from model.batches import TextBatch
from model.device import choose_dtype
from model.loading import Model
from model.network import TwoHeadedNetwork
from sway.doctor.dtypes import Measured

INT8 = "int8"
SLOW_PRODUCT = 5.0
"""A type whose small matrix product takes so many times fp32's is not worth waiting for."""

_PRODUCT_ROWS = 96
_PRODUCT_WIDTH = 384
_PRODUCT_TRIES = 5


def dtypes_for(device: torch.device) -> tuple[str, ...]:
    """Return the types to measure: int8 exists on the CPU only, fp16 is for GPUs."""
    return ("fp32", "bf16", "fp16") if device.type == "cuda" else ("fp32", "bf16", INT8)


def measure(model: Model, *, max_batch_tokens: int, seconds: float) -> Iterator[Measured]:
    """Measure each type at the model's own max_tokens, in batches of max_batch_tokens; the model stays as it is.

    seconds: for each type, beside one pass to warm up.
    """
    batch = full_batch(model, max_batch_tokens)
    exact_s = product_s(model.device, torch.float32)
    for dtype in dtypes_for(model.device):
        if dtype != INT8:
            ratio = product_s(model.device, choose_dtype(dtype, model.device)) / exact_s
            if dtype != "fp32" and ratio > SLOW_PRODUCT:
                yield Measured(
                    dtype, None, f"one small matrix product takes {ratio:.0f} times as long as in fp32"
                )
                continue
        try:
            yield Measured(dtype, _texts_per_s(_in_dtype(model, dtype), batch, seconds))
        except (RuntimeError, ImportError) as exc:  # this torch, or this machine, has no such kernels
            yield Measured(dtype, None, str(exc).partition("\n")[0])


def full_batch(model: Model, max_batch_tokens: int) -> TextBatch:
    """Return a batch of the longest texts that the model takes, as many as the budget allows, of any words."""
    tokens = model.text.max_tokens
    rows = max(1, max_batch_tokens // tokens)
    vocabulary = model.tokenizer.vocabulary_size
    ids = torch.arange(rows * tokens).remainder(vocabulary).reshape(rows, tokens)  # (N, T)
    return TextBatch(ids, torch.ones_like(ids), torch.zeros_like(ids)).to(model.device)


def product_s(device: torch.device, dtype: torch.dtype) -> float:
    """Return the seconds of one small matrix product, the best of a few."""
    left = torch.ones(_PRODUCT_ROWS, _PRODUCT_WIDTH, device=device, dtype=dtype)
    right = torch.ones(_PRODUCT_WIDTH, _PRODUCT_WIDTH, device=device, dtype=dtype)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(_PRODUCT_TRIES):
            began = time.perf_counter()
            _wait_for(left @ right)
            best = min(best, time.perf_counter() - began)
    return best


def _texts_per_s(network: nn.Module, batch: TextBatch, seconds: float) -> float:
    arguments = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
    with torch.inference_mode():
        _wait_for(network(*arguments))
        passes, began = 0, time.perf_counter()
        while not passes or time.perf_counter() - began < seconds:
            _wait_for(network(*arguments))
            passes += 1
    return passes * len(batch) / (time.perf_counter() - began)


def _wait_for(output: Tensor) -> None:
    """Wait for a GPU to have computed it; on a CPU it is there."""
    output[:1].float().cpu()


def _in_dtype(model: Model, dtype: str) -> nn.Module:
    """Return a copy of the model's network in a type."""
    network: TwoHeadedNetwork = copy.deepcopy(model.network)
    if dtype != INT8:
        return network.place(model.device, choose_dtype(dtype, model.device))
    with warnings.catch_warnings():  # torch announces that its own quantisation will move to a package
        warnings.simplefilter("ignore")
        from torch.ao.quantization import quantize_dynamic

        network.place(model.device, torch.float32)
        # The encoder only: the heads stay float32 in every type.
        network.encoder = quantize_dynamic(network.encoder, {nn.Linear}, dtype=torch.qint8)  # type: ignore[no-untyped-call]
    return network

"""Measurement of a model's speed in texts per second, for each dtype."""

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
"""A dtype whose matrix product is this many times slower than in fp32 is not measured further."""

_PRODUCT_ROWS = 96
_PRODUCT_WIDTH = 384
_PRODUCT_TRIES = 5


def dtypes_for(device: torch.device) -> tuple[str, ...]:
    """Return the dtypes to measure: int8 on the CPU only, fp16 on GPUs only."""
    return ("fp32", "bf16", "fp16") if device.type == "cuda" else ("fp32", "bf16", INT8)


def measure(model: Model, *, max_batch_tokens: int, seconds: float) -> Iterator[Measured]:
    """Measure each dtype with texts of max_tokens and batches of max_batch_tokens; the model is not changed.

    seconds: the duration for each dtype, plus one pass to warm up.
    """
    batch = full_batch(model, max_batch_tokens)
    exact_s = product_s(model.device, torch.float32)
    for dtype in dtypes_for(model.device):
        if dtype != INT8:
            ratio = product_s(model.device, choose_dtype(dtype, model.device)) / exact_s
            if dtype != "fp32" and ratio > SLOW_PRODUCT:
                yield Measured(
                    dtype, None, f"a small matrix product takes {ratio:.0f} times as long as in fp32"
                )
                continue
        try:
            yield Measured(dtype, _texts_per_s(_in_dtype(model, dtype), batch, seconds))
        # This torch or this machine has no kernels for the dtype.
        except (RuntimeError, ImportError) as exc:
            yield Measured(dtype, None, str(exc).partition("\n")[0])


def full_batch(model: Model, max_batch_tokens: int) -> TextBatch:
    """Return a batch of texts of maximum length, as many as max_batch_tokens allows, with arbitrary tokens."""
    tokens = model.text.max_tokens
    rows = max(1, max_batch_tokens // tokens)
    vocabulary = model.tokenizer.vocabulary_size
    ids = torch.arange(rows * tokens).remainder(vocabulary).reshape(rows, tokens)  # (N, T)
    return TextBatch(ids, torch.ones_like(ids), torch.zeros_like(ids)).to(model.device)


def product_s(device: torch.device, dtype: torch.dtype) -> float:
    """Return the seconds of a small matrix product, the best of a few runs."""
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
    """Synchronise with a GPU; a no-op on the CPU."""
    output[:1].float().cpu()


def _in_dtype(model: Model, dtype: str) -> nn.Module:
    """Return a copy of the model's network in a dtype."""
    network: TwoHeadedNetwork = copy.deepcopy(model.network)
    if dtype != INT8:
        return network.place(model.device, choose_dtype(dtype, model.device))
    # torch warns that its quantisation will move to another package.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.ao.quantization import quantize_dynamic

        network.place(model.device, torch.float32)
        # The encoder only: the heads stay float32 in every type.
        network.encoder = quantize_dynamic(network.encoder, {nn.Linear}, dtype=torch.qint8)  # type: ignore[no-untyped-call]
    return network

"""Selection of the device and the dtype that a model runs with."""

from typing import Literal

import torch

DeviceName = Literal["auto", "cpu", "cuda"]
DtypeName = Literal["auto", "fp32", "bf16", "fp16"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """Return the named device; `auto` selects the GPU if there is one, else the CPU.

    Raises ValueError if a GPU is named but not available.
    """
    has_gpu = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if has_gpu else "cpu")
    if torch.device(name).type == "cuda" and not has_gpu:
        raise ValueError(f"device={name!r}, but torch finds no CUDA device; use auto or cpu")
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the named dtype; `auto` selects bf16 on a GPU and fp32 on a CPU.

    On a CPU without bf16 instructions, a bf16 matrix product took 75 times as long as in fp32.
    Raises ValueError if the name is unknown.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in _DTYPES:
        raise ValueError(f"dtype={name!r} is not one of auto, {', '.join(_DTYPES)}")
    return _DTYPES[name]


def dtype_name(dtype: torch.dtype) -> str:
    """Return the dtype's name as published with scores: fp32, bf16 or fp16."""
    return next(name for name, known in _DTYPES.items() if known is dtype)

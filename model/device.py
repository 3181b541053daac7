"""Where a model runs and in which type, chosen from what the machine has."""

from typing import Literal

import torch

DeviceName = Literal["auto", "cpu", "cuda"]
DtypeName = Literal["auto", "fp32", "bf16", "fp16"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """Return the GPU if there is one, else the CPU; or the one named.

    Raises ValueError if a GPU is named and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if has_gpu else "cpu")
    if torch.device(name).type == "cuda" and not has_gpu:
        raise ValueError(f"device={name!r}, but torch sees no CUDA device; use auto or cpu")
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return bf16 on a GPU and fp32 on a CPU for `auto`; or the one named.

    On a CPU without the instructions for it one bf16 product took 75 times as long as in fp32.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in _DTYPES:
        raise ValueError(f"dtype={name!r} is not one of auto, {', '.join(_DTYPES)}")
    return _DTYPES[name]


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name that scores carry: fp32, bf16 or fp16."""
    return next(name for name, known in _DTYPES.items() if known is dtype)

"""Description of the machine that runs the benchmarks."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from sway.embedded import KAFKA_VERSION

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16")
_PACKAGES = ("aiokafka", "confluent-kafka", "faust-streaming", "rocksdict", "tokenizers", "torch")


def describe() -> dict[str, Any]:
    """Return the CPU, its flags, the cores, the load and the versions of relevant packages."""
    model, flags = _cpu()
    return {
        "cpu": model,
        "flags": {flag: flag in flags for flag in _FLAGS},
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "torch_threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": sys.version.split()[0],
        "kafka": KAFKA_VERSION,
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _cpu() -> tuple[str, frozenset[str]]:
    """Return the CPU's name and flags from /proc/cpuinfo."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor() or platform.machine(), frozenset()
    pairs = [line.split(":", 1) for line in path.read_text("utf-8").splitlines() if ":" in line]
    known = {name.strip(): value.strip() for name, value in pairs}
    return known.get("model name", platform.machine()), frozenset(known.get("flags", "").split())

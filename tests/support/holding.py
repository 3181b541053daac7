"""Detection of leaks: open and close something many times, and compare the process's resources."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

_SETTLE_S = 20.0  # time for threads to end, also on a busy machine


@dataclass(frozen=True, slots=True)
class Resources:
    """Threads, including those of libraries; open files and sockets; resident memory."""

    threads: int
    files: int
    memory_bytes: int


def resources() -> Resources:
    """Return the resources of this process now."""
    gc.collect()
    process = psutil.Process()
    with process.oneshot():
        return Resources(process.num_threads(), process.num_fds(), process.memory_info().rss)


def leaves_behind(
    cycle: Callable[[], object], times: int, *, warm_up: int = 10, memory_bytes: int = 16 * 2**20
) -> str:
    """Run a cycle that opens and closes something many times; return a description of what it leaks, or "".

    warm_up: cycles before the measurement, which fill caches and pools. memory_bytes: allowed growth of memory.
    """
    for _ in range(warm_up):
        cycle()
    before = resources()
    for _ in range(times):
        cycle()
    deadline = time.monotonic() + _SETTLE_S
    while leaked := _growth(before, resources(), memory_bytes):
        if time.monotonic() > deadline:
            return f"after {times} cycles: {leaked}"
        time.sleep(0.02)
    return ""


def _growth(before: Resources, after: Resources, memory_bytes: int) -> str:
    grown = {
        "threads": (after.threads - before.threads, 0),
        "open files": (after.files - before.files, 0),
        "bytes of memory": (after.memory_bytes - before.memory_bytes, memory_bytes),
    }
    return ", ".join(f"{more:,} more {what}" for what, (more, allowed) in grown.items() if more > allowed)

"""What this process holds: for tests that open and close something many times and look whether anything is left."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

_END_S = 20.0  # threads end after they were asked to, and the machine may be busy


@dataclass(frozen=True, slots=True)
class Held:
    """Threads, those of libraries among them; open files and sockets; resident memory."""

    threads: int
    files: int
    memory_bytes: int


def held() -> Held:
    """Return what this process holds now."""
    gc.collect()
    process = psutil.Process()
    with process.oneshot():
        return Held(process.num_threads(), process.num_fds(), process.memory_info().rss)


def leaves_behind(
    cycle: Callable[[], object], times: int, *, warm_up: int = 10, memory_bytes: int = 16 * 2**20
) -> str:
    """Run what opens and closes something, and return what is left after so many times, in words; "" if nothing.

    warm_up: runs before, after which caches, pools and modules are there. memory_bytes: growth that is no leak.
    """
    for _ in range(warm_up):
        cycle()
    before = held()
    for _ in range(times):
        cycle()
    deadline = time.monotonic() + _END_S
    while said := _grown(before, held(), memory_bytes):
        if time.monotonic() > deadline:
            return f"after {times} times: {said}"
        time.sleep(0.02)
    return ""


def _grown(before: Held, after: Held, memory_bytes: int) -> str:
    grown = {
        "threads": (after.threads - before.threads, 0),
        "open files": (after.files - before.files, 0),
        "bytes of memory": (after.memory_bytes - before.memory_bytes, memory_bytes),
    }
    return ", ".join(f"{more:,} more {what}" for what, (more, allowed) in grown.items() if more > allowed)

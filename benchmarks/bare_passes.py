"""Runs benchmarks/passes.py, the bare forward passes, in a process of its own."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.stand import Stand


def bare_passes(
    stand: Stand, name: str, file: Path, between_s: tuple[float, float], settings: Mapping[str, str]
) -> tuple[int, float]:
    """Return how many texts were in the passes that ended in a stretch of time, and how long these take alone.

    name: of whose passes they are. between_s: on the machine's monotonic clock.
    """
    arguments = (str(file), *(repr(moment_s) for moment_s in between_s))
    with stand.program(f"{name}-bare", "benchmarks.passes", *arguments, **settings) as program:
        texts, seconds = program.answer().split()
    return int(texts), float(seconds)

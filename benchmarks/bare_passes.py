"""Runner of the bare forward passes, benchmarks/passes.py, in a separate process."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.stand import Stand


def bare_passes(
    stand: Stand, name: str, file: Path, between_s: tuple[float, float], settings: Mapping[str, str]
) -> tuple[int, float]:
    """Return the number of texts in the passes of an interval, and the seconds that these passes take alone.

    name: the program that recorded the passes. between_s: the interval in which the passes ended, on the machine's
    monotonic clock.
    """
    arguments = (str(file), *(repr(moment_s) for moment_s in between_s))
    with stand.program(f"{name}-bare", "benchmarks.passes", *arguments, **settings) as program:
        texts, seconds = program.answer().split()
    return int(texts), float(seconds)

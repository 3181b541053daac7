"""Selection of the next batch among the waiting texts, and of its time, from token counts.

A batch is padded to its longest text, so it costs rows * longest tokens. Texts of similar length are grouped within a
bounded look-ahead. The oldest text is always in the batch, so no text starves.

Source: text-embeddings-inference (the budget of padded tokens).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np


@dataclass(frozen=True, slots=True)
class PackingSettings:
    """Limits of one batch.

    max_batch_tokens: maximum of rows times the longest row. A longer text runs alone.
    max_batch_rows: maximum number of rows.
    look_ahead: number of waiting texts, oldest first, that are considered for a batch.
    pass_overhead_tokens: fixed cost of a forward pass in tokens: small on a CPU, large on a GPU, which small batches
    leave idle.
    multiple: rows are padded to a multiple of so many tokens.
    max_wait_s: maximum time that the oldest text waits for a fuller batch.
    """

    max_batch_tokens: int = 2048
    max_batch_rows: int = 256
    look_ahead: int = 256
    pass_overhead_tokens: int = 64
    multiple: int = 1
    max_wait_s: float = 0.005

    @classmethod
    def for_device(cls, device_type: str, **overrides: Any) -> Self:
        """Return the default limits of a `cpu` or `cuda` device, with overrides applied."""
        if device_type == "cpu":
            return cls(**overrides)
        gpu = {
            "max_batch_tokens": 32_768,
            "max_batch_rows": 1024,
            "look_ahead": 2048,
            "pass_overhead_tokens": 4096,
            "multiple": 8,  # matrix units process tokens in groups of eight
        }
        return cls(**{**gpu, **overrides})

    def __post_init__(self) -> None:
        for name in ("max_batch_tokens", "max_batch_rows", "look_ahead", "multiple"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.max_wait_s < 0 or self.pass_overhead_tokens < 0:
            raise ValueError(
                f"max_wait_s={self.max_wait_s} and pass_overhead_tokens={self.pass_overhead_tokens} "
                "must not be below 0"
            )


def choose_batch(tokens: Sequence[int], settings: PackingSettings) -> list[int]:
    """Return the positions in `tokens` of the next batch's texts, ascending; 0 is always among them.

    tokens: token counts of the waiting texts, oldest first, at least one.
    Candidates are all runs of the look-ahead, sorted by length, that contain the oldest text and respect the limits.
    The run with the most unpadded tokens per cost is chosen; the cost is rows * longest + pass_overhead_tokens.
    """
    waiting = np.asarray(tokens[: settings.look_ahead], dtype=np.int64)  # (W,)
    multiple = settings.multiple
    padded = np.maximum(1, -(-waiting // multiple)) * multiple
    order = np.lexsort((np.arange(len(waiting)), padded))  # (W,), shortest first, then oldest
    oldest = int(np.flatnonzero(order == 0)[0])
    longest = padded[order]
    sums = np.concatenate(([0], np.cumsum(waiting[order])))  # (W + 1,)

    best, best_gain = (oldest, oldest + 1), -1.0
    starts_of_length = np.flatnonzero(np.diff(longest, prepend=0))
    ends_of_length = np.append(starts_of_length[1:], len(longest))
    for shortest_end, longest_end in zip(starts_of_length.tolist(), ends_of_length.tolist(), strict=True):
        length = int(longest[shortest_end])
        rows = min(settings.max_batch_rows, max(1, settings.max_batch_tokens // length))
        end = min(longest_end, oldest + rows)
        if end <= max(shortest_end, oldest):
            continue  # no run of this length contains the oldest text
        starts = np.arange(max(0, end - rows), oldest + 1)
        costs = (end - starts) * length + settings.pass_overhead_tokens
        gains = (sums[end] - sums[starts]) / costs
        top = int(np.argmax(gains))
        if gains[top] > best_gain:
            best, best_gain = (int(starts[top]), end), float(gains[top])
    return sorted(order[best[0] : best[1]].tolist())


def wait_s(
    *, waiting_rows: int, waiting_tokens: int, oldest_waited_s: float, busy: bool, settings: PackingSettings
) -> float:
    """Return the seconds to wait before packing the next batch; 0 means now.

    waiting_rows: the number of waiting texts, >= 1. waiting_tokens: their unpadded tokens.
    busy: whether a forward pass is running.
    The result is 0 if no pass is running, a batch is full, or the oldest text has waited for max_wait_s.
    """
    full = waiting_rows >= settings.max_batch_rows or waiting_tokens >= settings.max_batch_tokens
    if full or not busy:
        return 0.0
    return max(0.0, settings.max_wait_s - oldest_waited_s)

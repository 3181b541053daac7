"""When to hand over, and what. Pure.

Source: docs/handover.md.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from schemas.records import OffsetRange, TrainingRequest

Reason = Literal["labels", "time", "forced"]


@dataclass(frozen=True, slots=True)
class HandoverRule:
    """min_examples: so many are handed over at once. max_interval_s: how long the first of fewer may wait."""

    min_examples: int
    max_interval_s: float

    def reason(self, examples: int, waited_s: float, *, forced: bool) -> Reason | None:
        """Say why to hand over now, or None. waited_s: since the first example that is not handed over was seen."""
        if examples <= 0:
            return None
        if examples >= self.min_examples:
            return "labels"
        if waited_s >= self.max_interval_s:
            return "time"
        return "forced" if forced else None


def make_request(
    topic: str,
    starts: Mapping[int, int],
    ends: Mapping[int, int],
    *,
    examples: int,
    created_at_ms: int,
    reason: Reason,
) -> TrainingRequest:
    """Make the request for [start, end) of every partition that has news; the same ranges give the same id.

    Raises ValueError for an end before its start, or no news at all.
    """
    ranges = [
        OffsetRange(topic, partition, starts[partition], ends[partition])
        for partition in sorted(starts)
        if ends[partition] != starts[partition]
    ]
    if not ranges or any(part.end < part.start for part in ranges):
        raise ValueError(f"nothing to hand over from {dict(starts)} to {dict(ends)}")
    text = ";".join(f"{part.topic}[{part.partition}]{part.start}-{part.end}" for part in ranges)
    request_id = "r-" + hashlib.sha256(text.encode()).hexdigest()[:16]
    return TrainingRequest(request_id, ranges, examples, created_at_ms, reason)

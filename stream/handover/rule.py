"""Decides when to hand examples over, and builds the request.

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
    """min_examples: number of examples that triggers a request. max_interval_s: longest wait of an example."""

    min_examples: int
    max_interval_s: float

    def reason(self, examples: int, waited_s: float, *, forced: bool) -> Reason | None:
        """Return why a request is due, or None. waited_s: seconds since the oldest waiting example was written."""
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
    """Return the request for [start, end) of each partition with new examples; equal ranges give equal ids.

    Raises ValueError if an end is before its start, or if there are no new examples.
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

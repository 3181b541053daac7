"""The join of two runs by source record. The result does not depend on the order of the rows."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from sway.compare.scores import Rows, Scores


@dataclass(frozen=True, slots=True)
class Pairs:
    """Row indexes of A and B, each array ordered by (source topic, partition, offset).

    a, b: (P,) each, rows of the same source record at each index. only_a, only_b: rows without a counterpart.
    other_a, other_b: (Q,) each, rows with the same coordinates but different events.
    repeated_a, repeated_b: number of rows replaced by a later row of the same run and source record.
    """

    a: Rows
    b: Rows
    only_a: Rows
    only_b: Rows
    other_a: Rows
    other_b: Rows
    repeated_a: int
    repeated_b: int


def pair(a: Scores, b: Scores) -> Pairs:
    """Join two runs by source topic, partition and offset; the last row of a run for a source record wins."""
    split = len(a)
    groups = np.concatenate(_groups(a, b))
    offsets = np.concatenate((a.source_offset, b.source_offset))
    # The sort is stable: A's rows of a record come before B's, each in reading order.
    order = np.lexsort((offsets, groups))
    groups, offsets, in_b = groups[order], offsets[order], order >= split
    last = ~(_equal_next(groups, offsets) & _equal_next(in_b))
    order, groups, offsets = order[last], groups[last], offsets[last]
    # Each is a row of A that is followed by B's row of the same record.
    first = np.flatnonzero(_equal_next(groups, offsets))
    alone = np.ones(len(order), np.bool_)
    alone[first] = alone[first + 1] = False
    only = order[alone]
    rows_a, rows_b = order[first], order[first + 1] - split
    same = _same_event(a, b, rows_a, rows_b)
    kept_a = int((order < split).sum())
    return Pairs(
        a=rows_a[same],
        b=rows_b[same],
        only_a=only[only < split],
        only_b=only[only >= split] - split,
        other_a=rows_a[~same],
        other_b=rows_b[~same],
        repeated_a=len(a) - kept_a,
        repeated_b=len(b) - (len(order) - kept_a),
    )


def _groups(a: Scores, b: Scores) -> tuple[Rows, Rows]:
    """Return a number for the source topic and partition of each row, in their order and equal in both runs."""
    topics = sorted({*a.source_topic.values, *b.source_topic.values})
    numbers = {topic: number for number, topic in enumerate(topics)}

    def of(scores: Scores) -> Rows:
        found = np.array([numbers[topic] for topic in scores.source_topic.values], np.int64)
        return found[scores.source_topic.codes] << 32 | scores.source_partition.astype(np.int64)

    return of(a), of(b)


def _equal_next(*columns: np.ndarray) -> np.ndarray:
    """Return whether each row equals the next one, bool (N,); False for the last row."""
    equal = np.zeros(len(columns[0]), np.bool_)
    equal[:-1] = True
    for column in columns:
        equal[:-1] &= column[1:] == column[:-1]
    return equal


def _same_event(a: Scores, b: Scores, rows_a: Rows, rows_b: Rows) -> np.ndarray:
    """Return whether paired rows are of one event, bool (P,): a recreated topic has other events at its offsets."""
    equal = pc.equal(a.event_id.take(rows_a), b.event_id.take(rows_b))
    found: np.ndarray = equal.to_numpy(zero_copy_only=False).astype(np.bool_)
    return found

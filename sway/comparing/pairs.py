"""Which rows of two runs are of the same source record. Pure, and blind to the order of the rows."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from sway.comparing.scores import Rows, Scores


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows of A and B, each list in the order of (source topic, partition, offset).

    a, b: (P,) each, pair by pair the same source record. only_a, only_b: what the other run lacks.
    other_a, other_b: (Q,) each: the same coordinates, but another event.
    repeated_a, repeated_b: how many rows a later row of the same run and source record has replaced.
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
    """Join two runs by source topic, partition and offset; of a run's rows for one of them the last counts."""
    split = len(a)
    groups = np.concatenate(_groups(a, b))
    offsets = np.concatenate((a.source_offset, b.source_offset))
    order = np.lexsort(
        (offsets, groups)
    )  # stable: A's rows of a record come before B's, each in reading order
    groups, offsets, in_b = groups[order], offsets[order], order >= split
    last = ~(_equal_next(groups, offsets) & _equal_next(in_b))
    order, groups, offsets = order[last], groups[last], offsets[last]
    first = np.flatnonzero(
        _equal_next(groups, offsets)
    )  # a row of A, and the next is B's row of the same record
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
    """Return a number for each row's source topic and partition, in their order, and the same in both runs."""
    topics = sorted({*a.source_topic.values, *b.source_topic.values})
    numbers = {topic: number for number, topic in enumerate(topics)}

    def of(scores: Scores) -> Rows:
        found = np.array([numbers[topic] for topic in scores.source_topic.values], np.int64)
        return found[scores.source_topic.codes] << 32 | scores.source_partition.astype(np.int64)

    return of(a), of(b)


def _equal_next(*columns: np.ndarray) -> np.ndarray:
    """Return for each row whether the next one has the same values, bool (N,); False for the last."""
    equal = np.zeros(len(columns[0]), np.bool_)
    equal[:-1] = True
    for column in columns:
        equal[:-1] &= column[1:] == column[:-1]
    return equal


def _same_event(a: Scores, b: Scores, rows_a: Rows, rows_b: Rows) -> np.ndarray:
    """A topic that was made again has other events at its offsets."""
    equal = pc.equal(a.event_id.take(rows_a), b.event_id.take(rows_b))
    found: np.ndarray = equal.to_numpy(zero_copy_only=False).astype(np.bool_)
    return found

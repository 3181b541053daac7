"""The check that two runs have events in common."""

import numpy as np

from sway.compare.pairs import Pairs
from sway.compare.scores import Scores
from sway.errors import CommandError

_SHOWN = 3


def check_overlap(a: Scores, b: Scores, pairs: Pairs) -> None:
    """Raise CommandError with the reason if the runs have no event in common."""
    if len(pairs.a):
        return
    if len(pairs.other_a):
        raise CommandError(
            f"{a.run} and {b.run} have {len(pairs.other_a):,} source offsets in common, but different events, for "
            f"example at {_where(a, int(pairs.other_a[0]))}: the source topic was recreated between the runs, or the "
            "runs are of different clusters. Compare runs over the same records"
        )
    ours, theirs = _topics(a), _topics(b)
    if not ours & theirs:
        raise CommandError(
            f"{a.run} and {b.run} score different topics: {_listed(ours)}, and {_listed(theirs)}. "
            "Compare runs over the same source topic"
        )
    raise CommandError(
        f"{a.run} and {b.run} have no source offset in common: the first scores {_span(a)}, the second {_span(b)}. "
        "Compare runs over the same records"
    )


def _topics(scores: Scores) -> set[str]:
    return set(scores.source_topic.values)


def _listed(topics: set[str]) -> str:
    shown = sorted(topics)[:_SHOWN]
    return ", ".join(shown) + (", …" if len(topics) > _SHOWN else "")


def _span(scores: Scores) -> str:
    """Return the offset ranges of a run in its first few partitions, as text."""
    keys = np.stack((scores.source_topic.codes, scores.source_partition), axis=1)
    found = np.unique(keys, axis=0)
    spans = []
    for code, partition in found[:_SHOWN]:
        offsets = scores.source_offset[(keys == (code, partition)).all(axis=1)]
        topic = scores.source_topic.values[code]
        spans.append(f"{topic}[{partition}]@{offsets.min()} to {offsets.max()}")
    return ", ".join(spans) + (", …" if len(found) > _SHOWN else "")


def _where(scores: Scores, row: int) -> str:
    where = scores.coordinates(row)
    return f"{where.topic}[{where.partition}]@{where.offset}"

"""The comparison of two runs of scores. The result does not depend on the order of the rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sway.compare.differences import Bin, Moved, difference, histogram, moved, same_bits
from sway.compare.labels import Labelled, Labels, judge
from sway.compare.overlap import check_overlap
from sway.compare.pairs import Pairs, pair
from sway.compare.ranks import spearman, spearman_by_group
from sway.compare.scores import Coordinates, Rows, Scores

MIN_SCORES_OF_A_USER = 5
"""Users with fewer scores are left out of the correlation within users."""
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Run:
    """The totals of one run.

    scores: distinct source records. repeated: scores replaced by a later score of the same record.
    model_versions, dtypes: number of scores of each.
    """

    run: str
    scores: int
    repeated: int
    model_versions: dict[str, int]
    dtypes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Unmatched:
    """Source records without a counterpart in the other run: their count and the first few."""

    count: int
    examples: list[Coordinates]


@dataclass(frozen=True, slots=True)
class Spearman:
    """Rank correlation of influence.

    all: over all pairs. within_users: the mean over users with enough distinct scores, whose number is `users`.
    not_comparable: pairs left out because a value is NaN.
    """

    all: float
    within_users: float
    users: int
    not_comparable: int


@dataclass(frozen=True, slots=True)
class Mover:
    """A pair with a large change of influence; a, b: the influence in each run."""

    event_id: str
    user_id: str
    item_id: str
    source: Coordinates
    a: float
    b: float


@dataclass(frozen=True, slots=True)
class Flags:
    """Number of pairs that differ in each flag: their scored input differs, not only the model."""

    behaviours: int
    truncated: int
    duplicate: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of `compare`. All figures except a, b, only_a, only_b and other_event are over the pairs in both runs.

    both: number of pairs. identical: pairs with bitwise equal y_hat, z_hat and influence. within_tolerance: pairs in
    which none of the three differs by more than tolerance. influence_over: pairs whose influence differs by more than
    influence_limit, or is NaN in only one run; None without a limit.
    """

    a: Run
    b: Run
    both: int
    only_a: Unmatched
    only_b: Unmatched
    other_event: Unmatched
    identical: int
    tolerance: float
    within_tolerance: int
    influence: Moved
    y_hat: Moved
    z_hat: Moved
    histogram: list[Bin]
    spearman: Spearman
    flags: Flags
    labelled: Labelled | None
    movers: list[Mover]
    influence_limit: float | None
    influence_over: int | None

    @property
    def agrees(self) -> bool:
        """Whether all source records are in both runs with the same event, and no influence exceeds the limit."""
        return not (self.influence_over or self.only_a.count or self.only_b.count or self.other_event.count)


def compare(
    a: Scores,
    b: Scores,
    labels: Labels | None = None,
    *,
    tolerance: float = 1e-5,
    movers: int = 10,
    influence_limit: float | None = None,
) -> Comparison:
    """Join two runs by source offset and measure how B differs from A.

    tolerance, influence_limit: in units of y_hat, z_hat and influence, 0 or more. movers: maximum number of movers.
    Raises CommandError with the reason if the runs have no event in common.
    """
    pairs = pair(a, b)
    check_overlap(a, b, pairs)
    by_name = {
        name: (getattr(a, name)[pairs.a], getattr(b, name)[pairs.b])
        for name in ("influence", "y_hat", "z_hat")
    }
    differences = {name: difference(*columns) for name, columns in by_name.items()}
    shift = differences["influence"]
    identical = np.logical_and.reduce([same_bits(*columns) for columns in by_name.values()])
    within = np.logical_and.reduce([np.abs(found) <= tolerance for found in differences.values()])
    return Comparison(
        a=_run(a, pairs.repeated_a, np.concatenate((pairs.a, pairs.only_a, pairs.other_a))),
        b=_run(b, pairs.repeated_b, np.concatenate((pairs.b, pairs.only_b, pairs.other_b))),
        both=len(pairs.a),
        only_a=_unmatched(a, pairs.only_a),
        only_b=_unmatched(b, pairs.only_b),
        other_event=_unmatched(a, pairs.other_a),
        identical=int(identical.sum()),
        tolerance=tolerance,
        within_tolerance=int(within.sum()),
        **{name: moved(*columns) for name, columns in by_name.items()},
        histogram=histogram(shift),
        spearman=_spearman(a, pairs, *by_name["influence"]),
        flags=_flags(a, b, pairs),
        labelled=judge(labels, a, b, pairs.a, pairs.b) if labels else None,
        movers=[_mover(a, b, pairs, index) for index in _largest(shift, movers)],
        influence_limit=influence_limit,
        influence_over=None if influence_limit is None else int((~(np.abs(shift) <= influence_limit)).sum()),
    )


def _run(scores: Scores, repeated: int, rows: Rows) -> Run:
    return Run(scores.run, len(rows), repeated, scores.model_version.counts(rows), scores.dtype.counts(rows))


def _unmatched(scores: Scores, rows: Rows) -> Unmatched:
    return Unmatched(len(rows), [scores.coordinates(int(row)) for row in rows[:_EXAMPLES]])


def _spearman(a: Scores, pairs: Pairs, ours: np.ndarray, theirs: np.ndarray) -> Spearman:
    known = ~(np.isnan(ours) | np.isnan(theirs))
    ours, theirs = ours[known], theirs[known]
    users = a.user_id.codes[pairs.a][known].astype(np.int64)
    enough = np.bincount(users, minlength=1)[users] >= MIN_SCORES_OF_A_USER
    own = spearman_by_group(ours[enough], theirs[enough], users[enough])
    own = own[np.isfinite(own)]
    return Spearman(
        all=spearman(ours, theirs),
        # fsum makes the sum independent of the row order.
        within_users=math.fsum(own) / len(own) if len(own) else float("nan"),
        users=len(own),
        not_comparable=int((~known).sum()),
    )


def _flags(a: Scores, b: Scores, pairs: Pairs) -> Flags:
    def differing(name: str) -> int:
        return int((getattr(a, name)[pairs.a] != getattr(b, name)[pairs.b]).sum())

    return Flags(differing("behaviours"), differing("truncated"), differing("duplicate"))


def _largest(shift: np.ndarray, count: int) -> Sequence[int]:
    """Return the indexes of the largest changes; NaN in only one run comes first, ties keep the order of the pairs."""
    size = np.where(np.isnan(shift), np.inf, np.abs(shift))
    indexes: list[int] = np.argsort(-size, kind="stable")[:count].tolist()
    return [index for index in indexes if size[index]]


def _mover(a: Scores, b: Scores, pairs: Pairs, index: int) -> Mover:
    row_a, row_b = int(pairs.a[index]), int(pairs.b[index])
    return Mover(
        event_id=a.event_id[row_a].as_py(),
        user_id=a.user_id.at(row_a),
        item_id=a.item_id.at(row_a),
        source=a.coordinates(row_a),
        a=float(a.influence[row_a]),
        b=float(b.influence[row_b]),
    )

"""Two runs of scores, compared. Pure: columns in, figures out; the same whatever order the rows come in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sway.comparing.differences import Bin, Moved, difference, histogram, moved, same_bits
from sway.comparing.labels import Labelled, Labels, judge
from sway.comparing.pairs import Pairs, pair
from sway.comparing.ranks import spearman, spearman_by_group
from sway.comparing.scores import Coordinates, Rows, Scores
from sway.comparing.strangers import refuse_strangers

MIN_SCORES_OF_A_USER = 5
"""Fewer say little about how a user's behaviours are ordered."""
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Run:
    """One of the two. scores: distinct source records; repeated: scores that a later one has replaced.

    model_versions, dtypes: how many of the scores each has.
    """

    run: str
    scores: int
    repeated: int
    model_versions: dict[str, int]
    dtypes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Lacking:
    """Source records that only one of the runs has a score for: how many, and the first few."""

    count: int
    examples: list[Coordinates]


@dataclass(frozen=True, slots=True)
class Spearman:
    """Rank correlation of influence. within_users: the mean over `users`, those with enough scores that differ."""

    all: float
    within_users: float
    users: int
    not_comparable: int


@dataclass(frozen=True, slots=True)
class Mover:
    """A pair whose influence moved; a, b: the influence."""

    event_id: str
    user_id: str
    item_id: str
    source: Coordinates
    a: float
    b: float


@dataclass(frozen=True, slots=True)
class Flags:
    """In how many pairs each of these differs: other texts were scored, not only by another model."""

    behaviours: int
    truncated: int
    duplicate: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` found; all figures but a, b, only_a, only_b and other_event are of the pairs in both.

    identical: y_hat, z_hat and influence have the same bits. within_tolerance: none of them moved by more.
    influence_over: pairs whose influence moved by more than influence_limit, or to or from NaN; None without a limit.
    """

    a: Run
    b: Run
    both: int
    only_a: Lacking
    only_b: Lacking
    other_event: Lacking
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
        """Whether no influence is over the limit, and every source record is in both runs as the same event."""
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
    """Join two runs by source offset and say how B differs from A.

    tolerance, influence_limit: in units of y_hat, z_hat and influence, 0 or more. movers: at most so many.
    Raises CommandError, saying why, if no event is in both.
    """
    pairs = pair(a, b)
    refuse_strangers(a, b, pairs)
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
        only_a=_lacking(a, pairs.only_a),
        only_b=_lacking(b, pairs.only_b),
        other_event=_lacking(a, pairs.other_a),
        identical=int(identical.sum()),
        tolerance=tolerance,
        within_tolerance=int(within.sum()),
        **{name: moved(*columns) for name, columns in by_name.items()},
        histogram=histogram(shift),
        spearman=_spearman(a, pairs, *by_name["influence"]),
        flags=_flags(a, b, pairs),
        labelled=judge(labels, a, b, pairs.a, pairs.b) if labels else None,
        movers=[_mover(a, b, pairs, place) for place in _largest(shift, movers)],
        influence_limit=influence_limit,
        influence_over=None if influence_limit is None else int((~(np.abs(shift) <= influence_limit)).sum()),
    )


def _run(scores: Scores, repeated: int, rows: Rows) -> Run:
    return Run(scores.run, len(rows), repeated, scores.model_version.counts(rows), scores.dtype.counts(rows))


def _lacking(scores: Scores, rows: Rows) -> Lacking:
    return Lacking(len(rows), [scores.coordinates(int(row)) for row in rows[:_EXAMPLES]])


def _spearman(a: Scores, pairs: Pairs, ours: np.ndarray, theirs: np.ndarray) -> Spearman:
    known = ~(np.isnan(ours) | np.isnan(theirs))
    ours, theirs = ours[known], theirs[known]
    users = a.user_id.codes[pairs.a][known].astype(np.int64)
    enough = np.bincount(users, minlength=1)[users] >= MIN_SCORES_OF_A_USER
    own = spearman_by_group(ours[enough], theirs[enough], users[enough])
    own = own[np.isfinite(own)]
    return Spearman(
        all=spearman(ours, theirs),
        # fsum, since users come in the order of the rows and a sum of floats depends on it
        within_users=math.fsum(own) / len(own) if len(own) else float("nan"),
        users=len(own),
        not_comparable=int((~known).sum()),
    )


def _flags(a: Scores, b: Scores, pairs: Pairs) -> Flags:
    def differing(name: str) -> int:
        return int((getattr(a, name)[pairs.a] != getattr(b, name)[pairs.b]).sum())

    return Flags(differing("behaviours"), differing("truncated"), differing("duplicate"))


def _largest(shift: np.ndarray, count: int) -> Sequence[int]:
    """Return the places of those that moved furthest, to or from NaN first, equal ones in the pairs' order."""
    size = np.where(np.isnan(shift), np.inf, np.abs(shift))
    places: list[int] = np.argsort(-size, kind="stable")[:count].tolist()
    return [place for place in places if size[place]]


def _mover(a: Scores, b: Scores, pairs: Pairs, place: int) -> Mover:
    row_a, row_b = int(pairs.a[place]), int(pairs.b[place])
    return Mover(
        event_id=a.event_id[row_a].as_py(),
        user_id=a.user_id.at(row_a),
        item_id=a.item_id.at(row_a),
        source=a.coordinates(row_a),
        a=float(a.influence[row_a]),
        b=float(b.influence[row_b]),
    )

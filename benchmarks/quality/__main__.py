"""How good scores are on real data, split by time: `python -m benchmarks.quality`, or `make quality`.

    python -m benchmarks.quality [--quick] [late] [implicit] [groceries] [joint]

Of MovieLens-100K: late, the late reading and its numbers; implicit, the same from examples of the product's label join
with likes alone told; joint, the joint reading. groceries: the late reading on baskets. Without a name all. Everything
that is done is kept in build/quality/ and not done again: remove the folder to begin anew. Writes there late.md,
implicit.md and groceries.md, and rows of part, name, value, aim, met into summary.json; of joint table.md, metrics.json
and report/.
--quick takes the oldest few thousand events: it shows that the command works, not how good anything is.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # LightGBM's and torch's: more of them only wait for each other

from benchmarks.quality import groceries, implicit, joint, late
from sway.movielens import fetch, rated_events

FOLDER = Path("build/quality")
QUICK_RATINGS = 10_000
QUICK_IMPLICIT = 4_000  # the label join is a real one, with a broker
STUDIES = ("late", "implicit", "groceries", "joint")

_ON_RATINGS = {"late": late.run, "implicit": implicit.run, "joint": joint.run}


def main() -> None:
    """Run what is named."""
    quick = "--quick" in sys.argv[1:]
    named = [word for word in sys.argv[1:] if word != "--quick"]
    if unknown := set(named) - set(STUDIES):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(STUDIES)}, and --quick")
    folder = FOLDER / "quick" if quick else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in [name for name in STUDIES if name in named or not named]:
        if name == "groceries":
            groceries.run(folder, quick=quick)
            continue
        pairs = list(rated_events(fetch()))
        if quick:
            pairs = pairs[: QUICK_IMPLICIT if name == "implicit" else QUICK_RATINGS]
        train, valid = round(len(pairs) * 0.8), round(len(pairs) * 0.1)
        _ON_RATINGS[name](pairs, train, valid, folder, quick=quick)


if __name__ == "__main__":
    main()

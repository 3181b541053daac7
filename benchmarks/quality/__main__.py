"""How good scores are on MovieLens-100K, split by time: `python -m benchmarks.quality`, or `make quality`.

    python -m benchmarks.quality [--quick] [late] [joint]

late: the late reading and its numbers, first; joint: the joint reading; without a name both. Everything that is done is
kept in build/quality/ and not done again: remove the folder to begin anew. Writes there table.md, metrics.json and
report/ (joint), late.md and summary.json (late): rows of name, value, aim, met.
--quick takes the oldest 10,000 ratings: it shows that the command works, not how good anything is.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # LightGBM's and torch's: more of them only wait for each other

from benchmarks.quality import joint, late
from sway.movielens import fetch, rated_events

FOLDER = Path("build/quality")
QUICK_RATINGS = 10_000
STUDIES = ("late", "joint")


def main() -> None:
    """Run what is named."""
    named = [word for word in sys.argv[1:] if word != "--quick"]
    if unknown := set(named) - set(STUDIES):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(STUDIES)}, and --quick")
    quick = "--quick" in sys.argv[1:]
    pairs = list(rated_events(fetch()))[: QUICK_RATINGS if quick else None]
    train, valid = round(len(pairs) * 0.8), round(len(pairs) * 0.1)
    folder = FOLDER / "quick" if quick else FOLDER
    if "late" in named or not named:
        late.run(pairs, train, valid, folder, quick=quick)
    if "joint" in named or not named:
        joint.run(pairs, train, valid, folder, quick=quick)


if __name__ == "__main__":
    main()

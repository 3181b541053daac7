"""Quality of scores on real data, split by time: `python -m benchmarks.quality` or `make quality`.

    python -m benchmarks.quality [--quick] [late] [implicit] [groceries] [joint]

On MovieLens-100K, `late` evaluates the late reading, `implicit` the late reading with examples from the label join and
only likes observed, and `joint` the joint reading. `groceries` evaluates the late reading on baskets. All parts run by
default. Results are kept in build/quality/ and not computed again; remove the folder to start over. The folder gets
late.md, implicit.md, groceries.md and summary.json with rows of part, name, value, aim and met; `joint` writes
table.md, metrics.json and report/.
--quick uses the oldest few thousand events. It checks that the command works, not the quality.
"""

import os
import sys
from pathlib import Path

# More OpenMP threads of LightGBM and torch would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.quality import groceries, implicit, joint, late
from sway.demo.movielens import fetch, rated_events

FOLDER = Path("build/quality")
QUICK_RATINGS = 10_000
QUICK_IMPLICIT = 4_000  # fewer, because the label join runs with a real broker
STUDIES = ("late", "implicit", "groceries", "joint")

_ON_RATINGS = {"late": late.run, "implicit": implicit.run, "joint": joint.run}


def main() -> None:
    """Run the named studies, or all."""
    quick = "--quick" in sys.argv[1:]
    named = [word for word in sys.argv[1:] if word != "--quick"]
    if unknown := set(named) - set(STUDIES):
        sys.exit(
            f"unknown argument: {', '.join(sorted(unknown))}; allowed are {', '.join(STUDIES)} and --quick"
        )
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

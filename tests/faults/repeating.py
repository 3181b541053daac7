"""Plays cases many times, several copies at once and a load beside them: what one play hides, thirty may show.

Each play is a process pool's task with brokers of its own, and one JSON line in the file of rows. A play that stands
there is not played again, so a series that was broken off goes on where it was.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.faults.case import Case

Plain = dict[str, Any]
"""A row of playing.Row as plain values, with the series it belongs to."""

_kept = ExitStack()  # of a pool's process: what its plays share
_registry: Path | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """times: plays of each case. copies: how many at once. beside: "training" or nothing. code: the commit played."""

    times: int
    copies: int
    beside: str
    code: str

    @property
    def slower(self) -> int:
        """How many times longer than alone on the machine a case may take in all; its bounds of recovery stay."""
        return self.copies + bool(self.beside)

    @property
    def name(self) -> str:
        """What rows must have in common to be counted together."""
        return f"{self.code}, {self.copies} at once, beside: {self.beside or 'nothing'}"


def repeat(cases: Sequence[Case], series: Series, path: Path, say: Callable[[str], None]) -> list[Plain]:
    """Play what is missing in the file of rows, one case a process; return all rows of the series."""
    rows = read_rows(path, series)
    left = missing(cases, rows, series.times)
    say(f"{len(left)} plays to go, {len(rows)} done: {series.name}")
    with (
        _beside(series.beside),
        ProcessPoolExecutor(series.copies, get_context("spawn"), initializer=_set_up) as pool,
    ):
        played = [pool.submit(_play_by_name, case.name, series.slower) for case in left]
        for one in as_completed(played):
            row = one.result() | {"series": series.name}
            rows.append(row)
            _append(path, row)
            say(told(row))
    return rows


def missing(cases: Sequence[Case], rows: Sequence[Plain], times: int) -> list[Case]:
    """Return the plays to do: each case in turn, so that a series that is broken off has some of each."""
    done: dict[str, int] = defaultdict(int)
    for row in rows:
        done[row["case"]] += 1
    return [case for number in range(times) for case in cases if done[case.name] <= number]


def read_rows(path: Path, series: Series) -> list[Plain]:
    """Return the rows of this series that the file has; none without a file."""
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [row for row in rows if row["series"] == series.name]


def summary(rows: Sequence[Plain]) -> Iterator[str]:
    """Yield a line a case, in Markdown: how many plays passed, what was lost or doubled, how long recovery took."""
    yield "| case | plays | passed | events | lost | double | recovery: median, longest | after an answer, longest |"
    yield "|---|---|---|---|---|---|---|---|"
    by_case: dict[str, list[Plain]] = defaultdict(list)
    for row in rows:
        by_case[row["case"]].append(row)
    for case, of_case in by_case.items():
        passed = sum(row["passed"] for row in of_case)
        sums = [f"{sum(row[name] for row in of_case):,}" for name in ("events", "lost", "duplicates")]
        took_s = sorted(row["recovery_s"] for row in of_case)
        after_s = max(row["after_answer_s"] for row in of_case)
        cells = [
            case,
            str(len(of_case)),
            str(passed),
            *sums,
            f"{took_s[len(took_s) // 2]:.1f} s, {took_s[-1]:.1f} s",
            f"{after_s:.1f} s",
        ]
        yield f"| {' | '.join(cells)} |"


def told(row: Plain) -> str:
    """Return one line about a play, and one for each of its problems."""
    line = (
        f"{'passed' if row['passed'] else 'FAILED'}: {row['events']} events, lost {row['lost']}, double "
        f"{row['duplicates']}, recovery {row['recovery_s']} s ({row['after_answer_s']} s after the brokers' answer), "
        f"took {row['took_s']} s at load {row['load']}: {row['case']}"
    )
    return "\n    ".join([line, *row["problems"]])


def commit() -> str:
    """Return the commit that is played, with a + if files differ from it."""
    git = ["git", "describe", "--always", "--exclude", "*", "--dirty=+"]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()


def _append(path: Path, row: Plain) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


@contextmanager
def _beside(what: str) -> Iterator[None]:
    """Run a load beside the plays."""
    if not what:
        yield
        return
    load = subprocess.Popen([sys.executable, "-m", "tests.faults.beside", str(os.getpid())])
    try:
        yield
        assert load.poll() is None, f"the load beside the plays ended with {load.returncode}"
    finally:
        load.kill()
        load.wait()


def _set_up() -> None:
    """Make what the plays of this process share."""
    global _registry
    from tests.support.tiny import make_base, make_registry

    folder = Path(_kept.enter_context(tempfile.TemporaryDirectory(prefix="sway-faults-")))
    _registry = make_registry(folder / "registry", make_base(folder / "base"), folder / "champion")


def _play_by_name(name: str, slower: int) -> Plain:
    from tests.faults.brokers_of import Brokers
    from tests.faults.catalogue import CASES
    from tests.faults.playing import play

    assert _registry is not None
    (case,) = (case for case in CASES if case.name == name)
    case = replace(case, limit_s=slower * case.limit_s)
    lines: list[str] = []
    with Brokers() as brokers, brokers.of(case) as kafka:
        row = play(case, kafka, _registry, lines.append)
    return row.to_plain() | {"load": round(os.getloadavg()[0], 1)}

"""Play cases many times, several at once and beside a load, to find failures that a single play does not show.

Each play is a task of a process pool with its own brokers, and one JSON line in the file of rows. Plays that have a
row are not repeated, so an interrupted series continues where it stopped.
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
"""A playing.Row as plain values, with the name of its series."""

_kept = ExitStack()  # resources shared by the plays of a pool process
_registry: Path | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A series of plays.

    times: plays of each case. copies: concurrent plays. beside: "training" or "". code: the commit that is played.
    """

    times: int
    copies: int
    beside: str
    code: str

    @property
    def slower(self) -> int:
        """The factor for a case's total time limit; its limits of recovery stay the same."""
        return self.copies + bool(self.beside)

    @property
    def name(self) -> str:
        """The name of the series; rows with the same name are counted together."""
        return f"{self.code}, {self.copies} at once, beside: {self.beside or 'nothing'}"


def repeat(cases: Sequence[Case], series: Series, path: Path, say: Callable[[str], None]) -> list[Plain]:
    """Play the cases missing in the file of rows, each in a process; return all rows of the series."""
    rows = read_rows(path, series)
    left = missing(cases, rows, series.times)
    say(f"{len(left)} plays left, {len(rows)} done: {series.name}")
    with (
        _beside(series.beside),
        ProcessPoolExecutor(series.copies, get_context("spawn"), initializer=_set_up) as pool,
    ):
        played = [pool.submit(_play_by_name, case.name, series.slower) for case in left]
        for one in as_completed(played):
            row = one.result() | {"series": series.name}
            rows.append(row)
            _append(path, row)
            say(report(row))
    return rows


def missing(cases: Sequence[Case], rows: Sequence[Plain], times: int) -> list[Case]:
    """Return the remaining plays in turns, so that an interrupted series has some plays of each case."""
    done: dict[str, int] = defaultdict(int)
    for row in rows:
        done[row["case"]] += 1
    return [case for number in range(times) for case in cases if done[case.name] <= number]


def read_rows(path: Path, series: Series) -> list[Plain]:
    """Return the rows of this series in the file; none if there is no file."""
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [row for row in rows if row["series"] == series.name]


def summary(rows: Sequence[Plain]) -> Iterator[str]:
    """Yield a Markdown table with a line per case: passed plays, lost and duplicate records, and recovery times."""
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


def report(row: Plain) -> str:
    """Return one line about a play, and one for each of its problems."""
    line = (
        f"{'passed' if row['passed'] else 'FAILED'}: {row['events']} events, lost {row['lost']}, double "
        f"{row['duplicates']}, recovery {row['recovery_s']} s ({row['after_answer_s']} s after the brokers' answer), "
        f"took {row['took_s']} s at load {row['load']}: {row['case']}"
    )
    return "\n    ".join([line, *row["problems"]])


def commit() -> str:
    """Return the current commit, with a + if the checkout has changes."""
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
    """Create the resources shared by the plays of this process."""
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

"""`make faults`: play the fault cases of the catalogue on real brokers and workers, and audit the results.

Prints a row per case and writes all rows to build/faults.json. Exits with 1 if a case failed. `make faults ONLY="disk
full"` plays the cases whose names contain the words, or one of several alternatives separated by bars. With REPEAT=30
each case is played that often, COPIES=2 at once, BESIDE=training beside a load: each play is a JSON line in
build/faults-repeated.jsonl.
"""

import argparse
import faulthandler
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.case import Case
    from tests.faults.playing import Row

OUTPUT = Path("build/faults.json")
REPEATED = Path("build/faults-repeated.jsonl")
_COLUMNS = "{:>8} {:>8} {:>6} {:>5} {:>6} {:>10}  {}"


_IN_NAMESPACE = "SWAY_FAULTS_NAME_SPACE"


def enter_mount_namespace() -> None:
    """Restart this program in its own mount namespace, where it may mount a small disk, if the system allows it.

    Linux allows it, also without root.
    """
    unshare = shutil.which("unshare")
    if unshare is None or _IN_NAMESPACE in os.environ:
        return
    flags = ["-m"] if os.geteuid() == 0 else ["-Urm"]
    if subprocess.run([unshare, *flags, "true"], capture_output=True, check=False).returncode == 0:
        os.environ[_IN_NAMESPACE] = "1"
        os.execv(unshare, [unshare, *flags, sys.executable, "-m", "tests.faults", *sys.argv[1:]])  # noqa: S606


def main() -> int:
    """Play the cases and return the exit status."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from tests.faults.catalogue import CASES

    faulthandler.register(signal.SIGUSR1)  # `kill -USR1` prints the stacks of a run that hangs
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("only", nargs="?", default="", help="play the cases whose names contain these words")
    parser.add_argument(
        "--repeat", type=int, default=0, help="play each case so many times, each play in a separate process"
    )
    parser.add_argument("--copies", type=int, default=1, help="number of concurrent plays, with --repeat")
    parser.add_argument(
        "--beside",
        choices=("", "training"),
        default="",
        help="a load that runs beside the plays, with --repeat",
    )
    parser.add_argument(
        "--table", action="store_true", help="print the last run's rows as a table, and play nothing"
    )
    options = parser.parse_args()
    if options.table:
        return show_table()
    chosen = [case for case in CASES if _is_chosen(case.name, options.only)]
    if not chosen:
        parser.error(
            f"no case contains {options.only!r}; the cases are: {'; '.join(case.name for case in CASES)}"
        )
    if options.repeat:
        return play_repeatedly(chosen, options.repeat, options.copies, options.beside)
    return play_once(chosen)


def _is_chosen(name: str, only: str) -> bool:
    return any(words.strip().lower() in name.lower() for words in only.split("|"))


def play_repeatedly(cases: "Sequence[Case]", times: int, copies: int, beside: str) -> int:
    """Play each case many times and return the exit status."""
    from tests.faults.repeating import Series, commit, repeat, summary

    rows = repeat(
        cases, Series(times, copies, beside, commit()), REPEATED, lambda line: print(line, flush=True)
    )
    print(*summary(rows), sep="\n")
    return 0 if all(row["passed"] for row in rows) else 1


def play_once(chosen: "Sequence[Case]") -> int:
    """Play each case once, in order, and return the exit status."""
    from tests.faults.brokers_of import Brokers
    from tests.faults.playing import play
    from tests.support.tiny import make_base, make_registry

    rows: list[Row] = []
    print(_COLUMNS.format("events", "scores", "dead", "lost", "double", "recovery", "case"), flush=True)
    with tempfile.TemporaryDirectory(prefix="sway-faults-") as name, Brokers() as brokers:
        folder = Path(name)
        registry = make_registry(folder / "registry", make_base(folder / "base"), folder / "champion")
        for case in chosen:
            with brokers.of(case) as kafka:
                row = play(case, kafka, registry, print)
            rows.append(row)
            _show(row)
            OUTPUT.parent.mkdir(exist_ok=True)
            OUTPUT.write_text(json.dumps([row.to_plain() for row in rows], indent=2))
    failed = [row for row in rows if not row.passed]
    seconds = sum(row.took_s for row in rows)
    print(f"{len(rows) - len(failed)} of {len(rows)} cases passed in {seconds / 60:.1f} min; {OUTPUT}")
    return 1 if failed else 0


def show_table() -> int:
    """Print docs/faults.md from build/faults.json."""
    from tests.faults.catalogue import CASES
    from tests.faults.table import page

    sys.stdout.write(page(json.loads(OUTPUT.read_text()), [case.name for case in CASES]))
    return 0


def _show(row: "Row") -> None:
    print(
        _COLUMNS.format(
            row.events,
            row.scores,
            row.dead_letters,
            row.lost,
            row.duplicates,
            f"{row.recovery_s:.1f} s",
            row.case + "".join(f"; {name} {value}" for name, value in row.notes.items()),
        ),
        flush=True,
    )
    for problem in row.problems:
        print(f"    FAILED: {problem}", flush=True)


if __name__ == "__main__":
    enter_mount_namespace()
    sys.exit(main())

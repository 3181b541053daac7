"""Runner of all benchmarks: `python -m benchmarks` or `make bench`; `python -m benchmarks late` for the late reading.

Prints a table and writes build/bench/summary.json, a list of rows, and build/bench/machine.json. A missed aim is shown
but does not fail the command. Rates depend on other load on the machine, so the load is recorded too.
"""

import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import (
    batched_path,
    cold_windows,
    decode,
    importing,
    late_path,
    latency,
    machine,
    replay,
    whole_path,
)
from benchmarks.rows import Row
from benchmarks.stand import Stand
from sway.embedded import EmbeddedKafka

FOLDER = Path("build/bench")


def main() -> None:
    """Run the benchmarks, print the table and write the files."""
    console = Console()
    began = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    about = machine.describe()
    console.print_json(data=about)
    rows = _late() if sys.argv[1:] == ["late"] else _measure(console)
    about["load_at_the_end"] = [round(load, 2) for load in os.getloadavg()]
    _write("machine.json", about)
    _write("summary.json", [asdict(row) for row in rows])
    console.print(_table(rows))
    console.print(f"{time.monotonic() - began:.0f} s; {FOLDER / 'summary.json'}")


def _late() -> list[Row]:
    with EmbeddedKafka() as kafka:
        return [*cold_windows.rows(), *late_path.rows(Stand(kafka, FOLDER))]


def _measure(console: Console) -> list[Row]:
    rows = [*decode.rows(), *cold_windows.rows()]
    with console.status("Kafka") as status, EmbeddedKafka() as kafka:
        stand = Stand(kafka, FOLDER)
        events = max(batched_path.EVENTS, replay.RECORDS)
        status.update(f"{events:,} events")
        stand.load(events)
        status.update("import")
        rows += importing.rows(stand)
        status.update("batched path")
        rows += batched_path.rows(stand)
        status.update("whole path")
        rows += whole_path.rows(stand, events)
        status.update("late reading")
        rows += late_path.rows(stand)
        status.update("replay")
        rows += replay.rows(stand)
        status.update("latency")
        rows += latency.rows(stand)
    return rows


def _table(rows: list[Row]) -> Table:
    table = Table("", "value", "peer", "value", "ratio", "aim", "met")
    for number in (1, 3, 4, 5):
        table.columns[number].justify = "right"
    for row in rows:
        met = {None: "", True: "yes", False: "[bold red]no[/]"}[row.met]
        ours, theirs = (
            f"{row.value:,.4g} {row.unit}",
            "" if row.peer_value is None else f"{row.peer_value:,.4g}",
        )
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        table.add_row(row.name, ours, row.peer or "", theirs, ratio, row.aim or "", met)
    return table


def _write(name: str, content: object) -> None:
    (FOLDER / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

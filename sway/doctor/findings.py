"""What a check found, and how all of it is shown. Pure but for the console."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from rich import box
from rich.table import Table
from rich.text import Text


class Status(StrEnum):
    """How bad it is: a FAIL keeps a worker from working, or makes its scores wrong."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


_SEVERITY = {Status.OK: 0, Status.WARN: 1, Status.FAIL: 2}
_STYLES = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: what was looked at, what is the case, and what to do about it."""

    check: str
    status: Status
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """Return the finding that all is well."""
    return Finding(check, Status.OK, found)


def warn(check: str, found: str, advice: str = "") -> Finding:
    """Return the finding that a worker would run, but not as well as it could."""
    return Finding(check, Status.WARN, found, advice)


def fail(check: str, found: str, advice: str = "") -> Finding:
    """Return the finding that a worker cannot run, or that what it makes would be wrong."""
    return Finding(check, Status.FAIL, found, advice)


def worst(statuses: Iterable[Status]) -> Status:
    """Return the worst of them; ok if there are none."""
    return max(statuses, key=_SEVERITY.__getitem__, default=Status.OK)


def as_json(findings: Sequence[Finding]) -> str:
    """Return {"status": the worst, "findings": [...]}, in the order of the checks."""
    status = worst(finding.status for finding in findings)
    return json.dumps({"status": status, "findings": [asdict(finding) for finding in findings]}, indent=2)


def as_table(findings: Sequence[Finding]) -> Table:
    """Return a table with a row for each finding."""
    table = Table(box=box.SIMPLE_HEAD, expand=True, show_lines=False, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("what is the case", ratio=3, overflow="fold")
    table.add_column("what to do", ratio=2, overflow="fold")
    for finding in findings:
        # Text, not markup: what was found may hold square brackets.
        table.add_row(
            Text(finding.check),
            Text(finding.status, style=_STYLES[finding.status]),
            Text(finding.found),
            Text(finding.advice),
        )
    return table


def summary(findings: Sequence[Finding]) -> str:
    """Return the last line: how many of each."""
    counts = {status: sum(finding.status is status for finding in findings) for status in Status}
    return ", ".join(f"{count} {status}" for status, count in counts.items())

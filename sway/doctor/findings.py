"""The findings of checks, and their rendering as a table or JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from rich import box
from rich.table import Table
from rich.text import Text


class Status(StrEnum):
    """The severity of a finding. FAIL: a worker cannot run, or its scores would be wrong."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


_SEVERITY = {Status.OK: 0, Status.WARN: 1, Status.FAIL: 2}
_STYLES = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """A check, its result, and advice on what to do."""

    check: str
    status: Status
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(check, Status.OK, found)


def warn(check: str, found: str, advice: str = "") -> Finding:
    """Return a finding for a problem with which a worker can still run."""
    return Finding(check, Status.WARN, found, advice)


def fail(check: str, found: str, advice: str = "") -> Finding:
    """Return a finding for a problem with which a worker cannot run, or would write wrong results."""
    return Finding(check, Status.FAIL, found, advice)


def worst(statuses: Iterable[Status]) -> Status:
    """Return the highest severity; ok if there are no findings."""
    return max(statuses, key=_SEVERITY.__getitem__, default=Status.OK)


def as_json(findings: Sequence[Finding]) -> str:
    """Return {"status": the highest severity, "findings": [...]} as JSON, in the order of the checks."""
    status = worst(finding.status for finding in findings)
    return json.dumps({"status": status, "findings": [asdict(finding) for finding in findings]}, indent=2)


def as_table(findings: Sequence[Finding]) -> Table:
    """Return a table with one row per finding."""
    table = Table(box=box.SIMPLE_HEAD, expand=True, show_lines=False, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("result", ratio=3, overflow="fold")
    table.add_column("advice", ratio=2, overflow="fold")
    for finding in findings:
        # Text instead of markup, because results may contain square brackets.
        table.add_row(
            Text(finding.check),
            Text(finding.status, style=_STYLES[finding.status]),
            Text(finding.found),
            Text(finding.advice),
        )
    return table


def summary(findings: Sequence[Finding]) -> str:
    """Return the number of findings of each status, as text."""
    counts = {status: sum(finding.status is status for finding in findings) for status in Status}
    return ", ".join(f"{count} {status}" for status, count in counts.items())

"""A series of fault runs: the missing cases, and the summary table."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.faults.case import Case
from tests.faults.repeating import Series, missing, read_rows, summary

KILLED = Case("a broker killed", lambda _stage: None)
UNREACHABLE = Case("a broker unreachable", lambda _stage: None)
SERIES = Series(times=3, copies=2, beside="training", code="abc1234")


def row(case: Case, series: Series = SERIES, **figures: Any) -> dict[str, Any]:
    defaults = {
        "events": 1000,
        "lost": 0,
        "duplicates": 0,
        "recovery_s": 8.0,
        "after_answer_s": 5.0,
        "passed": True,
    }
    return {"case": case.name, "series": series.name} | defaults | figures


def test_an_interrupted_series_runs_the_missing_cases_in_turn() -> None:
    assert missing([KILLED, UNREACHABLE], [], 2) == [KILLED, UNREACHABLE, KILLED, UNREACHABLE]
    assert missing([KILLED, UNREACHABLE], [row(KILLED)], 3) == [
        UNREACHABLE,
        KILLED,
        UNREACHABLE,
        KILLED,
        UNREACHABLE,
    ]
    assert missing([KILLED], [row(KILLED)] * 3, 3) == []


@pytest.mark.parametrize(
    "other",
    [
        Series(times=3, copies=2, beside="training", code="def5678"),
        Series(times=3, copies=1, beside="training", code="abc1234"),
        Series(times=3, copies=2, beside="", code="abc1234"),
    ],
)
def test_rows_of_other_code_or_load_are_ignored(other: Series, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert read_rows(path, SERIES) == []
    rows = [row(KILLED), row(KILLED, other)]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    assert read_rows(path, SERIES) == [rows[0]]


def test_the_table_summarises_each_case_in_one_line() -> None:
    rows = [
        row(KILLED, recovery_s=9.0),
        row(KILLED),
        row(UNREACHABLE),
        row(KILLED, recovery_s=40.0, passed=False, lost=2),
    ]
    assert list(summary(rows))[2:] == [
        "| a broker killed | 3 | 2 | 3,000 | 2 | 0 | 9.0 s, 40.0 s | 5.0 s |",
        "| a broker unreachable | 1 | 1 | 1,000 | 0 | 0 | 8.0 s, 8.0 s | 5.0 s |",
    ]

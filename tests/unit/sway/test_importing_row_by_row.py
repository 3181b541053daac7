"""Values that whole-column conversion would treat differently are converted row by row."""

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.importing import NOW_MS, Run, write_log

EVENT = {"event_id": "e", "user_id": "u1", "action": "view", "occurred_at": NOW_MS - 5}


@pytest.mark.parametrize(
    ("field", "value", "unit", "message"),
    [
        ("occurred_at", -500, "us", "time_before_1970"),
        ("occurred_at", NOW_MS + 3_700_000, "ms", "time_in_future"),
        ("occurred_at", "1969-12-31T23:59:59.999900", "ms", "time_before_1970"),
        ("occurred_at", 2**62, "s", "time_in_future"),
        ("occurred_at", True, "ms", "occurred_at is not a time"),
        ("user_id", "\x1c", "ms", "missing_user_id"),
        ("user_id", True, "ms", "user_id is not text"),
        ("user_id", 1.5, "ms", "user_id is not text"),
        ("event_id", " ", "ms", "missing_event_id"),
        ("action", "", "ms", "action missing"),
        ("item_id", "é" * 257, "ms", "id_too_long"),
        ("value", "nan", "ms", "not_finite"),
        ("value", True, "ms", "value is not a number"),
        ("attributes", '{"a": 1}', "ms", "attributes is not a mapping"),
    ],
    ids=str,
)
def test_an_invalid_value_is_refused(
    field: str, value: object, unit: str, message: str, tmp_path: Path
) -> None:
    row = EVENT | ({"occurred_at": 5} if unit != "ms" else {}) | {field: value}
    run = Run(write_log(tmp_path / "a.jsonl", [row]), time_unit=unit)
    assert run.records == []
    assert [problem.startswith(f"a.jsonl:1: {message}") for problem in run.told] == [True]


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        (
            "occurred_at",
            pa.array([5], pa.time64("ns")),
            "time64[ns]: it must be timestamps, dates, numbers or",
        ),
        (
            "occurred_at",
            pa.array([5], pa.duration("ns")),
            "duration[ns]: it must be timestamps, dates, numbers",
        ),
        (
            "value",
            pa.array([5], pa.timestamp("ns")),
            "timestamp[ns]: it must be numbers, or strings that are numbers",
        ),
        ("value", pa.array([True]), "bool: it must be numbers, or strings that are numbers"),
        ("user_id", pa.array([1.5]), "double: it must be strings or integers"),
    ],
    ids=str,
)
def test_an_unsupported_column_type_is_reported(
    field: str, values: Any, message: str, tmp_path: Path
) -> None:
    table = pa.table({name: [value] for name, value in EVENT.items() if name != field} | {field: values})
    pq.write_table(table, tmp_path / "a.parquet")
    run = Run(tmp_path)
    assert run.records == []
    assert run.told[0].startswith(f"a.parquet:1: {field} is read from a column of {message}")


@pytest.mark.parametrize(
    ("name", "field", "ambiguous", "good"),
    [
        ("a.csv", "occurred_at", "0x18BCFE56800", NOW_MS),
        ("a.jsonl", "value", True, 1.5),
        ("a.jsonl", "occurred_at", True, float(NOW_MS)),
        ("a.parquet", "occurred_at", Decimal("5.5"), Decimal(NOW_MS)),
    ],
)
def test_only_the_ambiguous_value_of_a_batch_is_refused(
    name: str, field: str, ambiguous: object, good: object, tmp_path: Path
) -> None:
    run = Run(write_log(tmp_path / name, [EVENT | {field: value} for value in (good, ambiguous, good)]))
    assert [getattr(event, field) for event in run.records] == [good, good]
    assert [f": {field} is not a " in problem for problem in run.told] == [True]


def test_arrow_times_before_1970_are_not_rounded_up(tmp_path: Path) -> None:
    moment = pa.array([datetime(1969, 12, 31, 23, 59, 59, 999_900)], pa.timestamp("us"))  # noqa: DTZ001
    pq.write_table(
        pa.table({"occurred_at": moment, "user_id": ["u"], "action": ["a"]}), tmp_path / "a.parquet"
    )
    assert Run(tmp_path).told[0].startswith("a.parquet:1: time_before_1970")


@pytest.mark.parametrize(
    ("values", "times_ms"),
    [
        (["20230101", "2023-01-01"], [20_230_101, 1_672_531_200_000]),
        (["2023-01-01T00:00:00.0019", " 7"], [1_672_531_200_001, 7]),
        (["2023-01-01T00:00:00Z", "2023-01-01T00:00:00"], [1_672_531_200_000] * 2),
    ],
    ids=str,
)
def test_mixed_time_texts_are_converted_as_if_alone(
    values: list[str], times_ms: list[int], tmp_path: Path
) -> None:
    rows = [EVENT | {"occurred_at": value} for value in values]
    run = Run(write_log(tmp_path / "a.csv", rows))
    assert [event.occurred_at for event in run.records] == times_ms
    alone = [Run(write_log(tmp_path / "b" / "a.csv", [row])).records[0].occurred_at for row in rows]
    assert alone == times_ms

"""Rows are read from each file format, with their line numbers."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sway.errors import CommandError
from sway.files.opening import open_rows


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_csv_rows_have_the_number_of_their_last_line(tmp_path: Path) -> None:
    file = open_rows(
        write(tmp_path / "a.csv", '\ufeffuser_id,item_text\r\nu1,"two\nlines"\r\n\r\nu2,ü\r\nu3\r\n')
    )
    rows = list(file.rows())
    assert file.columns == ("user_id", "item_text")
    assert [row.line for row in rows] == [3, 5, 6]
    assert rows[0].values == {"user_id": "u1", "item_text": "two\nlines"}
    assert rows[2].problem == "1 cells, but the header has 2"
    assert rows[-1].position == file.size


def test_invalid_json_lines_are_reported(tmp_path: Path) -> None:
    file = open_rows(
        write(tmp_path / "a.jsonl", '{"user_id": "u1"}\n\n[1]\n{"user\n{"attributes": {"a": "b"}}')
    )
    rows = list(file.rows())
    assert [(row.line, row.problem) for row in rows] == [
        (1, ""),
        (3, "not a JSON object"),
        (4, "not valid JSON"),
        (5, ""),
    ]
    assert rows[3].values == {"attributes": {"a": "b"}}


def test_parquet_times_become_milliseconds_and_maps_become_mappings(tmp_path: Path) -> None:
    moment = datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
    table = pa.table(
        {
            "ns": pa.array([moment, None], pa.timestamp("ns", "Europe/Paris")),
            "naive": pa.array([moment.replace(tzinfo=None), None], pa.timestamp("us")),
            "attributes": pa.array([[("a", "b")], None], pa.map_(pa.string(), pa.string())),
            "user_id": pa.array([1, 2], pa.int32()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    file = open_rows(tmp_path / "a.parquet")
    rows = list(file.rows())
    assert (file.columns, file.size) == (("ns", "naive", "attributes", "user_id"), 2)
    assert rows[0].values == {
        "ns": 1_700_000_000_123,
        "naive": 1_700_000_000_123,
        "attributes": {"a": "b"},
        "user_id": 1,
    }
    assert rows[1].line == 2
    assert rows[1].values == {"ns": None, "naive": None, "attributes": None, "user_id": 2}


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("a.xlsx", "", "is not a .parquet, .csv or .jsonl file"),
        ("a.csv", "", "has no header"),
        ("a.parquet", "no Parquet", "cannot read"),
    ],
)
def test_an_unsupported_or_broken_file_is_reported(
    tmp_path: Path, name: str, contents: str, message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        open_rows(write(tmp_path / name, contents))


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        with pytest.raises(CommandError, match=r"cannot read .*No such file"):
            open_rows(tmp_path / name)


def test_invalid_utf_8_is_reported_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"user_id\n" + b"u1\n" * 10_000 + b"\xff\n")
    with pytest.raises(CommandError, match=r"after line \d+: .*utf-8"):
        list(open_rows(path).rows())

"""An import into memory: file selection, mapping, conversions, and errors that name file, line and field."""

import gzip
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.records import BehaviorEvent, Outcome
from sway.errors import CommandError
from sway.files.batches import ROWS_AT_ONCE
from sway.load.log_files import LogFile, RowPosition, find_files, open_log, parse_position
from tests.support.importing import NOW_MS, OUTCOMES, Memory, Run, write_log

RATING = ("user_id=userId", "item_id=movieId", "value=rating", "occurred_at=timestamp")
RATE = ("action=rate",)


def ratings(number: int, **changes: object) -> list[dict[str, object]]:
    return [
        {"userId": 1, "movieId": 10 + row, "rating": 3.5, "timestamp": 964_982_703 + row} | changes
        for row in range(number)
    ]


def events(number: int, **changes: object) -> list[dict[str, object]]:
    event = {"event_id": "e", "user_id": "u1", "action": "view", "occurred_at": NOW_MS - 5}
    return [event | {"event_id": f"e{row}"} | changes for row in range(number)]


def test_files_are_read_in_natural_path_order(tmp_path: Path) -> None:
    for name in ("b/part-10.csv", "b/part-2.csv", "a.jsonl.gz", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [file.name for file in find_files(tmp_path)] == ["a.jsonl.gz", "b/part-2.csv", "b/part-10.csv"]
    assert [file.name for file in find_files(tmp_path, "b/*2.csv")] == ["b/part-2.csv"]
    with pytest.raises(CommandError, match=r"b/notes\.txt is not one of \.parquet"):
        find_files(tmp_path, "b/*")
    with pytest.raises(CommandError, match="contains no file"):
        find_files(tmp_path, "*.csv")
    with pytest.raises(CommandError, match=r"invalid --from 'x\.csv:1'"):
        parse_position("x.csv:1", find_files(tmp_path))


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.parquet"])
def test_a_mapping_reads_columns_and_generates_ids(name: str, tmp_path: Path) -> None:
    write_log(tmp_path / name, ratings(2))
    run = Run(tmp_path, maps=RATING, sets=RATE, time_unit="s")
    assert (run.error, run.told) == ("", [])
    first, second = run.records
    assert first == BehaviorEvent(first.event_id, "1", "rate", 964_982_703_000, "10", value=3.5)
    assert first.event_id != second.event_id
    assert [sent[0] for sent in run.memory.sent] == [b"1", b"1"]
    assert [sent[2] for sent in run.memory.sent] == [964_982_703_000, 964_982_704_000]
    again = Run(tmp_path, maps=RATING, sets=RATE, time_unit="s")
    assert again.records == run.records


def test_columns_become_text_attributes_unless_missing(tmp_path: Path) -> None:
    write_log(tmp_path / "a.jsonl", [*events(1, page="/", n=2, ok=True), *events(1, page="", n=None)])
    run = Run(tmp_path, attributes="page,n,ok")
    assert [event.attributes for event in run.records] == [{"page": "/", "n": "2", "ok": "true"}, {}]


def test_outcomes_are_imported(tmp_path: Path) -> None:
    rows = [{"event_id": "e1", "user_id": "u1", "y": 1, "observed_at": "2023-01-01T00:00:00Z"}]
    write_log(tmp_path / "o.csv", rows)
    assert Run(tmp_path, target=OUTCOMES).records == [Outcome("e1", "u1", 1.0, 1_672_531_200_000)]


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        (pa.array([1_672_531_200]), "s"),
        (pa.array([1_672_531_200_000_999]), "us"),
        (pa.array([1_672_531_200_000_999_999]), "ns"),
        (pa.array([1_672_531_200_000.0]), "ms"),
        (pa.array([Decimal(1_672_531_200_000)], pa.decimal128(20, 0)), "ms"),
        (pa.array([Decimal("1672531200.000")], pa.decimal128(20, 3)), "s"),
        (pa.array(["2023-01-01T01:00:00+01:00"]), "s"),
        (pa.array(["2023-01-01"]), "s"),
        (pa.array([datetime(2023, 1, 1, 0, 0, 0, 999, UTC)], pa.timestamp("us", "UTC")), "s"),
        (pa.array([datetime(2023, 1, 1)], pa.timestamp("s")), "ns"),  # noqa: DTZ001 -- naive on purpose
        (pa.array([date(2023, 1, 1)]), "s"),
    ],
    ids=str,
)
def test_times_of_every_type_become_milliseconds(values: Any, unit: str, tmp_path: Path) -> None:
    table = pa.table({"occurred_at": values, "user_id": ["u"], "action": pa.array(["a"]).dictionary_encode()})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    run = Run(tmp_path, time_unit=unit)
    assert [event.occurred_at for event in run.records] == [1_672_531_200_000]
    # The same value, in a batch that must be read row by row.
    broken = table.set_column(1, "user_id", pa.array([""]))
    pa.parquet.write_table(pa.concat_tables([table, broken]), tmp_path / "t.parquet")
    run = Run(tmp_path, time_unit=unit)
    assert [event.occurred_at for event in run.records] == [1_672_531_200_000]
    assert run.told == ["t.parquet:2: user_id missing"]


def test_decimals_and_fractions_of_seconds_are_read(tmp_path: Path) -> None:
    rows = ratings(1, rating=Decimal("0.82"))
    write_log(tmp_path / "r.parquet", rows)
    assert Run(tmp_path, maps=RATING, sets=RATE, time_unit="s").records[0].value == 0.82
    write_log(tmp_path / "r.parquet", ratings(1, timestamp=964_982_703.29))
    assert Run(tmp_path, maps=RATING, sets=RATE, time_unit="s").records[0].occurred_at == 964_982_703_290


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.parquet"])
def test_an_invalid_row_is_reported_by_file_line_and_field(name: str, tmp_path: Path) -> None:
    rows = events(4, value="1")
    rows[1]["value"] = "secret"
    rows[3]["user_id"] = ""
    header = 1 if name.endswith(".csv") else 0
    write_log(tmp_path / name, rows)
    skipping = Run(tmp_path)
    assert skipping.told == [
        f"{name}:{2 + header}: value is not a number",
        f"{name}:{4 + header}: user_id missing",
    ]
    assert [event.event_id for event in skipping.records] == ["e0", "e2"]
    assert (skipping.importer.skipped, skipping.importer.next_position) == (2, None)
    stopping = Run(tmp_path, stop=True)
    assert stopping.error == f"{name}:{2 + header}: value is not a number"
    assert [event.event_id for event in stopping.records] == ["e0"]
    assert stopping.importer.next_position == RowPosition(name, 2 + header)


def test_line_numbers_are_correct_after_multiline_texts(tmp_path: Path) -> None:
    text = 'user_id,action,occurred_at,item_text\nu,a,5,"two\nlines"\n\nu,a\nu,a,x,\n'
    (tmp_path / "a.csv").write_text(text)
    run = Run(tmp_path)
    assert run.told[0] == "a.csv:5: 2 cells, but the header has 4"
    assert run.told[1].startswith("a.csv:6: occurred_at is not a time")
    assert [event.item_text for event in run.records] == ["two\nlines"]


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_csv_batches_are_bounded_however_many_lines_rows_have(lines: int, tmp_path: Path) -> None:
    rows = 3 * ROWS_AT_ONCE
    row = f'u,"{chr(10) * (lines - 1)}"\n'
    (tmp_path / "a.csv").write_text("user_id,item_text\n" + row * rows)
    batches = list(open_log(LogFile(tmp_path / "a.csv", "a.csv")).batches(["user_id"]))
    assert sum(len(batch.lines) for batch in batches) == rows
    assert max(len(batch.lines) for batch in batches) < 1.1 * ROWS_AT_ONCE


def test_invalid_json_and_unpaired_surrogates_are_reported(tmp_path: Path) -> None:
    line = '{"user_id": "u", "action": "a", "occurred_at": 5, "item_text": "%s"}\n'
    (tmp_path / "a.jsonl").write_text(line % "x" + "[1]\n{\n\n" + line % "\\ud800")
    run = Run(tmp_path)
    assert run.told[:2] == ["a.jsonl:2: not a JSON object", "a.jsonl:3: not valid JSON"]
    assert run.told[2].startswith("a.jsonl:5: a text contains an unpaired surrogate")
    assert len(run.records) == 1


def test_compressed_logs_are_read(tmp_path: Path) -> None:
    for name in ("a.csv", "b.jsonl"):
        plain = write_log(tmp_path / name, events(3))
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    assert len(Run(tmp_path).records) == 6


def test_a_truncated_compressed_log_is_reported_after_its_last_row(tmp_path: Path) -> None:
    plain = write_log(tmp_path / "a.csv", events(2000))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(plain.read_bytes())[:-20])
    plain.unlink()
    run = Run(tmp_path)
    assert "cannot read a.csv.gz after line" in run.error
    assert len(run.records) > 1000


def test_resuming_from_a_position_sends_only_the_rest(tmp_path: Path) -> None:
    write_log(tmp_path / "a.csv", events(3))
    write_log(tmp_path / "b.jsonl", events(30_000))
    write_log(tmp_path / "c.parquet", events(30_000))
    whole = Run(tmp_path)
    assert len(whole.records) == 60_003
    for start, rows in (("a.csv:3", 60_002), ("b.jsonl:15001", 45_000), ("c.parquet:29999", 2)):
        run = Run(tmp_path, start=start)
        assert run.memory.sent == whole.memory.sent[-rows:]
        assert str(run.memory.marks[0]) == start


def test_a_record_too_large_for_kafka_is_a_bad_row(tmp_path: Path) -> None:
    rows = events(3)
    rows[1]["action"] = "x" * 500
    write_log(tmp_path / "a.csv", rows)
    run = Run(tmp_path, memory=Memory(max_bytes=400))
    assert [event.event_id for event in run.records] == ["e0", "e2"]
    assert run.told[0].startswith("a.csv:3: ")
    assert run.told[0].endswith(" bytes exceed Kafka's maximum message size")


def test_a_row_older_than_retention_ends_the_import(tmp_path: Path) -> None:
    rows = events(3)
    rows[2]["occurred_at"] = 5
    write_log(tmp_path / "a.csv", rows)
    run = Run(tmp_path, oldest_ms=1000)
    assert run.error.startswith("a.csv:4 is older than the topic's retention")
    assert len(run.records) == 2
    assert run.importer.next_position == RowPosition("a.csv", 4)


def test_records_keep_their_time_under_a_current_kafka_timestamp(tmp_path: Path) -> None:
    write_log(tmp_path / "a.csv", events(1, occurred_at=5))
    run = Run(tmp_path, use_own_time=False)
    assert (run.memory.sent[0][2], run.records[0].occurred_at) == (NOW_MS, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maps": ["user=x"]}, "no field of BehaviorEvent is named user; its fields are event_id, user_id"),
        ({"maps": ["user_id"]}, "invalid --map 'user_id': give FIELD=COLUMN"),
        ({"maps": ["user_id=a", "user_id=b"]}, "user_id is given twice"),
        ({"maps": ["action=a"], "sets": ["action=b"]}, "action is given twice"),
        ({"sets": ["value=much"]}, "invalid --set: value is not a number"),
        ({"maps": ["user_id=nobody"]}, "a.csv: there is no column nobody. Its columns are action"),
        ({"attributes": "colour"}, "a.csv: there is no column colour"),
        ({"target": OUTCOMES}, "a.csv: there is no source for observed_at, y"),
        ({"target": OUTCOMES, "attributes": "x"}, "Outcome has no attributes"),
    ],
)
def test_an_invalid_mapping_is_refused_before_sending(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_log(tmp_path / "a.csv", events(1))
    with pytest.raises(CommandError) as raised:
        Run(tmp_path, **options)
    assert message in str(raised.value)


def test_duplicate_column_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,action,user_id\n")
    with pytest.raises(CommandError, match="more than one column user_id"):
        Run(tmp_path)


def test_a_file_without_rows_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,action,occurred_at\n")
    run = Run(tmp_path)
    assert (run.records, run.error) == ([], "")
    assert run.importer.first_record(run.checked[0]) is None

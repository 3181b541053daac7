"""The Parquet data set of a replay: file names, columns, recovery after a crash, and completeness."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.dead_letters import dead_letter
from schemas.records import DeadLetter, InfluenceScore, LabeledExample, Source
from stream.replay.errors import OutputError
from stream.replay.parquet import DEAD_LETTERS, EXAMPLES, SCORES, FileName, ParquetFolder
from stream.replay.plan import Span

AT_MS = 1_750_000_000_123
AT = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=AT_MS)
OUTCOMES = Span(310, 622)
TIME = "timestamp[ms, tz=UTC]"
WORD = "dictionary<values=string, indices=int32, ordered=0>"


def score(offset: int) -> InfluenceScore:
    return InfluenceScore(
        event_id=f"e{offset}",
        user_id="ann",
        item_id="i1",
        y_hat=0.25,
        z_hat=0.5,
        influence=0.375,
        model_version="v7",
        dtype="fp32",
        behaviours=4,
        truncated=True,
        duplicate=False,
        source=Source("s.events", 3, offset),
        outcomes_next=310,
        occurred_at=AT_MS,
        scored_at=AT_MS + 1,
    )


LETTER = dead_letter(
    reason="key_mismatch",
    detail="The key is another's.",
    topic="s.events",
    partition=3,
    offset=7,
    timestamp=AT_MS,
    key=None,
    value=b"\xff\x00",
    failed_at=AT_MS,
)
EXAMPLE = LabeledExample(
    event_id="e1",
    user_id="ann",
    item_id="i1",
    history="then",
    target="now",
    y=1.0,
    y_hat=0.25,
    z_hat=0.5,
    model_version="v7",
    label_source="outcome",
    occurred_at=AT_MS,
    labeled_at=AT_MS + 5,
    z=None,
)


def write(folder: ParquetFolder, start: int, end: int, *, partition: int = 3) -> str:
    """Write the scores of the offsets start to end - 1 and a dead letter; return the pending name."""
    rows = [score(offset) for offset in range(start, end)]
    return folder.write(partition, Span(start, end), OUTCOMES, {InfluenceScore: rows, DeadLetter: [LETTER]})


def files(folder: ParquetFolder) -> list[str]:
    """Return the paths of all files in the folder, without the random tokens of pending names."""
    found = (str(path.relative_to(folder.folder)) for path in folder.folder.rglob("*") if path.is_file())
    return sorted(re.sub(r"-[0-9a-f]{8}\.pending", ".pending", name) for name in found)


# --- names --------------------------------------------------------------------------------------------------


def test_a_file_name_is_parsed_back_to_its_fields() -> None:
    name = FileName(3, Span(20_000, 40_000), Span(310, 622), "9f3c2a1b")
    assert name.final == "00003-20000-40000-310-622.parquet"
    assert name.pending == ".00003-20000-40000-310-622-9f3c2a1b.pending"
    assert FileName.parse(name.pending) == name
    assert FileName.parse(name.final) == FileName(3, Span(20_000, 40_000), Span(310, 622))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "part-0.parquet",
        "00003-1-2-3.parquet",
        "00003-1-2-3-4.parquet.tmp",
        ".00003-1-2-3-4.pending",
        "x/00003-1-2-3-4.parquet",
    ],
)
def test_other_file_names_are_not_parsed(name: str) -> None:
    assert FileName.parse(name) is None


# --- columns ------------------------------------------------------------------------------------------------


def columns(folder: Path, kind: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return the column types and the rows of a data set."""
    (path,) = (folder / kind).iterdir()
    table: pa.Table = pq.read_table(path)
    return {field.name: str(field.type) for field in table.schema}, table.to_pylist()


def test_each_record_kind_has_typed_columns(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    folder.write(
        3, Span(5, 6), OUTCOMES, {InfluenceScore: [score(5)], DeadLetter: [LETTER], LabeledExample: [EXAMPLE]}
    )
    types, rows = columns(tmp_path, SCORES)
    assert types == {
        **dict.fromkeys(("event_id", "user_id", "item_id"), "string"),
        **dict.fromkeys(("y_hat", "z_hat", "influence"), "double"),
        **dict.fromkeys(("model_version", "dtype", "source_topic"), WORD),
        **dict.fromkeys(("behaviours", "source_partition"), "int32"),
        **dict.fromkeys(("truncated", "duplicate"), "bool"),
        **dict.fromkeys(("source_offset", "outcomes_next"), "int64"),
        **dict.fromkeys(("occurred_at", "scored_at"), TIME),
    }
    assert rows == [
        {
            "event_id": "e5",
            "user_id": "ann",
            "item_id": "i1",
            "y_hat": 0.25,
            "z_hat": 0.5,
            "influence": 0.375,
            "model_version": "v7",
            "dtype": "fp32",
            "behaviours": 4,
            "truncated": True,
            "duplicate": False,
            "source_topic": "s.events",
            "source_partition": 3,
            "source_offset": 5,
            "outcomes_next": 310,
            "occurred_at": AT,
            "scored_at": AT + timedelta(milliseconds=1),
        }
    ]
    types, rows = columns(tmp_path, DEAD_LETTERS)
    assert {name: types[name] for name in ("reason", "key", "raw", "timestamp", "source_offset")} == {
        "reason": WORD,
        "key": "binary",
        "raw": "binary",
        "timestamp": TIME,
        "source_offset": "int64",
    }
    assert rows[0]["raw"] == b"\xff\x00"
    assert rows[0]["key"] is None
    assert (rows[0]["source_topic"], rows[0]["source_partition"], rows[0]["source_offset"]) == (
        "s.events",
        3,
        7,
    )
    assert rows[0].keys() == {
        "reason",
        "detail",
        "source_topic",
        "source_partition",
        "source_offset",
        "timestamp",
        "key",
        "raw",
        "raw_length",
        "raw_sha256",
        "failed_at",
    }
    types, rows = columns(tmp_path, EXAMPLES)
    assert rows[0].keys() == set(LabeledExample.__slots__)
    assert (rows[0]["z"], rows[0]["history"], rows[0]["labeled_at"]) == (
        None,
        "then",
        AT + timedelta(milliseconds=5),
    )
    assert (types["z"], types["labeled_at"], types["label_source"]) == ("double", TIME, WORD)


# --- publishing ---------------------------------------------------------------------------------------------


def test_files_are_visible_only_after_publishing(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    pending = write(folder, 0, 2)
    assert not folder.holds_anything()
    assert list(folder.scores(3, 0)) == []
    folder.publish(pending)
    assert files(folder) == ["dead_letters/00003-0-2-310-622.parquet", "scores/00003-0-2-310-622.parquet"]
    assert folder.holds_anything()
    # Publishing twice changes nothing.
    folder.publish(pending)
    assert list(folder.scores(3, 0)) == [(0, 0.25, 0.5), (1, 0.25, 0.5)]


def test_a_batch_without_output_has_no_files(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    assert folder.write(3, Span(0, 2), OUTCOMES, {}) == ""
    assert files(folder) == []


def test_an_empty_record_kind_still_has_a_file(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    folder.publish(folder.write(3, Span(0, 2), OUTCOMES, {InfluenceScore: []}))
    folder.check(3, Span(0, 2), {SCORES: 0})
    assert columns(tmp_path, SCORES)[1] == []


def test_uncommitted_pending_files_are_deleted_after_a_crash(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    done = write(folder, 0, 2)
    folder.publish(done)
    write(folder, 0, 2)
    folder.recover_pending(3, done, (2, OUTCOMES.end))
    assert files(folder) == ["dead_letters/00003-0-2-310-622.parquet", "scores/00003-0-2-310-622.parquet"]


def test_late_recovery_keeps_the_files_of_a_successor(tmp_path: Path) -> None:
    """Pending files beyond the progress that was seen may be committed by now."""
    folder = ParquetFolder(tmp_path)
    done = write(folder, 0, 2)
    folder.publish(done)
    pending_of_successor = write(folder, 2, 4)
    folder.recover_pending(3, done, (2, OUTCOMES.end))
    folder.publish(pending_of_successor)
    folder.check(3, Span(0, 4), {SCORES: 4})
    write(folder, 4, 6)
    folder.clear(3)
    assert not [name for name in files(folder) if name.endswith(".pending")]


def test_missing_files_are_reported(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    committed = write(folder, 0, 2)
    for path in tmp_path.rglob("*.pending"):
        path.unlink()
    with pytest.raises(OutputError, match="lacks the files of offsets 0 to 2 of partition 3"):
        folder.publish(committed)


def test_missing_rows_are_reported(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    folder.publish(write(folder, 0, 2))
    with pytest.raises(OutputError, match="has 2 rows of partition 3, but 3 were written"):
        folder.check(3, Span(0, 2), {SCORES: 3})


def test_committed_files_are_published_after_a_crash(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    uncommitted = write(folder, 0, 2)
    # The process that took over writes the same batch again, and crashes after the first rename.
    committed = write(folder, 0, 2)
    assert uncommitted != committed
    (tmp_path / SCORES / committed).rename(tmp_path / SCORES / "00003-0-2-310-622.parquet")
    folder.recover_pending(3, committed, (2, OUTCOMES.end))
    assert files(folder) == ["dead_letters/00003-0-2-310-622.parquet", "scores/00003-0-2-310-622.parquet"]


def test_recovery_leaves_other_partitions_alone(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    # The folder does not exist yet.
    folder.recover_pending(3, "", (2, OUTCOMES.end))
    write(folder, 0, 2)
    write(folder, 0, 2, partition=30_003)
    folder.recover_pending(3, "", (2, OUTCOMES.end))
    assert files(folder) == ["dead_letters/.30003-0-2-310-622.pending", "scores/.30003-0-2-310-622.pending"]


def test_a_foreign_file_name_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match=re.escape("names a file '../elsewhere' that is not one of its batches")
    ):
        ParquetFolder(tmp_path).publish("../elsewhere")


# --- reading back -------------------------------------------------------------------------------------------


def test_contiguous_files_cover_a_range(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    for start, end in ((8, 10), (10, 12), (0, 8)):
        folder.publish(write(folder, start, end))
    folder.publish(write(folder, 50, 51, partition=4))
    folder.check(3, Span(0, 12), {})
    # An empty range needs no files.
    folder.check(5, Span(9, 9), {})
    # Files are read as a whole.
    assert [offset for offset, _, _ in folder.scores(3, 9)] == [8, 9, 10, 11]
    assert [offset for offset, _, _ in folder.scores(3, 10)] == [10, 11]


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(0, 4), (6, 12)], "partition 3 has a file from offset 6, but 4 is expected next"),
        ([(0, 4), (2, 12)], "partition 3 has a file from offset 2, but 4 is expected next"),
        ([(1, 12)], "partition 3 has a file from offset 1, but 0 is expected next"),
        ([(0, 4), (4, 11)], "the files of partition 3 end at offset 11 instead of 12"),
        ([(0, 4), (4, 13)], "the files of partition 3 end at offset 13 instead of 12"),
        ([], "the files of partition 3 end at offset 0 instead of 12"),
    ],
)
def test_holes_overlaps_and_missing_ends_are_reported(
    tmp_path: Path, spans: list[tuple[int, int]], message: str
) -> None:
    folder = ParquetFolder(tmp_path)
    for start, end in spans:
        folder.publish(write(folder, start, end))
    with pytest.raises(OutputError, match=re.escape(message)):
        folder.check(3, Span(0, 12), {})

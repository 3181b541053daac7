"""The Parquet data set of a replay: names, columns, what a crash leaves, and whether all is there."""

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
    source = Source("s.events", 3, offset)
    return InfluenceScore(
        f"e{offset}",
        "ann",
        "i1",
        0.25,
        0.5,
        0.375,
        "v7",
        "fp32",
        4,
        True,
        False,
        source,
        310,
        AT_MS,
        AT_MS + 1,
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
    "e1", "ann", "i1", "then", "now", 1.0, 0.25, 0.5, "v7", "outcome", AT_MS, AT_MS + 5, None
)


def write(folder: ParquetFolder, start: int, end: int, *, partition: int = 3) -> str:
    """Write the scores of these offsets, and a dead letter; returns the pending name."""
    rows = [score(offset) for offset in range(start, end)]
    return folder.write(partition, Span(start, end), OUTCOMES, {InfluenceScore: rows, DeadLetter: [LETTER]})


def files(folder: ParquetFolder) -> list[str]:
    """Everything in the folder, without the random tokens of pending names."""
    found = (str(path.relative_to(folder.folder)) for path in folder.folder.rglob("*") if path.is_file())
    return sorted(re.sub(r"-[0-9a-f]{8}\.pending", ".pending", name) for name in found)


# --- names --------------------------------------------------------------------------------------------------


def test_a_name_says_partition_and_offsets_and_is_taken_apart_again() -> None:
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
def test_other_names_are_none_of_ours(name: str) -> None:
    assert FileName.parse(name) is None


# --- columns ------------------------------------------------------------------------------------------------


def columns(folder: Path, kind: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The types of a data set's columns, and its rows."""
    (path,) = (folder / kind).iterdir()
    table: pa.Table = pq.read_table(path)
    return {field.name: str(field.type) for field in table.schema}, table.to_pylist()


def test_each_kind_of_record_has_its_columns_with_times_as_times(tmp_path: Path) -> None:
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


# --- becoming visible ---------------------------------------------------------------------------------------


def test_what_is_not_committed_is_not_visible_and_what_is_has_its_name(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    pending = write(folder, 0, 2)
    assert not folder.holds_anything()
    assert list(folder.scores(3, 0)) == []
    folder.publish(pending)
    assert files(folder) == ["dead_letters/00003-0-2-310-622.parquet", "scores/00003-0-2-310-622.parquet"]
    assert folder.holds_anything()
    folder.publish(pending)  # a second time changes nothing
    assert list(folder.scores(3, 0)) == [(0, 0.25, 0.5), (1, 0.25, 0.5)]


def test_a_batch_that_said_nothing_has_no_files(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    assert folder.write(3, Span(0, 2), OUTCOMES, {}) == ""
    assert files(folder) == []


def test_an_empty_kind_has_a_file_that_tells_what_was_read(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    folder.publish(folder.write(3, Span(0, 2), OUTCOMES, {InfluenceScore: []}))
    folder.check(3, Span(0, 2), {SCORES: 0})
    assert columns(tmp_path, SCORES)[1] == []


def test_after_a_crash_before_the_commit_the_pending_files_are_deleted(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    done = write(folder, 0, 2)
    folder.publish(done)
    write(folder, 0, 2)
    folder.recover_pending(3, done, (2, OUTCOMES.end))
    assert files(folder) == ["dead_letters/00003-0-2-310-622.parquet", "scores/00003-0-2-310-622.parquet"]


def test_settling_late_takes_nothing_from_a_successor(tmp_path: Path) -> None:
    """What is pending beyond the progress that was seen may be committed by now."""
    folder = ParquetFolder(tmp_path)
    done = write(folder, 0, 2)
    folder.publish(done)
    of_the_successor = write(folder, 2, 4)
    folder.recover_pending(3, done, (2, OUTCOMES.end))
    folder.publish(of_the_successor)
    folder.check(3, Span(0, 4), {SCORES: 4})
    write(folder, 4, 6)
    folder.clear(3)
    assert not [name for name in files(folder) if name.endswith(".pending")]


def test_files_that_are_gone_are_told(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    committed = write(folder, 0, 2)
    for path in tmp_path.rglob("*.pending"):
        path.unlink()
    with pytest.raises(OutputError, match="lacks the files of offsets 0 to 2 of partition 3"):
        folder.publish(committed)


def test_rows_that_are_missing_are_told(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    folder.publish(write(folder, 0, 2))
    with pytest.raises(OutputError, match="has 2 rows of partition 3, but 3 were written"):
        folder.check(3, Span(0, 2), {SCORES: 3})


def test_after_a_crash_before_the_names_the_committed_files_get_them(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    never = write(folder, 0, 2)
    committed = write(folder, 0, 2)  # the same batch again, by the process that took over
    assert never != committed
    (tmp_path / SCORES / committed).rename(tmp_path / SCORES / "00003-0-2-310-622.parquet")  # it came so far
    folder.recover_pending(3, committed, (2, OUTCOMES.end))
    assert files(folder) == ["dead_letters/00003-0-2-310-622.parquet", "scores/00003-0-2-310-622.parquet"]


def test_settling_before_anything_is_committed_leaves_other_partitions_alone(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    folder.recover_pending(3, "", (2, OUTCOMES.end))  # there is not even a folder
    write(folder, 0, 2)
    write(folder, 0, 2, partition=30_003)
    folder.recover_pending(3, "", (2, OUTCOMES.end))
    assert files(folder) == ["dead_letters/.30003-0-2-310-622.pending", "scores/.30003-0-2-310-622.pending"]


def test_a_name_that_is_no_batch_of_ours_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match=re.escape("names a file '../elsewhere' that is not one of its batches")
    ):
        ParquetFolder(tmp_path).publish("../elsewhere")


# --- reading back -------------------------------------------------------------------------------------------


def test_files_that_follow_each_other_cover_a_range_whatever_their_number_of_digits(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    for start, end in ((8, 10), (10, 12), (0, 8)):
        folder.publish(write(folder, start, end))
    folder.publish(write(folder, 50, 51, partition=4))
    folder.check(3, Span(0, 12), {})
    folder.check(5, Span(9, 9), {})  # nothing was to be done
    assert [offset for offset, _, _ in folder.scores(3, 9)] == [8, 9, 10, 11]  # whole files
    assert [offset for offset, _, _ in folder.scores(3, 10)] == [10, 11]


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([(0, 4), (6, 12)], "partition 3 has a file from offset 6, but 4 is expected next"),
        ([(0, 4), (2, 12)], "partition 3 has a file from offset 2, but 4 is expected next"),
        ([(1, 12)], "partition 3 has a file from offset 1, but 0 is expected next"),
        ([(0, 4), (4, 11)], "the files of partition 3 end at offset 11 instead of 12"),
        ([(0, 4), (4, 13)], "the files of partition 3 end at offset 13 instead of 12"),
        ([], "the files of partition 3 end at offset 0 instead of 12"),
    ],
)
def test_holes_doubles_and_missing_ends_are_told(
    tmp_path: Path, spans: list[tuple[int, int]], said: str
) -> None:
    folder = ParquetFolder(tmp_path)
    for start, end in spans:
        folder.publish(write(folder, start, end))
    with pytest.raises(OutputError, match=re.escape(said)):
        folder.check(3, Span(0, 12), {})

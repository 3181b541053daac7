"""`sway compare` on the folders that a replay writes, without a cluster."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from schemas.records import InfluenceScore, LabeledExample
from stream.replay.parquet import ParquetFolder
from stream.replay.plan import Span
from sway.cli import app
from tests.support.plain_scores import REPLAY_SCHEMA, Row, record, row, write

LABELS = pa.schema(dict.fromkeys(("event_id", "user_id"), pa.string()) | {"y": pa.float64()})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a temporary folder, with settings that point to no cluster."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWAY_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("SWAY_KAFKA__CONNECT_TIMEOUT_S", "0.1")
    return tmp_path


def compare(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)], env={"COLUMNS": "200"})


def compare_as_json(*arguments: object) -> dict[str, Any]:
    result = compare(*arguments, "--json")
    assert result.exit_code == 0, result.output
    shown: dict[str, Any] = json.loads(result.stdout)
    return shown


def replay(folder: Path, name: str, rows: list[Row]) -> Path:
    """Write a replay of two partitions, beside temporary files that must not be read."""
    for number in (0, 1):
        part = [one for one in rows if one["source_partition"] == number]
        write(folder / name / "scores" / f"partition={number}" / "part-0.parquet", part[::2])
        write(folder / name / "scores" / f"partition={number}" / "part-1.parquet", part[1::2])
    (folder / name / "scores" / "_unfinished.parquet").write_bytes(b"half a file")
    (folder / name / "scores" / "_temporary").mkdir()
    (folder / name / "scores" / "_temporary" / "part-2.parquet").write_bytes(b"half a file")
    return folder / name


ROWS = [row(offset, offset / 10, partition=number) for offset in range(6) for number in (0, 1)]
MOVED = [{**one, "influence": one["influence"] + 0.05} if one["source_offset"] == 2 else one for one in ROWS]


def test_a_replay_compared_with_itself_is_identical(folder: Path) -> None:
    path = replay(folder, "a", ROWS)
    result = compare(path, path, "--fail-over", 0)
    assert result.exit_code == 0, result.output
    assert "identical: all 12 scores in both runs are bitwise equal" in result.stdout
    assert "no labels, so no AUC: use --labels" in result.stdout
    assert "within --fail-over 0: 0 over the limit, 0 without a counterpart" in result.stdout
    assert "largest changes" not in result.stdout
    assert "not comparable" not in result.stdout


def test_text_and_json_show_the_same_changes(folder: Path) -> None:
    a, b = replay(folder, "a", ROWS), replay(folder, "b", [*MOVED, row(6, partition=1, model_version="v-2")])
    shown = compare(a, b).stdout
    assert "different: 2 of 12 scores differ by more than 1e-05; 1 without a counterpart" in shown
    assert "only in B: 1 (sway.events[1]@6)" in shown
    assert "identical: 10 (83.33%)" in shown
    assert "+0.03 to +0.1" in shown
    assert "e0-2" in shown
    found = compare_as_json(a, b)
    assert (found["both"], found["identical"], found["only_b"]["count"]) == (12, 10, 1)
    assert found["b"]["model_versions"] == {"v-1": 12, "v-2": 1}
    assert found["influence"]["max"] == pytest.approx(0.05)
    assert [one["event_id"] for one in found["movers"]] == ["e0-2", "e1-2"]
    assert found["agrees"] is found["labelled"] is found["influence_over"] is None


def test_undefined_figures_are_null_in_json(folder: Path) -> None:
    write(folder / "a.parquet", [row(0, float("nan"))])
    write(folder / "b.parquet", [row(0, float("inf"))])
    found = compare_as_json("a.parquet", "b.parquet")
    assert found["influence"]["mean"] is found["spearman"]["all"] is found["movers"][0]["a"] is None
    assert found["histogram"][0]["low"] is None
    assert "not comparable" in compare("a.parquet", "b.parquet").stdout


@pytest.mark.parametrize(
    ("rows", "limit", "code"),
    [
        (MOVED, 0.1, 0),
        (MOVED, 0.04, 1),
        (ROWS[:-1], 1, 1),
        ([*ROWS, row(9)], 1, 1),
        ([*ROWS[:-1], ROWS[-1] | {"event_id": "another"}], 1, 1),
        ([*ROWS[:-1], ROWS[-1] | {"influence": None}], 1, 1),
    ],
)
def test_differences_over_the_limit_or_unmatched_scores_fail(
    folder: Path, rows: list[Row], limit: float, code: int
) -> None:
    a, b = replay(folder, "a", ROWS), replay(folder, "b", rows)
    result = compare(a, b, "--fail-over", limit, "--json")
    assert result.exit_code == code
    assert json.loads(result.stdout)["agrees"] is not bool(code)


def test_a_replays_output_is_readable(folder: Path) -> None:
    outputs = ParquetFolder(folder / "replay")
    for number in (0, 1):
        scores = [record(one) for one in ROWS if one["source_partition"] == number]
        made = {InfluenceScore: scores, LabeledExample: []}
        outputs.publish(outputs.write(number, Span(0, 6), Span(0, 0), made))
    outputs.write(0, Span(6, 9), Span(0, 0), {InfluenceScore: scores})  # pending: never committed
    found = compare_as_json("replay", write(folder / "a.parquet", ROWS))
    assert (found["identical"], found["a"]["repeated"], found["labelled"]) == (12, 0, None)
    result = compare("replay", "replay", "--labels", "replay")
    assert result.stderr == "sway: replay contains no labels; use --no-labels to compare without them\n"


def test_files_may_be_directly_in_the_folder(folder: Path) -> None:
    write(folder / "a" / "1.parquet", ROWS[:3])
    write(folder / "a" / "2.parquet", ROWS[3:])
    write(folder / "a" / "labels.parquet", [], LABELS)
    assert compare_as_json("a", replay(folder, "b", ROWS))["identical"] == 12


def test_strings_may_have_any_arrow_string_type(folder: Path) -> None:
    other = REPLAY_SCHEMA
    for name, kind in (
        ("event_id", pa.large_string()),
        ("source_topic", pa.dictionary(pa.int8(), pa.string())),
    ):
        other = other.set(other.get_field_index(name), pa.field(name, kind))
    write(folder / "a.parquet", ROWS, other)
    assert compare_as_json("a.parquet", replay(folder, "b", ROWS))["identical"] == 12


def test_a_replays_examples_are_its_labels(folder: Path) -> None:
    a, b = replay(folder, "a", ROWS), replay(folder, "b", MOVED)
    y = [{"event_id": f"e0-{n}", "user_id": "u", "y": float(n > 2)} for n in range(6)]
    y.append({"event_id": "e0-0", "user_id": "another", "y": 1.0})
    write(b / "examples" / "part-0.parquet", y, LABELS)
    found = compare_as_json(a, b)["labelled"]
    assert (found["pairs"], found["positive"], found["y_hat"]) == (6, 3, {"a": 1.0, "b": 1.0})
    assert compare_as_json(a, b, "--no-labels")["labelled"] is None
    assert "labels: 6 scores, 3 of them positive (y >= 0.5), from " in compare(a, b).stdout


def test_labels_may_omit_the_user(folder: Path) -> None:
    a = replay(folder, "a", ROWS)
    schema = LABELS.remove(1)
    write(folder / "labels.parquet", [{"event_id": "e0-1", "y": 0.0}, {"event_id": "e1-5", "y": 1.0}], schema)
    found = compare_as_json(a, a, "--labels", "labels.parquet")["labelled"]
    assert (found["source"], found["pairs"], found["influence"]["b"]) == ("labels.parquet", 2, 1.0)
    write(folder / "labels.parquet", [{"event_id": "x", "y": 0.0}], schema)
    shown = compare(a, a, "--labels", "labels.parquet").stdout
    assert "no label of labels.parquet is for an event in both runs, so no AUC" in shown


def test_untrusted_text_cannot_control_the_terminal(folder: Path) -> None:
    write(folder / "a.parquet", [row(0, 0.1, user_id="\x1b[31mred", item_id="[bold]i[/bold]")])
    write(folder / "b.parquet", [row(0, 0.9)])
    shown = compare("a.parquet", "b.parquet").stdout
    assert "\\x1b[31mred" in shown
    assert "[bold]i[/bold]" in shown
    assert "\x1b[31m" not in shown


def test_an_invalid_run_is_reported_in_one_line(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "bad.parquet").write_bytes(b"no Parquet")
    write(folder / "labels" / "labels.parquet", [], LABELS)
    write(folder / "none.parquet", [])
    write(folder / "null.parquet", [ROWS[0] | {"source_offset": None}])
    write(folder / "text.parquet", [], REPLAY_SCHEMA.set(3, pa.field("y_hat", pa.list_(pa.string()))))
    good = write(folder / "good.parquet", ROWS)
    messages = {
        "no/such": "there is no folder or file no/such",
        "no.parquet": "there is no folder or file no.parquet",
        "scores": "no Kafka broker answers at 127.0.0.1:1",
        "empty": "empty contains no scores: neither scores/*.parquet, as written by `sway replay`, nor *.parquet",
        "bad.parquet": "cannot read bad.parquet as Parquet",
        "labels": "no file in labels contains scores: labels.parquet lacks the columns item_id, y_hat,",
        "labels/labels.parquet": "labels/labels.parquet has other records: it lacks the columns item_id, y_hat,",
        "none.parquet": "none.parquet contains no scores",
        "null.parquet": "null.parquet has 1 nulls in the required column source_offset",
        "text.parquet": "text.parquet has y_hat as list<element: string>, which cannot be converted to double",
    }
    for name, message in messages.items():
        result = compare(good, name)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"sway: {message}"), (name, result.output)
        assert result.stderr.count("\n") == 1


def test_a_short_name_means_the_topic_not_the_folder(folder: Path) -> None:
    write(folder / "scores" / "part-0.parquet", ROWS)
    assert "no Kafka broker answers" in compare("scores", "scores").stderr
    assert compare_as_json("./scores", folder / "scores")["identical"] == 12


def test_runs_over_different_topics_are_refused(folder: Path) -> None:
    write(folder / "a.parquet", ROWS)
    write(folder / "b.parquet", [row(0, source_topic="shop.events")])
    result = compare("a.parquet", "b.parquet")
    assert result.exit_code == 1
    assert "a.parquet and b.parquet score different topics: sway.events, and shop.events." in result.stderr


def test_labels_and_no_labels_are_mutually_exclusive(folder: Path) -> None:
    result = compare("a", "b", "--labels", "c", "--no-labels")
    assert result.exit_code == 1
    assert result.stderr == "sway: give either --labels or --no-labels\n"

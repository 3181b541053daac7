"""The commands from a file of examples to a version, its report and its promotion."""

import json
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model import late_checkpoint
from model.features.history import NO_PAST
from model.features.snapshot import Snapshot
from model.features.state import NO_ITEM, NO_TOTALS
from model.registry import ModelRegistry
from model.tokens import BehaviourTokenizer
from sway.cli import app
from sway.errors import CommandError
from sway.example_files import read_examples, write_examples
from tests.support.late import late_parts
from tests.support.late_examples import audience
from trainer.dataset import Example

RUN = CliRunner()


def example(index: int) -> Example:
    liked = index % 2 == 0
    words = "watch heat crime" if liked else "watch gigli comedy"
    return Example(
        history="watch alien liked",
        target=words,
        y=float(liked),
        z=None if index % 5 else 0.5,
        occurred_at=index,
        user_id=f"u{index % 7}",
        item_id="i",
    )


EXAMPLES = [example(index) for index in range(200)]
SNAPSHOT = Snapshot(
    at_ms=7, item_key=1, text_key=2, item=NO_ITEM, mu=0.5, totals=NO_TOTALS, past=NO_PAST
).encode()


def sway(*arguments: str) -> str:
    result = RUN.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_examples_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    examples = [
        replace(one, snapshot=SNAPSHOT, labeled_at=one.occurred_at + 7) if one.occurred_at % 3 else one
        for one in EXAMPLES
    ]
    assert read_examples(write_examples(tmp_path / "e.parquet", examples)) == examples


def test_a_snapshot_in_json_is_base64(tmp_path: Path) -> None:
    row = {"target": "watch Gigli", "y": 0, "occurred_at": 7, "snapshot": b64encode(SNAPSHOT).decode()}
    file = tmp_path / "e.jsonl"
    file.write_text(json.dumps(row) + "\n")
    assert read_examples(file)[0].snapshot == SNAPSHOT


def test_behaviours_of_a_file_become_texts(tmp_path: Path, tokenizer: BehaviourTokenizer) -> None:
    past = [
        {"action": "watch", "item_text": "Alien", "y": 1.0, "z": 1.0},
        {"action": "watch", "item_text": "Heat"},
    ]
    row = {"target": "watch Gigli", "y": 0, "occurred_at": "2026-01-02T03:04:05+00:00", "behaviours": past}
    file = tmp_path / "e.jsonl"
    file.write_text(json.dumps(row) + "\n" + json.dumps({**row, "behaviours": json.dumps(past)}) + "\n")
    first, second = read_examples(file, lambda: tokenizer)
    assert first.history == "user likes 100 percent of 1 ; watch Alien loved ; watch Heat"
    assert first == second
    assert first.occurred_at == 1_767_323_045_000
    with pytest.raises(CommandError, match="a model's tokenizer"):
        read_examples(file)


@pytest.mark.parametrize(
    "wrong",
    [
        {"y": 2},
        {"occurred_at": "yesterday"},
        {"behaviours": [{"verb": "watch"}]},
        {"behaviours": ["watch"]},
        {"z": "nan"},
        {"snapshot": "no base64"},
        {"snapshot": b64encode(SNAPSHOT[:-1]).decode()},
    ],
)
def test_an_invalid_row_is_named_by_its_line(
    tmp_path: Path, tokenizer: BehaviourTokenizer, wrong: dict[str, object]
) -> None:
    file = tmp_path / "e.jsonl"
    good = {"target": "watch Gigli", "y": 0, "occurred_at": 7}
    file.write_text(json.dumps(good) + "\n" + json.dumps({**good, **wrong}) + "\n")
    with pytest.raises(CommandError, match="line 2"):
        read_examples(file, lambda: tokenizer)


def test_another_start_checkpoint_makes_another_version(
    tmp_path: Path, tiny_base: Path, tokenizer: BehaviourTokenizer
) -> None:
    file = write_examples(tmp_path / "e.parquet", audience(120, tokenizer))
    knobs = tmp_path / "knobs.toml"
    knobs.write_text("tensorboard = false\n[late]\nnumbers_epochs = 1\nepochs = 1\n")
    registry, start = tmp_path / "registry", tmp_path / "start"
    # Both checkpoints have the same encoder.
    for seed in (0, 1):
        parts = late_parts(tiny_base, seed=seed)
        late_checkpoint.save(start, *parts, parts.settings, tokenizer_from=tiny_base)
        command = (
            "train",
            "--examples",
            str(file),
            "--registry",
            str(registry),
            "--out",
            str(tmp_path / "out"),
        )
        sway(*command, "--start", str(start), "--config", str(knobs))
    assert len(ModelRegistry(registry).versions()) == 2


def test_flags_apply_to_a_late_training_or_are_refused(
    tmp_path: Path, tiny_base: Path, tokenizer: BehaviourTokenizer
) -> None:
    file = write_examples(tmp_path / "e.parquet", audience(120, tokenizer))
    knobs = tmp_path / "knobs.toml"
    knobs.write_text("tensorboard = false\n[late]\nnumbers_epochs = 1\n")
    command = [
        "train",
        "--examples",
        str(file),
        "--start",
        str(tiny_base),
        "--config",
        str(knobs),
        "--reading",
        "late",
    ]
    command += ["--registry", str(tmp_path / "registry"), "--out", str(tmp_path / "out")]
    sway(*command, "--epochs", "2")
    (version,) = ModelRegistry(tmp_path / "registry").versions()
    assert ModelRegistry(tmp_path / "registry").manifest(version).config["late"]["epochs"] == 2
    refused = RUN.invoke(app, [*command, "--newest-texts", "5"])
    assert refused.exit_code == 1
    assert "--newest-texts is for the joint reading" in " ".join(refused.output.split())
    knobs.write_text("tensorboard = false\nbatch_rows = 16\n")
    refused = RUN.invoke(app, command)
    assert refused.exit_code == 1
    assert "sets knobs of the joint one: batch_rows" in " ".join(refused.output.split())


def test_train_evaluate_promote_and_roll_back(tmp_path: Path, tiny_base: Path) -> None:
    file = write_examples(tmp_path / "e.parquet", EXAMPLES)
    registry = str(tmp_path / "registry")
    common = (
        "--examples",
        str(file),
        "--registry",
        registry,
        "--out",
        str(tmp_path / "out"),
        "--no-tensorboard",
    )
    first = sway(
        "train", *common, "--start", str(tiny_base), "--trained-layers", "1", "--learning-rate", "0.001"
    )
    assert "160 train, 20 valid, 20 test" in first
    # Without a terminal, progress is shown as lines instead of bars.
    progress_lines = [line.strip() for line in first.splitlines() if line.startswith("  ")]
    assert progress_lines[0] == "preparing"
    for stage in ("texts: 160 of 160, took", "heads: 1 of 1, took", "valid texts: 20 of 20, took"):
        assert sum(line.startswith(stage) for line in progress_lines) == 1, progress_lines
    assert sum(line.startswith("texts: fine-tuning: 1 of 10") for line in progress_lines) == 1, progress_lines
    assert sum(line.startswith("texts: fine-tuning: 10 of 10, loss 0.") for line in progress_lines) == 1, (
        progress_lines
    )
    (version,) = ModelRegistry(registry).versions()
    assert f"published {version}" in first
    # The repeated command finds its own work.
    assert f"published {version}" in sway(
        "train", *common, "--start", str(tiny_base), "--trained-layers", "1", "--learning-rate", "0.001"
    )
    manifest = ModelRegistry(registry).manifest(version)
    assert manifest.data["train_examples"] == 160
    assert manifest.config["learning_rate"] == 0.001
    sway("models", "promote", version, "--registry", registry)

    # Without --start, a training starts from the champion.
    sway("train", *common, "--seed", "1", "--trained-layers", "1")
    (second,) = set(ModelRegistry(registry).versions()) - {version}
    assert ModelRegistry(registry).manifest(second).parent == version
    report = tmp_path / "report"
    test = str(tmp_path / "out" / second / "test.parquet")
    sway(
        "evaluate", test, "--version", second, "--registry", registry, "--out", str(report), "--samples", "20"
    )
    assert ModelRegistry(registry).reports(second) == ["evaluation", "training"]
    assert {"report.html", "metrics.json", "training.png"} <= {path.name for path in report.iterdir()}
    listed = {
        row["version"]: row["status"]
        for row in json.loads(sway("models", "list", "--json", "--registry", registry))
    }
    assert listed == {version: "champion", second: "published"}
    sway("models", "promote", second, "--registry", registry, "--reason", "better")
    assert "better" in sway("models", "list", "--registry", registry)
    compared = json.loads(sway("models", "compare", version, second, "--json", "--registry", registry))
    assert len(compared["valid_loss"]) == 2
    assert sway("models", "rollback", "--reason", "test", "--registry", registry).startswith(version)
    shown = json.loads(sway("models", "show", second, "--registry", registry))
    assert shown["status"] == "promoted before"
    assert shown["manifest"]["parent"] == version


def test_a_refused_training_says_why(tmp_path: Path) -> None:
    result = RUN.invoke(app, ["train", "--registry", str(tmp_path)])
    assert result.exit_code == 1
    assert "give one of --examples" in result.output
    file = write_examples(tmp_path / "e.parquet", EXAMPLES)
    result = RUN.invoke(
        app, ["train", "--examples", str(file), "--split", "most", "--registry", str(tmp_path)]
    )
    assert result.exit_code == 1
    assert "80/10/10" in result.output
    for text, message in (("seed = ", "not valid TOML"), ("sed = 1", "no knob is called sed")):
        knobs = tmp_path / "knobs.toml"
        knobs.write_text(text)
        result = RUN.invoke(
            app, ["train", "--examples", str(file), "--config", str(knobs), "--registry", str(tmp_path)]
        )
        assert result.exit_code == 1
        assert message in result.output

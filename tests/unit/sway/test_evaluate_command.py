"""`sway evaluate` on a tiny registry and small files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from model import checkpoint
from model.manifest import Manifest
from model.metrics import log_loss
from model.network import TwoHeadedNetwork
from model.registry import ModelRegistry
from model.tokens import BehaviourTokenizer
from sway.cli import app
from sway.example_files import write_examples
from tests.support.late import publish_late
from tests.support.late_examples import audience
from trainer.evaluation.scoring import score_examples
from trainer.known_texts import known_texts


@pytest.fixture
def registry(tmp_path: Path, tiny_network: TwoHeadedNetwork, tiny_base: Path) -> Path:
    store = ModelRegistry(tmp_path / "registry")
    checkpoint.save(tiny_network, tmp_path / "tiny", tokenizer_from=tiny_base)
    store.publish(tmp_path / "tiny", Manifest("v-1", "tiny", 0))
    return tmp_path / "registry"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [
        {
            "target": f"watch {i % 5}",
            "y": i % 2,
            "occurred_at": i,
            "user_id": f"u{i % 3}",
            "item_id": str(i % 5),
        }
        for i in range(30)
    ]
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(registry: Path, file: Path, *options: str, columns: int = 200) -> tuple[int, str]:
    command = ["evaluate", str(file), "--registry", str(registry), "--out", str(registry.parent / "out")]
    result = CliRunner().invoke(app, [*command, "--samples", "20", *options], env={"COLUMNS": str(columns)})
    return result.exit_code, result.output


def test_the_champion_is_evaluated_beside_baselines(registry: Path, file: Path) -> None:
    ModelRegistry(registry).promote("v-1")
    code, output = run(registry, file, "--train", str(file))
    assert code == 0, output
    found = json.loads((registry.parent / "out" / "metrics.json").read_text())
    area = found["evaluations"]["model"]["metrics"]["auc"]["value"]
    assert f"{area:.4f}" in output
    assert {"item mean", "user mean so far"} <= set(found["evaluations"])
    assert found["facts"]["version"] == "v-1"
    assert (registry.parent / "out" / "report.html").is_file()


def test_the_tables_fit_a_terminal_of_80_columns(registry: Path, file: Path) -> None:
    code, output = run(registry, file, "--version", "v-1", "--train", str(file), columns=80)
    assert code == 0, output
    tables = output.split(str(registry.parent))[0].splitlines()
    assert max(map(len, tables)) <= 80
    assert "…" not in output
    for name in ("calibration error", "AUC of the influence", "95% interval", "item mean so far"):
        assert name in output


def test_without_a_champion_a_version_must_be_named(registry: Path, file: Path) -> None:
    assert run(registry, file) == (
        1,
        "sway: the registry has no champion yet: give a version with --version\n",
    )
    assert run(registry, file, "--version", "v-1")[0] == 0


def test_window_texts_are_taken_from_earlier_examples(
    tmp_path: Path, tiny_base: Path, tokenizer: BehaviourTokenizer
) -> None:
    store = ModelRegistry(tmp_path / "registry")
    publish_late(store, "late", tiny_base, tmp_path / "late")
    # Examples of a late model have no history text.
    examples = [replace(one, history="") for one in audience(160, tokenizer)]
    earlier, test = examples[:150], examples[150:]
    files = [write_examples(tmp_path / f"{n}.parquet", part) for n, part in enumerate((earlier, test))]
    code, output = run(tmp_path / "registry", files[1], "--version", "late", "--train", str(files[0]))
    assert code == 0, output
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    y_hat, _ = score_examples(store.load("late"), test, texts=known_texts(examples))
    y = np.array([one.y for one in test])
    measured = found["evaluations"]["model"]["metrics"]["log_loss"]["value"]
    assert measured == pytest.approx(log_loss(y_hat, y), abs=1e-6)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"y": 1, "occurred_at": 1}, "no target"),
        ({"target": "a", "y": 2, "occurred_at": 1}, "y and z must be numbers from 0 to 1"),
        ({"target": "a", "y": "NaN", "occurred_at": 1}, "y and z must be numbers from 0 to 1"),
    ],
)
def test_an_invalid_row_is_reported_with_its_line(
    registry: Path, file: Path, row: dict[str, object], message: str
) -> None:
    with file.open("a") as lines:
        lines.write(json.dumps(row) + "\n")
    code, output = run(registry, file)
    assert code == 1
    assert "line 31: " in output
    assert message in output

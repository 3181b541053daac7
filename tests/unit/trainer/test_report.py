"""The report on disk (figures, plots and page), and the predictions of a model for examples."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from model.batches import to_tensors
from model.loaded import LoadedModel
from trainer.dataset import Example
from trainer.evaluation.page import NAMES
from trainer.evaluation.report import Compared, compare, write_report
from trainer.evaluation.scoring import measure_in_turns, score_examples

LAM = 0.5
CURVES = [
    {"step": 0.0, "loss": 0.5},
    {"step": 10.0, "loss": 0.4, "valid_loss": 0.45},
    {"step": 20.0, "loss": 0.3},
]


def examples(count: int) -> list[Example]:
    random = np.random.default_rng(0)
    return [
        Example(
            history=" ; ".join(["watch Heat 1995 loved"] * int(random.integers(0, 4))),
            target=f"watch film {i % 9}",
            y=float(random.random() < 0.6),
            z=None if i % 5 == 0 else 0.5,
            occurred_at=i,
            user_id=f"user {i % 7}",
            item_id=f"film {i % 9}",
        )
        for i in range(count)
    ]


@pytest.fixture
def compared() -> Compared:
    test = examples(120)
    y_hat = np.random.default_rng(1).random(120).astype(np.float32)
    return compare(test, y_hat, y_hat, LAM, train=examples(50), samples=20)


def test_the_report_holds_every_metric_and_every_baseline(tmp_path: Path, compared: Compared) -> None:
    page = write_report(
        tmp_path / "report", compared, title="v-1 on test", facts={"data": "a.csv"}, curves=CURVES
    )
    found = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert list(found["evaluations"]) == [
        "model",
        "global mean",
        "user mean",
        "item mean",
        "user mean so far",
        "item mean so far",
    ]
    assert set(found["evaluations"]["model"]["metrics"]) == set(NAMES)
    text = page.read_text()
    assert re.findall(r'<tr id="(\w+)">', text) == list(NAMES)
    assert f"{found['evaluations']['model']['metrics']['auc']['value']:.4f}" in text
    assert "data: a.csv" in text


def test_the_plots_are_images_embedded_in_the_page(tmp_path: Path, compared: Compared) -> None:
    page = write_report(tmp_path, compared, title="t", curves=CURVES).read_text()
    inside = [base64.b64decode(data) for data in re.findall(r"data:image/png;base64,([^\"]+)", page)]
    files = [tmp_path / f"{name}.png" for name in ("roc", "precision_recall", "calibration", "training")]
    assert inside == [file.read_bytes() for file in files]
    for file in files:
        picture = imread(file)  # (height, width, 4)
        assert picture.shape[0] > 300
        assert picture.shape[1] > 400
        # The picture is not blank.
        assert picture.std() > 0.01
    # The page refers to nothing external.
    assert "http" not in page


def test_without_training_curves_there_is_no_training_plot(tmp_path: Path, compared: Compared) -> None:
    write_report(tmp_path, compared, title="t")
    assert not (tmp_path / "training.png").exists()


def test_foreign_text_is_escaped(tmp_path: Path, compared: Compared) -> None:
    page = write_report(tmp_path, compared, title="<b>v</b>", facts={"<i>": "<script>alert(1)</script>"})
    text = page.read_text()
    assert not re.search(r"<(b|i|script)>", text)
    assert "&lt;script&gt;" in text


def test_the_same_input_writes_the_same_page(tmp_path: Path, compared: Compared) -> None:
    first, again = (write_report(tmp_path / name, compared, title="t").read_bytes() for name in "ab")
    assert first == again


def test_a_single_class_still_makes_a_report(tmp_path: Path) -> None:
    test = [Example("", "watch a", 1.0, None, i, "ann", "a") for i in range(30)]
    y_hat = np.linspace(0, 0.4, 30, dtype=np.float32)
    page = write_report(tmp_path, compare(test, y_hat, y_hat, LAM, samples=10), title="t")
    assert "<td>–<small>– to –</small></td>" in page.read_text()


def test_without_training_examples_only_running_means_are_compared() -> None:
    y_hat = np.full(20, 0.5, np.float32)
    found = compare(examples(20), y_hat, y_hat, LAM, samples=5).evaluations
    assert list(found) == ["model", "user mean so far", "item mean so far"]


def test_scores_keep_the_order_of_examples(tiny_model: LoadedModel) -> None:
    wanted = examples(40)
    seen: list[tuple[int, int]] = []
    y_hat, z_hat = score_examples(
        tiny_model, wanted, batch_tokens=64, progress=lambda done, of: seen.append((done, of))
    )
    texts = tiny_model.tokenizer.encode_texts([(one.history, one.target) for one in wanted])
    alone = torch.cat(
        [tiny_model.score(to_tensors([text], pad_id=tiny_model.pad_id)) for text in texts]
    ).numpy()
    assert np.allclose(y_hat, alone[:, 0], atol=1e-5)
    assert np.allclose(z_hat, alone[:, 1], atol=1e-5)
    assert y_hat.shape == (40,)
    assert len(seen) > 3
    assert seen[-1] == (40, 40)


def test_the_time_per_text_is_measured(tiny_model: LoadedModel) -> None:
    one, other = measure_in_turns([tiny_model, tiny_model], examples(300))
    assert 0 < one.warm < 1000
    assert 0 < other.warm < 1000
    # A joint model caches no vectors.
    assert np.isnan([one.cold, other.cold]).all()
    with pytest.raises(ValueError, match="no examples"):
        measure_in_turns([tiny_model], [])

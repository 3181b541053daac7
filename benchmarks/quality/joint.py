"""The joint reading against baselines: the first table of docs/quality.md.

Writes table.md, metrics.json and the evaluation report in report/. Nothing is computed if they exist.
"""

import json
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality import streaming_counts, tfidf
from benchmarks.quality.progress import show
from model.loading import joint
from model.registry import ModelRegistry
from model.text import TextSettings
from model.tokens import BehaviourTokenizer
from sway.base_model import minilm_dir
from sway.demo.movielens import Pair
from trainer.dataset import Example, label_in_order
from trainer.evaluation.evaluation import Evaluation, evaluate
from trainer.evaluation.report import OURS, Compared, compare, write_report
from trainer.evaluation.scoring import score_examples
from trainer.first_model import fit_first_model, joint_config
from trainer.progress import Progress

MAX_TOKENS = 96
NEWEST_TEXTS = 12_000
QUICK_TEXTS = 500


def run(pairs: list[Pair], train: int, valid: int, folder: Path, *, quick: bool) -> None:
    """Train on the oldest pairs, evaluate those after train + valid and write the results, unless they exist."""
    if (folder / "table.md").is_file():
        print((folder / "table.md").read_text(encoding="utf-8"))
        return
    began_s = time.monotonic()
    base = minilm_dir()
    text = TextSettings(max_tokens=MAX_TOKENS)
    examples = list(label_in_order(pairs, BehaviourTokenizer.from_folder(base, text)))
    test = examples[train + valid :]
    config = joint_config(text, QUICK_TEXTS if quick else NEWEST_TEXTS)
    registry = ModelRegistry(folder / "registry")
    version = fit_first_model(examples[:train], base, registry, config=config, progress=_Shown())
    model = joint(registry.load(version))
    y_hat, z_hat = score_examples(model, test, progress=lambda done, of: show("score", done, of))
    compared = compare(test, y_hat, z_hat, model.lam, train=examples[:train])
    write_report(folder / "report", compared, title="MovieLens-100K", facts={"version": version})
    others = {
        "TF-IDF and logistic regression": tfidf.predict(pairs, train, valid),
        "LightGBM on streaming counts": streaming_counts.predict(pairs, train, valid),
    }
    rows = _rows(compared, test, others)
    plain = {name: found.to_plain() for name, found in rows.items()}
    about = {"quick": quick, "version": version, "seconds": time.monotonic() - began_s, "rows": plain}
    (folder / "metrics.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(_table(rows), encoding="utf-8")
    print(_table(rows))
    print(f"joint reading: {time.monotonic() - began_s:.0f} s")


def _rows(
    compared: Compared, test: list[Example], others: dict[str, NDArray[np.float64]]
) -> dict[str, Evaluation]:
    users = np.array([example.user_id for example in test])
    rows = {"Sway" if name == OURS else name: found for name, found in compared.evaluations.items()}
    for name, predicted in others.items():
        rows[name] = evaluate(compared.y, None, predicted, None, users)
    return rows


def _table(rows: dict[str, Evaluation]) -> str:
    lines = ["| | AUC | 95 % interval | MSE | log-loss | calibration error |", "|---|---|---|---|---|---|"]
    for name, found in rows.items():
        area = found.metrics["auc"]
        others = (found.metrics[key].value for key in ("mse", "log_loss", "calibration_error"))
        figures = " | ".join(f"{value:.4f}".removeprefix("0") for value in others)
        auc, low, high = (f"{value:.4f}".removeprefix("0") for value in (area.value, area.low, area.high))
        lines.append(f"| {name} | {auc} | {low} to {high} | {figures} |")
    return "\n".join(lines) + "\n"


class _Shown:
    """Prints the progress of a stage in tenths."""

    def __call__(self, progress: Progress) -> None:
        show(progress.stage, progress.done, progress.total)

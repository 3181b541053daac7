"""The evaluation report of a model and its baselines.

metrics.json    every metric with its interval, for programs
report.html     the report as one page, with embedded plots
*.png           the plots
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.dataset import Example, labels
from trainer.evaluation.baselines import baselines
from trainer.evaluation.evaluation import Evaluation, evaluate

Floats = NDArray[np.floating]

METRICS_FILE = "metrics.json"
PAGE_FILE = "report.html"
OURS = "model"


@dataclass(frozen=True, slots=True)
class Compared:
    """A model and its baselines. evaluations: by name, the model's first. predictions: y_hat (N,) by name."""

    evaluations: Mapping[str, Evaluation]
    predictions: Mapping[str, Floats]
    y: Floats


def compare(
    test: Sequence[Example],
    y_hat: Floats,
    z_hat: Floats,
    lam: float,
    *,
    train: Sequence[Example] = (),
    samples: int = 500,
    seed: int = 0,
) -> Compared:
    """Evaluate a model's predictions for the test examples, and each baseline, on equal bootstrap samples.

    y_hat, z_hat: (N,), the model's. train: the examples to fit the baselines on; without them, only the baselines named
    "so far" are included.
    """
    wanted = labels(test)
    y, z = wanted[:, 0], wanted[:, 1]
    users = np.array([example.user_id for example in test])
    found = {OURS: evaluate(y, z, y_hat, z_hat, users, lam=lam, samples=samples, seed=seed)}
    predictions: dict[str, Floats] = {OURS: y_hat}
    for name, predicted in baselines(train, test).items():
        if train or name.endswith("so far"):
            found[name] = evaluate(y, None, predicted, None, users, samples=samples, seed=seed)
            predictions[name] = predicted
    return Compared(found, predictions, y)


def write_report(
    folder: Path,
    compared: Compared,
    *,
    title: str,
    facts: Mapping[str, str] | None = None,
    curves: Sequence[Mapping[str, float]] = (),
) -> Path:
    """Write the report into a folder, created if missing; return the path of the page.

    facts: lines about data and version. curves: log entries of the training, with `step`. The output is deterministic.
    """
    from trainer.evaluation import page, plots  # matplotlib takes a second to import

    folder.mkdir(parents=True, exist_ok=True)
    others = {name: y_hat for name, y_hat in compared.predictions.items() if name.endswith("so far")}
    drawn = plots.draw_all(folder, compared.y, compared.predictions[OURS], others, curves)
    plain = {
        "facts": dict(facts or {}),
        "evaluations": {name: found.to_plain() for name, found in compared.evaluations.items()},
    }
    text = json.dumps(plain, indent=2, allow_nan=False, ensure_ascii=False)
    (folder / METRICS_FILE).write_text(text + "\n", encoding="utf-8")
    html = page.render(title, compared.evaluations, drawn, facts or {})
    (folder / PAGE_FILE).write_text(html, encoding="utf-8")
    return folder / PAGE_FILE

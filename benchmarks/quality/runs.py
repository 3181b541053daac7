"""The runs of the late reading's table: their inputs and learners. The result of each run is cached."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.quality import learners
from benchmarks.quality.learners import Parts, Predicted
from benchmarks.quality.streams import unseen
from benchmarks.quality.summary import Scored
from model.features.names import FEATURES_VERSION, Group, columns
from model.late import LateSettings
from trainer.feature_rows import FeatureRows
from trainer.late import LateConfig, TextEncoder
from trainer.text_vectors import TextVectors

COUNTS = (Group.ITEM, Group.WINDOW, Group.TIME)
WINDOW = (*COUNTS, Group.TEXT, Group.ITEM_VECTORS)
WITHOUT_TEXT = (*COUNTS, Group.ITEM_VECTORS, Group.TOTALS)
ALL = tuple(Group)


_NUMBERS_ALONE: dict[str, Any] = {"text": False, "items": False, "history": False, "input_dropout": 0.0}
_TRAINED_BEHAVIOURS = 20
# Rows per pass of BERT. Few large passes suit a CPU; they need a high learning rate.
_TUNED_ROWS = 16_384
_TUNED_RATE = 3e-4


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the table.

    name: name of the row. stream: name of the condition. learner: trees, numbers, wide, late or tuned.
    groups: the feature groups that it reads. text: whether the late network reads text vectors.
    cold: whether it is trained for and evaluated on unseen items. extra: further columns for trees, after the features.
    """

    name: str
    stream: str
    learner: str
    groups: tuple[Group, ...]
    text: bool = True
    cold: bool = False
    extra: tuple[int, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the run. Trees hardly vary by seed, and fine-tuning BERT is expensive, so these have one."""
        return (0, 1, 2) if self.learner in ("numbers", "wide", "late") else (0,)


RUNS = (
    Run("LightGBM, counts of the window", "window", "trees", COUNTS),
    Run("LightGBM, + text", "window", "trees", (*COUNTS, Group.TEXT)),
    Run("LightGBM, + text + item vectors: window only", "window", "trees", WINDOW),
    Run("tower, window only", "window", "numbers", WINDOW),
    Run("LightGBM, window and running totals", "window", "trees", ALL),
    Run("tower, window and running totals", "window", "numbers", ALL),
    Run("LightGBM, whole history", "long", "trees", ALL),
    Run("tower, whole history", "long", "numbers", ALL),
    Run("wide tower, whole history", "long", "wide", ALL),
    Run("late, BERT off", "no text", "late", WITHOUT_TEXT, text=False),
    Run("late, BERT frozen", "window", "late", ALL),
    Run("late, BERT tuned", "window", "tuned", ALL),
    Run("unseen items: LightGBM, BERT off", "unseen, no text", "trees", WITHOUT_TEXT, cold=True),
    Run("unseen items: LightGBM, BERT frozen", "unseen", "trees", ALL, cold=True),
    Run("unseen items: late, BERT off", "unseen, no text", "late", WITHOUT_TEXT, text=False, cold=True),
    Run("unseen items: late, BERT frozen", "unseen", "late", ALL, cold=True),
    Run("unseen items: late, BERT tuned", "unseen", "tuned", ALL, cold=True),
    Run("tower, outcomes of the same second hidden", "second hidden", "numbers", ALL),
    Run("tower, outcomes of one hour hidden", "hour hidden", "numbers", ALL),
    Run("tower, 4 partitions", "4 partitions", "numbers", ALL),
    Run("tower, 16 partitions", "16 partitions", "numbers", ALL),
)


class RowSource(Protocol):
    """A source of feature rows."""

    def rows(self, name: str) -> FeatureRows:
        """Return the rows of a condition."""
        ...


@dataclass(frozen=True, slots=True)
class Study:
    """The common inputs of all runs.

    folder: where predictions are cached. train, valid: the number of oldest events for training, then for validation.
    encoder: returns the layers of BERT to fine-tune. epochs: override of the epochs of every training stage, for a
    quick run.
    """

    folder: Path
    streams: RowSource
    texts: TextVectors
    train: int
    valid: int
    encoder: Callable[[], TextEncoder]
    epochs: int | None = None

    def parts(self, run: Run, rows: FeatureRows) -> Parts:
        """Return the row indices for training, validation and test."""
        last = self.train + self.valid
        train = rows.places(0, self.train, unseen=run.cold)
        valid, test = rows.places(self.train, last), rows.places(last, rows.events)
        if not run.cold:
            return Parts(train, valid, test)
        hidden = np.array([unseen(item_id) for item_id in rows.items])
        return Parts(train[~hidden[train]], valid[hidden[valid]], test[hidden[test]])

    def scored(self, run: Run) -> Scored:
        """Return the scores of a run's test rows with each of its seeds."""
        made = [self.predicted(run, seed) for seed in (run.seeds if self.epochs is None else run.seeds[:1])]
        rows = self.streams.rows(run.stream)
        test = self.parts(run, rows).test
        return Scored(
            rows.users[test],
            rows.y[test].astype(np.float64),
            np.stack([each.test for each in made]),
            float(np.mean([each.valid_loss for each in made])),
            float(np.mean([each.seconds for each in made])),
        )

    def predicted(self, run: Run, seed: int) -> Predicted:
        """Return a run's predictions; compute them if they are not cached."""
        path = self.folder / f"{_slug(run.name)}-seed{seed}-v{FEATURES_VERSION}.npz"
        if not path.is_file():
            made = self._run(run, seed)
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".part.npz")
            np.savez(partial, valid=made.valid, test=made.test, figures=[made.valid_loss, made.seconds])
            partial.replace(path)
            print(f"{run.name}, seed {seed}: {made.seconds:.0f} s of a CPU", flush=True)
        with np.load(path) as kept:
            return Predicted(kept["valid"], kept["test"], *map(float, kept["figures"]))

    def _run(self, run: Run, seed: int) -> Predicted:
        rows = self.streams.rows(run.stream)
        parts = self.parts(run, rows)
        if run.learner == "trees":
            return learners.trees(rows, parts, [*columns(*run.groups), *run.extra], seed)
        config = config_of(run, seed)
        if self.epochs is not None:
            config = replace(config, epochs=self.epochs, numbers_epochs=self.epochs)
        encoder = self.encoder() if run.learner == "tuned" else None
        return learners.network(rows, self.texts.vectors, parts, config, encoder=encoder, name=run.name)


def config_of(run: Run, seed: int) -> LateConfig:
    """Return the training configuration of a run's network."""
    read = tuple(columns(*run.groups))
    if run.learner == "numbers":
        return LateConfig(network=LateSettings(columns=read, **_NUMBERS_ALONE), seed=seed)
    if run.learner == "wide":
        wide = LateSettings(columns=read, tower=128, dropout=0.2, **_NUMBERS_ALONE)
        return LateConfig(network=wide, batch_rows=256, seed=seed)
    return LateConfig(
        network=LateSettings(text=run.text, columns=read),
        behaviours=_TRAINED_BEHAVIOURS,
        group_rows=_TUNED_ROWS,
        text_learning_rate=_TUNED_RATE,
        seed=seed,
    )


def _slug(name: str) -> str:
    return "-".join("".join(char if char.isalnum() else " " for char in name.lower()).split())

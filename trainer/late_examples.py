"""The examples of a training for the late reading: those with a snapshot, the newest, in the order of time. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from model.features.keys import NO_KEY
from model.features.snapshot import Snapshot
from trainer.config import LateTraining
from trainer.dataset import Example
from trainer.errors import TrainingRefused
from trainer.known_texts import known_texts
from trainer.late_snapshots import snapshot_of
from trainer.snapshots import Labelled
from trainer.text_vectors import Said


@dataclass(frozen=True, slots=True, eq=False)
class LateExamples:
    """N examples with snapshots that can be read, oldest first.

    is_valid: bool (N,), which judge. said: what each was, (N,), then texts of the past that none of them is of.
    items: keys of all items, those of the past too. longest: behaviours of the longest window. unreadable: how many
    were left out because they carry no snapshot, or none that this code reads. older: and how many because there are
    newer ones enough.
    """

    ordered: Sequence[Example]
    is_valid: NDArray[np.bool_]
    said: Sequence[Said]
    items: NDArray[np.uint64]
    longest: int
    unreadable: int
    older: int

    @classmethod
    def of(cls, train: Sequence[Example], valid: Sequence[Example], config: LateTraining) -> "LateExamples":
        """Choose the newest; without validation examples the newest of those to learn from judge.

        Raises TrainingRefused if fewer than two to learn from are left.
        """
        items: set[int] = set()
        readable, judges = (_readable(part, items) for part in (train, valid))
        newest = readable[-config.most_rows :]
        chosen_judges = judges[-max(1, config.most_rows // 4) :]
        older = len(readable) - len(newest) + len(judges) - len(chosen_judges)
        if not chosen_judges:
            cut = len(newest) - max(1, round(len(newest) * config.held_out))
            newest, chosen_judges = newest[:cut], newest[cut:]
        if len(newest) < 2:
            raise TrainingRefused(
                f"{len(newest)} examples with a snapshot are too few for the late reading; {len(train)} were given"
            )
        chosen = [(one, False) for one in newest] + [(one, True) for one in chosen_judges]
        chosen.sort(key=lambda one: one[0].example.occurred_at)
        return cls(
            [one.example for one, _ in chosen],
            np.array([judges for _, judges in chosen]),
            _said([one for one, _ in chosen]),
            np.array(sorted(items), np.uint64),
            max(one.behaviours for one, _ in chosen),
            len(train) + len(valid) - len(readable) - len(judges),
            older,
        )

    def labelled(self) -> Iterator[Labelled]:
        """Yield each as it was scored, and its outcome."""
        for one in self.ordered:
            snapshot = Snapshot.decode(one.snapshot or b"")
            known_at_ms = max(snapshot.at_ms, one.known_at)
            yield Labelled(snapshot, one.user_id, one.item_id, one.y, one.z, known_at_ms)


@dataclass(frozen=True, slots=True)
class _Read:
    """An example, the keys of its item and its text, and how many behaviours its window has."""

    example: Example
    item_key: int
    text_key: int
    behaviours: int


def _said(chosen: Sequence[_Read]) -> list[Said]:
    own = [Said(one.item_key, one.text_key, one.example.target) for one in chosen]
    texts = known_texts(one.example for one in chosen)
    return own + [Said(NO_KEY, key, text) for key, text in texts.items()]


def _readable(examples: Sequence[Example], items: set[int]) -> list[_Read]:
    """Return what can be read, oldest first, and add the keys of its items."""
    found = []
    for one in sorted(examples, key=attrgetter("occurred_at")):
        snapshot = snapshot_of(one)
        if snapshot is not None:
            items.add(snapshot.item_key)
            items.update(np.unique(snapshot.past["item"]).tolist())
            found.append(_Read(one, snapshot.item_key, snapshot.text_key, len(snapshot.past)))
    return found

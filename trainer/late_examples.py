"""The examples of a late training: the newest ones with a snapshot, ordered by time. No I/O."""

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
from trainer.text_vectors import BehaviourText


@dataclass(frozen=True, slots=True, eq=False)
class LateExamples:
    """N examples with readable snapshots, oldest first.

    is_valid: bool (N,), the validation examples. texts: the behaviour of each example, (N,), then the known texts of
    past behaviours. items: keys of all items, including those of the past. longest: the number of behaviours in the
    longest window. unreadable: the number of examples dropped because their snapshot is missing or of an unknown
    format. older: the number dropped because of the limit on rows.
    """

    ordered: Sequence[Example]
    is_valid: NDArray[np.bool_]
    texts: Sequence[BehaviourText]
    items: NDArray[np.uint64]
    longest: int
    unreadable: int
    older: int

    @classmethod
    def of(cls, train: Sequence[Example], valid: Sequence[Example], config: LateTraining) -> "LateExamples":
        """Select the newest examples. Without validation examples, hold out the newest training examples.

        Raises TrainingRefused if fewer than two training examples remain.
        """
        items: set[int] = set()
        readable, validation = (_readable(part, items) for part in (train, valid))
        newest = readable[-config.most_rows :]
        chosen_validation = validation[-max(1, config.most_rows // 4) :]
        older = len(readable) - len(newest) + len(validation) - len(chosen_validation)
        if not chosen_validation:
            cut = len(newest) - max(1, round(len(newest) * config.held_out))
            newest, chosen_validation = newest[:cut], newest[cut:]
        if len(newest) < 2:
            raise TrainingRefused(
                f"{len(newest)} examples with a snapshot are too few for the late reading; {len(train)} were given"
            )
        chosen = [(one, False) for one in newest] + [(one, True) for one in chosen_validation]
        chosen.sort(key=lambda one: one[0].example.occurred_at)
        return cls(
            [one.example for one, _ in chosen],
            np.array([is_valid for _, is_valid in chosen]),
            _behaviour_texts([one for one, _ in chosen]),
            np.array(sorted(items), np.uint64),
            max(one.behaviours for one, _ in chosen),
            len(train) + len(valid) - len(readable) - len(validation),
            older,
        )

    def labelled(self) -> Iterator[Labelled]:
        """Yield the labelled snapshot of each example."""
        for one in self.ordered:
            snapshot = Snapshot.decode(one.snapshot or b"")
            known_at_ms = max(snapshot.at_ms, one.known_at)
            yield Labelled(snapshot, one.user_id, one.item_id, one.y, one.z, known_at_ms)


@dataclass(frozen=True, slots=True)
class _Read:
    """An example, the keys of its item and text, and the number of behaviours in its window."""

    example: Example
    item_key: int
    text_key: int
    behaviours: int


def _behaviour_texts(chosen: Sequence[_Read]) -> list[BehaviourText]:
    own = [BehaviourText(one.item_key, one.text_key, one.example.target) for one in chosen]
    texts = known_texts(one.example for one in chosen)
    return own + [BehaviourText(NO_KEY, key, text) for key, text in texts.items()]


def _readable(examples: Sequence[Example], items: set[int]) -> list[_Read]:
    """Return the examples with a readable snapshot, oldest first; add the keys of their items to `items`."""
    found = []
    for one in sorted(examples, key=attrgetter("occurred_at")):
        snapshot = snapshot_of(one)
        if snapshot is not None:
            items.add(snapshot.item_key)
            items.update(np.unique(snapshot.past["item"]).tolist())
            found.append(_Read(one, snapshot.item_key, snapshot.text_key, len(snapshot.past)))
    return found

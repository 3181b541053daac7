"""Examples (behaviour texts with their labels) and splits of them by time. No I/O."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.features.keys import text_key
from model.tokens import BehaviourTokenizer
from model.words import NO_OUTCOMES, ItemCounts, count_habits
from schemas.records import BehaviorEvent, LabeledExample, Outcome
from schemas.state_records import Behaviour
from trainer.snapshots import SnapshotStream, StreamSettings


@dataclass(frozen=True, slots=True)
class Example:
    """One scored text and its label.

    history, target: the two segments, as returned by BehaviourTokenizer.behaviour_text.
    y, z: in [0, 1]; z is None if unknown. occurred_at: milliseconds since 1970.
    user_id, item_id: for baselines, for the bootstrap over users, and for item vectors. They are not part of the text.
    snapshot: the encoded model.features.snapshot that the late reading's numbers are computed from; None if the worker
    that scored the event kept none.
    labeled_at: when y and z became known to a trainer, milliseconds since 1970; None means occurred_at.
    """

    history: str
    target: str
    y: float
    z: float | None
    occurred_at: int
    user_id: str = ""
    item_id: str = ""
    snapshot: bytes | None = None
    labeled_at: int | None = None

    @property
    def known_at(self) -> int:
        """When the label became known, milliseconds since 1970; never before the event."""
        return max(self.occurred_at, self.occurred_at if self.labeled_at is None else self.labeled_at)

    @classmethod
    def from_record(cls, record: LabeledExample) -> "Example":
        """Return the example for a record of sway.examples."""
        return cls(
            record.history,
            record.target,
            record.y,
            record.z,
            record.occurred_at,
            record.user_id,
            record.item_id,
            record.snapshot,
            record.labeled_at,
        )


def split_by_time(examples: Sequence[Example], held_out: float) -> tuple[list[Example], list[Example]]:
    """Split into an older part for training and the newest part for evaluation.

    held_out: the newest part's share, 0 <= held_out < 1. Examples with equal timestamps stay together in the older
    part, so the parts do not overlap in time.
    Raises ValueError for held_out out of bounds.
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out={held_out} must be at least 0 and below 1")
    ordered = sorted(examples, key=lambda example: example.occurred_at)
    cut = len(ordered) - round(len(ordered) * held_out)
    while 0 < cut < len(ordered) and ordered[cut].occurred_at == ordered[cut - 1].occurred_at:
        cut += 1
    return ordered[:cut], ordered[cut:]


TO_MS = "to_ms"
"""Key in a manifest's data: the time by which all labels of the version and its ancestors were known."""


def latest_known_at(*parts: Sequence[Example], known: int | None = None) -> int | None:
    """Return the latest known_at of all examples, or `known` if that is later; None if there is neither."""
    times = [example.known_at for part in parts for example in part]
    return max([*times, *([] if known is None else [known])], default=None)


def labels(examples: Sequence[Example]) -> NDArray[np.float32]:
    """Return y and z, float32 (N, 2); z is NaN if unknown."""
    rows = [(example.y, np.nan if example.z is None else example.z) for example in examples]
    return np.array(rows, dtype=np.float32).reshape(-1, 2)


def label_in_order(
    pairs: Iterable[tuple[BehaviorEvent, Outcome]],
    tokenizer: BehaviourTokenizer,
    *,
    max_behaviours: int = 50,
    partition_of: Callable[[str], int] = lambda _user_id: 0,
) -> Iterator[Example]:
    """Yield the examples that a worker would have produced if each outcome had followed its event at once.

    pairs: events ordered by time, each with its outcome. An event's text contains the outcomes of the same user's
    earlier events, never its own.
    partition_of: the partition of a user; a worker counts item outcomes per partition.
    """
    items: dict[tuple[int, str], ItemCounts] = defaultdict(lambda: NO_OUTCOMES)
    windows: dict[str, deque[Behaviour]] = defaultdict(lambda: deque(maxlen=max_behaviours))
    stream = SnapshotStream(StreamSettings(max_behaviours=max_behaviours, partition_of=partition_of))
    for offset, (event, outcome) in enumerate(pairs):
        window = windows[event.user_id]
        where = (partition_of(event.user_id), event.item_id)
        behaviour = Behaviour(
            event.event_id,
            offset,
            event.occurred_at,
            event.action,
            event.item_id,
            event.item_text,
            event.value,
        )
        history, target = tokenizer.behaviour_text(
            tokenizer.pieces(window),
            tokenizer.target(behaviour),
            tokenizer.rates(count_habits(past.y for past in window), items[where]),
        )
        snapshot = stream.take(event, outcome, text_key(target)).snapshot
        yield Example(
            history,
            target,
            outcome.y,
            outcome.z,
            event.occurred_at,
            event.user_id,
            event.item_id,
            snapshot.encode(),
        )
        behaviour.y, behaviour.z = outcome.y, outcome.z
        window.append(behaviour)
        if event.item_id:
            items[where] = items[where].with_outcome(outcome.y)

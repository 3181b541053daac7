"""Feature rows of MovieLens-100K under different conditions, computed once and cached in build/quality/streams/."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from benchmarks.quality.progress import show
from model.features.names import FEATURES_VERSION
from schemas.records import BehaviorEvent
from sway.partitioner import murmur2_partition
from trainer.feature_rows import FeatureRows, RowSettings, feature_rows
from trainer.snapshots import Pair, StreamSettings, snapshots
from trainer.text_vectors import TextVectors

_READ_BY_ATTENTION = 30
_ALL = 1_000  # behaviours; more than any user has


def unseen(item_id: str) -> bool:
    """Return whether an item is in the fifth that is excluded from training."""
    return zlib.crc32(item_id.encode()) % 5 == 0


@dataclass(frozen=True, slots=True)
class Condition:
    """Settings of the simulated worker's state and of the feature rows."""

    stream: StreamSettings = field(default_factory=StreamSettings)
    rows: RowSettings = field(default_factory=RowSettings)


def condition_of(name: str, train: int) -> Condition:
    """Return a condition by name. train: the number of training events, from which item vectors are computed."""
    read = RowSettings(refit_until=train, kept=_READ_BY_ATTENTION)
    alone = replace(read, kept=0)
    if name == "window":
        return Condition(rows=read)
    if name == "long":
        return Condition(StreamSettings(max_behaviours=_ALL), read)
    if name == "no text":
        return Condition(rows=replace(read, mapped=False))
    if name == "unseen":
        return Condition(StreamSettings(counted=_seen), replace(read, counted=_seen))
    if name == "unseen, no text":
        return Condition(StreamSettings(counted=_seen), replace(read, counted=_seen, mapped=False))
    if name == "second hidden":
        return Condition(StreamSettings(delay_ms=1_000), alone)
    if name == "hour hidden":
        return Condition(StreamSettings(delay_ms=3_600_000), alone)
    partitions = int(name.removesuffix(" partitions"))
    return Condition(StreamSettings(partition_of=_partition_of(partitions)), alone)


class Streams:
    """Feature rows by condition.

    folder: where rows are cached. pairs: all events, in order. train: the number of training events.
    text_of: returns the text of an event.
    """

    def __init__(
        self,
        folder: Path,
        pairs: Sequence[Pair],
        texts: TextVectors,
        text_of: Callable[[BehaviorEvent], str],
        train: int,
    ) -> None:
        self._folder, self._pairs, self._texts, self._train = folder, pairs, texts, train
        self._text_of = text_of
        self._last: tuple[str, FeatureRows] | None = None

    def rows(self, name: str) -> FeatureRows:
        """Return the rows of a condition; those of the last call stay in memory."""
        if self._last is None or self._last[0] != name:
            self._last = name, self._load_or_make(name)
        return self._last[1]

    def _load_or_make(self, name: str) -> FeatureRows:
        path = self._folder / f"{name.replace(', ', '-').replace(' ', '-')}-v{FEATURES_VERSION}.npz"
        return kept_rows(path, lambda: self._made(name))

    def _made(self, name: str) -> FeatureRows:
        condition = condition_of(name, self._train)
        return feature_rows(
            snapshots(self._pairs, self._text_of, condition.stream),
            self._texts,
            condition.rows,
            progress=lambda done: show(f"rows, {name}", done, len(self._pairs)),
        )


def kept_rows(path: Path, make: Callable[[], FeatureRows]) -> FeatureRows:
    """Return the rows from a file; compute and write them if it does not exist."""
    if path.is_file():
        with np.load(path) as kept:
            parts = {field.name: kept[field.name] for field in fields(FeatureRows)}
        return FeatureRows(**{**parts, "events": int(parts["events"])})
    rows = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part.npz")
    np.savez(partial, **{field.name: getattr(rows, field.name) for field in fields(FeatureRows)})
    partial.replace(path)
    return rows


def _seen(item_id: str) -> bool:
    return not unseen(item_id)


def _partition_of(partitions: int) -> Callable[[str], int]:
    return lambda user_id: murmur2_partition(user_id.encode(), partitions)

"""The feature rows of MovieLens-100K under different conditions, made once and kept in build/quality/streams/."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from benchmarks.quality.progress import show
from model.features.names import FEATURES_VERSION
from sway.doctor.keys import murmur2_partition
from trainer.feature_rows import FeatureRows, Pair, RowSettings, feature_rows
from trainer.text_vectors import TextVectors

_READ_BY_ATTENTION = 30
_ALL = 1_000  # behaviours: more than anybody has


def unseen(item_id: str) -> bool:
    """Say whether an item is in the fifth that no training sees."""
    return zlib.crc32(item_id.encode()) % 5 == 0


def settings_of(name: str, train: int) -> RowSettings:
    """Return a condition by name. train: how many events are for training; item vectors are of those alone."""
    if name == "window":
        return RowSettings(refit_until=train, kept=_READ_BY_ATTENTION)
    if name == "long":
        return RowSettings(refit_until=train, kept=_READ_BY_ATTENTION, max_behaviours=_ALL)
    if name == "no text":
        return RowSettings(refit_until=train, kept=_READ_BY_ATTENTION, mapped=False)
    if name == "unseen":
        return RowSettings(refit_until=train, kept=_READ_BY_ATTENTION, counted=_seen)
    if name == "unseen, no text":
        return RowSettings(refit_until=train, kept=_READ_BY_ATTENTION, counted=_seen, mapped=False)
    if name == "second hidden":
        return RowSettings(refit_until=train, kept=0, delay_ms=1_000)
    if name == "hour hidden":
        return RowSettings(refit_until=train, kept=0, delay_ms=3_600_000)
    partitions = int(name.removesuffix(" partitions"))
    return RowSettings(refit_until=train, kept=0, partition_of=_partition_of(partitions))


class Streams:
    """folder: where rows are kept. pairs: all events, in order. train: how many of them are for training."""

    def __init__(self, folder: Path, pairs: Sequence[Pair], texts: TextVectors, train: int) -> None:
        self._folder, self._pairs, self._texts, self._train = folder, pairs, texts, train
        self._last: tuple[str, FeatureRows] | None = None

    def rows(self, name: str) -> FeatureRows:
        """Return the rows of a condition; the last asked for stays in memory."""
        if self._last is None or self._last[0] != name:
            self._last = name, self._load_or_make(name)
        return self._last[1]

    def _load_or_make(self, name: str) -> FeatureRows:
        path = self._folder / f"{name.replace(', ', '-').replace(' ', '-')}-v{FEATURES_VERSION}.npz"
        if path.is_file():
            with np.load(path) as kept:
                parts = {field.name: kept[field.name] for field in fields(FeatureRows)}
            return FeatureRows(**{**parts, "events": int(parts["events"])})
        rows = feature_rows(
            self._pairs,
            self._texts,
            settings_of(name, self._train),
            progress=lambda done, of: show(f"rows, {name}", done, of),
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part.npz")
        np.savez(partial, **{field.name: getattr(rows, field.name) for field in fields(FeatureRows)})
        partial.replace(path)
        return rows


def _seen(item_id: str) -> bool:
    return not unseen(item_id)


def _partition_of(partitions: int) -> Callable[[str], int]:
    return lambda user_id: murmur2_partition(user_id.encode(), partitions)

"""Decoding of examples' snapshots."""

from model.features.snapshot import Snapshot, SnapshotError
from trainer.dataset import Example


def snapshot_of(example: Example) -> Snapshot | None:
    """Return an example's decoded snapshot; None if it has none or its format is unknown."""
    if example.snapshot is None:
        return None
    try:
        return Snapshot.decode(example.snapshot)
    except SnapshotError:
        return None

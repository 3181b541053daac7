"""Snapshots of examples, where they can be read."""

from model.features.snapshot import Snapshot, SnapshotError
from trainer.dataset import Example


def snapshot_of(example: Example) -> Snapshot | None:
    """Return an example's snapshot; None if it carries none that this code reads."""
    if example.snapshot is None:
        return None
    try:
        return Snapshot.decode(example.snapshot)
    except SnapshotError:
        return None

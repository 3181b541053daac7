"""Storage of training curves in the registry, as the report `training` of a version."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from model.registry import ModelRegistry

REPORT = "training"
_FILE = "curves.json"


def keep_curves(registry: ModelRegistry, version: str, curves: Sequence[dict[str, float]]) -> None:
    """Store the training curves of a version."""
    with tempfile.TemporaryDirectory(prefix="sway-curves-") as folder:
        (Path(folder) / _FILE).write_text(json.dumps(list(curves)) + "\n", encoding="utf-8")
        registry.attach(version, Path(folder), REPORT)


def training_curves(registry: ModelRegistry, version: str) -> list[dict[str, float]]:
    """Return the training curves of a version; empty if it has none."""
    if REPORT not in registry.reports(version):
        return []
    with tempfile.TemporaryDirectory(prefix="sway-curves-") as folder:
        path = registry.fetch_report(version, Path(folder) / REPORT, REPORT) / _FILE
        curves: list[dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
        return curves

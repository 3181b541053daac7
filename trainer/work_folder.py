"""The work folder of a training: its identity and its result.

work/training.json    the identity of the training; the folder refuses any other
work/result.json      metrics and curves; written last
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import WorkFolderError

RESULT_FILE = "result.json"
_TRAINING_FILE = "training.json"


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a training.

    folder: a Sway checkpoint. metrics: by name: the losses of the stages, and valid_loss and valid_auc if there were
    validation examples. curves: rows of `step` with `loss`, or with validation metrics.
    """

    folder: Path
    metrics: dict[str, float]
    curves: list[dict[str, float]]


def claim(work: Path, identity: dict[str, Any]) -> None:
    """Assign a folder to a training.

    Raises WorkFolderError if it belongs to another training, or is not usable.
    """
    path = work / _TRAINING_FILE
    try:
        work.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_json(path, identity)
        other = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise WorkFolderError(f"the work folder {work} cannot be used: {exc}") from exc
    changed = [name for name in identity if other.get(name) != identity[name]]
    if changed:
        raise WorkFolderError(
            f"{work} belongs to another training ({', '.join(changed)} differ): use another work folder, or delete it"
        )


def result_in(work: Path) -> Trained | None:
    """Return the result of a finished training, or None."""
    path = work / RESULT_FILE
    if not path.is_file():
        return None
    plain = json.loads(path.read_text(encoding="utf-8"))
    return Trained(work / "model", plain["metrics"], plain["curves"])


def write_json(path: Path, plain: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    partial = path.with_suffix(".part")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(plain, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)

"""The work folder of a training: whose it is, and what came of it.

work/training.json    what is trained here: another training is refused
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
    """What a training made.

    folder: a Sway checkpoint. metrics: by name: the losses of the stages, and valid_loss and valid_auc where
    there were validation examples. curves: rows of `step` with `loss`, or with the validation figures.
    """

    folder: Path
    metrics: dict[str, float]
    curves: list[dict[str, float]]


def claim(work: Path, identity: dict[str, Any]) -> None:
    """Make a folder that of one training. Raises WorkFolderError if it is another's, or cannot be used."""
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
            f"{work} holds another training ({', '.join(changed)} differ): name another work folder, or delete it"
        )


def result_in(work: Path) -> Trained | None:
    """Return what a training that ended has left; None if there is nothing."""
    path = work / RESULT_FILE
    if not path.is_file():
        return None
    plain = json.loads(path.read_text(encoding="utf-8"))
    return Trained(work / "model", plain["metrics"], plain["curves"])


def write_json(path: Path, plain: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all."""
    half = path.with_suffix(".part")
    with half.open("w", encoding="utf-8") as file:
        json.dump(plain, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)

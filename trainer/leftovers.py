"""What trainings that were killed or given up have left on disk, and nobody will come back to."""

import logging
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from model.errors import ModelMissing
from model.registry import ModelRegistry
from model.removal import Removal
from model.scratch import remove_stale_scratch

logger = logging.getLogger(__name__)

UNTOUCHED_S = 30 * 86_400.0
_VERSION = re.compile(
    r"v-[0-9a-f]{12}"
)  # see trainer.job.version_of; nothing else in the folder is a trainer's


def clean_up(work: Path, registry: ModelRegistry) -> None:
    """Remove, at a trainer's start, what earlier ones have left; a storage that is away only puts it off."""

    def is_settled(version: str) -> bool:
        try:
            return registry.verdict(version).is_settled
        except (ModelMissing, ValueError):  # ValueError: the folder is no version's
            return False

    remove_stale_scratch()
    try:
        remove_old_work(work, is_settled)
        if (
            registry.storage.is_local
        ):  # in an object store it asks for each version, which a start must not wait for
            Removal(registry).remove_incomplete()
    except Exception as exc:  # storages fail with errors of their own libraries
        logger.warning("Remains of earlier trainings are not removed this time: %s", exc)


def remove_old_work(
    work: Path,
    is_settled: Callable[[str], bool],
    *,
    untouched_s: float = UNTOUCHED_S,
    now_s: Callable[[], float] = time.time,
) -> list[str]:
    """Remove the folders of versions that are settled, or untouched for so long; return their names, sorted.

    Only folders with a version's name are looked at.

    is_settled: says whether a version was promoted or rejected: then its request is never trained again. A training
    whose folder is removed begins anew if its request is read after all.
    """
    if not work.is_dir():
        return []
    before_s = now_s() - untouched_s
    folders = [folder for folder in work.iterdir() if folder.is_dir() and _VERSION.fullmatch(folder.name)]
    old = [folder for folder in folders if is_settled(folder.name) or _changed_at_s(folder) < before_s]
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)
        logger.info("Removed the work folder %s: its training is settled or was left", folder)
    return sorted(folder.name for folder in old)


def _changed_at_s(folder: Path) -> float:
    times = [folder.stat().st_mtime]
    for path in folder.rglob("*"):
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:  # a trainer that runs has removed it
            continue
    return max(times)

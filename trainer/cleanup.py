"""Removal of files that killed or abandoned trainings have left on disk."""

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
# The format of trainer.job.version_of; a trainer creates no other folders.
_VERSION = re.compile(r"v-[0-9a-f]{12}")


def clean_up(work: Path, registry: ModelRegistry) -> None:
    """Remove files of earlier trainings when a trainer starts. Log storage errors, do not raise them."""

    def is_settled(version: str) -> bool:
        try:
            return registry.verdict(version).is_settled
        except (ModelMissing, ValueError):  # ValueError: not the name of a version
            return False

    remove_stale_scratch()
    try:
        remove_old_work(work, is_settled)
        # In an object store this takes a request per version, which would delay the start.
        if registry.storage.is_local:
            Removal(registry).remove_incomplete()
    except Exception as exc:  # storages raise errors of their own libraries
        logger.warning("Files of earlier trainings are not removed this time: %s", exc)


def remove_old_work(
    work: Path,
    is_settled: Callable[[str], bool],
    *,
    untouched_s: float = UNTOUCHED_S,
    now_s: Callable[[], float] = time.time,
) -> list[str]:
    """Remove the work folders of settled versions, and those not modified for untouched_s.

    Return their names, sorted. Only folders named like a version are considered.

    is_settled: whether a version was promoted or rejected; its request is never trained again. If a request whose
    folder was removed is read again, its training starts from the beginning.
    """
    if not work.is_dir():
        return []
    before_s = now_s() - untouched_s
    folders = [folder for folder in work.iterdir() if folder.is_dir() and _VERSION.fullmatch(folder.name)]
    old = [folder for folder in folders if is_settled(folder.name) or _changed_at_s(folder) < before_s]
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)
        logger.info("Removed the work folder %s: its training is settled or abandoned", folder)
    return sorted(folder.name for folder in old)


def _changed_at_s(folder: Path) -> float:
    times = [folder.stat().st_mtime]
    for path in folder.rglob("*"):
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:  # removed by a running trainer
            continue
    return max(times)

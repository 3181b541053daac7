"""Temporary folders for versions that are being loaded, and removal of those left by killed processes.

A process holds a file lock in its folder. The lock ends with the process, so a stale folder can be recognised one
minute after its creation. The processes of a machine share the system's folder for temporary files.
"""

import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

_PREFIX = "sway-model-"
_LOCK = "in-use"
# Minimum age of a stale folder without a lock file: it is being created, or comes from a version without locks.
_WITHOUT_LOCK_S = 3_600.0
# Maximum time between the creation of the lock file and its locking.
_BEING_MADE_S = 60.0


@contextmanager
def model_scratch() -> Iterator[Path]:
    """Create a private folder and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        folder = Path(name)
        with FileLock(folder / _LOCK):
            yield folder


def remove_stale_scratch() -> int:
    """Remove the folders of killed processes; return how many were removed."""
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # The folder may belong to another user, or another process may be removing it.
        with suppress(OSError):
            if _is_stale(folder):
                shutil.rmtree(folder)
                removed += 1
    if removed:
        logger.info("Removed %d folders of killed processes from %s", removed, tempfile.gettempdir())
    return removed


def _is_stale(folder: Path) -> bool:
    lock = folder / _LOCK
    age_s = time.time() - folder.stat().st_mtime
    if not lock.exists():
        return age_s > _WITHOUT_LOCK_S
    if age_s < _BEING_MADE_S:
        return False
    try:
        with FileLock(lock, timeout=0):
            return True
    except Timeout:
        return False

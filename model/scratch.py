"""Private folders for versions that are being read, and what of them a kill has left.

A folder is in use as long as a process holds the lock in it, which ends with the process: so a folder that nobody has
is known a minute after it was made. Processes of one machine share the folder for temporary files.
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
_WITHOUT_LOCK_S = (
    3_600.0  # a folder that has no lock yet, or is of a Sway that made none, is in use for so long
)


_BEING_MADE_S = 60.0  # between the lock's file and the lock on it


@contextmanager
def model_scratch() -> Iterator[Path]:
    """Make a folder that nobody else reads, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        folder = Path(name)
        with FileLock(folder / _LOCK):
            yield folder


def remove_left_scratch() -> int:
    """Remove the folders of processes that were killed; return how many there were."""
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, or another process removes it
            if _is_left(folder):
                shutil.rmtree(folder)
                removed += 1
    if removed:
        logger.info("Removed %d folders that killed processes had left in %s", removed, tempfile.gettempdir())
    return removed


def _is_left(folder: Path) -> bool:
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

"""A lock that gives the trainer's work folder to one process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from trainer.errors import WorkFolderError


@contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """Lock the folder for the duration of the block.

    The operating system releases the lock when the process ends.
    Raises WorkFolderError if another process holds the lock, or if the folder cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise WorkFolderError(
            f"the work folder {folder} is in use by another trainer: give each a SWAY_TRAINER__WORK_DIR of its own"
        ) from None
    except OSError as exc:
        raise WorkFolderError(f"the work folder {folder} cannot be used: {exc.strerror}") from exc
    try:
        yield folder
    finally:
        lock.release()

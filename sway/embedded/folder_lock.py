"""A lock on a folder, so that one program uses it at a time."""

import fcntl
from pathlib import Path
from typing import IO

from sway.embedded.errors import EmbeddedError


def lock_folder(folder: Path, program: str, in_use: type[EmbeddedError]) -> IO[str]:
    """Lock a folder and return the lock file; the lock is held while any process has the file open.

    A supervisor that inherits the file holds the lock until its program has exited, even if this process exits first.
    Raises in_use, with the program's name, if another process holds the lock.
    """
    file = (folder / ".lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        file.close()
        raise in_use(
            f"another embedded {program} uses {folder}: stop it or use another folder (after a kill, it may take some "
            "seconds to exit)"
        ) from exc
    return file

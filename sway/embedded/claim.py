"""A folder that one program at a time may work in."""

import fcntl
from pathlib import Path
from typing import IO

from sway.embedded.errors import EmbeddedError


def claim(folder: Path, program: str, in_use: type[EmbeddedError]) -> IO[str]:
    """Lock a folder, and return the file that holds the lock as long as any process has it open.

    A leash that is given it holds the lock until its program is gone, even if this process is not.
    Raises in_use, naming the program, if another one works there.
    """
    file = (folder / ".lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        file.close()
        raise in_use(
            f"another embedded {program} works in {folder}: stop it or take another folder (one whose "
            "program was killed just now needs some seconds to end)"
        ) from exc
    return file

"""The folder for a machine's replay stores: locks its workers and stores the machine's name in the group."""

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from stream.replay.errors import ReplayError


@dataclass(frozen=True, slots=True)
class ReplayFolder:
    """path: ends in the replay id; created at first use."""

    path: Path

    def machine(self) -> str:
        """Return the permanent name of this folder; no two machines share a name."""
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / "machine"
        with FileLock(self.path / "machine.lock"):  # several workers may start at the same time
            name = file.read_text() if file.exists() else ""
            if not name:  # a crash may have left the file empty; two machines must never share a name
                name = os.urandom(8).hex()
                file.write_text(name)
        return name

    def locked(self, worker: int) -> AbstractContextManager[Any]:
        """Acquire the lock of a worker number and return it. Raises ReplayError if another process holds it."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / f"worker-{worker}.lock")
        try:
            return lock.acquire(timeout=0)
        except Timeout as exc:
            raise ReplayError(
                f"Replay {self.path.name!r} is already running on this machine with the folder {self.path}. Use "
                "--workers for more processes, and run the same command on another machine."
            ) from exc

"""The folder in which a machine keeps a replay's stores: who works in it, and the name by which the group knows it."""

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from stream.replay.errors import ReplayError


@dataclass(frozen=True, slots=True)
class ReplayFolder:
    """path: ends in the replay's id; made when it is first used."""

    path: Path

    def machine(self) -> str:
        """Return the name of this folder, the same ever after; no two machines share one."""
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / "machine"
        with FileLock(self.path / "machine.lock"):  # workers start at once
            name = file.read_text() if file.exists() else ""
            if not name:  # also if a crash has left the file empty: two machines must never share a name
                name = os.urandom(8).hex()
                file.write_text(name)
        return name

    def locked(self, worker: int) -> AbstractContextManager[Any]:
        """Return the lock of a worker's place, held. Raises ReplayError if another process has it."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / f"worker-{worker}.lock")
        try:
            return lock.acquire(timeout=0)
        except Timeout as exc:
            raise ReplayError(
                f"Replay {self.path.name!r} runs on this machine already, with the folder {self.path}. Use --workers "
                "for more processes, and on another machine the same command."
            ) from exc

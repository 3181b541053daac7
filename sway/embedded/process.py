"""A child process on a leash: it ends when this process ends, even by SIGKILL."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from sway.embedded import leash
from sway.embedded.errors import EmbeddedError

_LEASH_MARGIN_S = 5.0  # what the leash may need on top of the grace of its command


class LeashedProcess:
    """A command that runs below `leash.py`, in a session of its own.

    Ctrl-C in the terminal therefore does not reach it: its owner decides when it stops. It runs in `folder`
    and what it prints goes to the file `output` there. With `remove_folder`, the folder goes too if the owner
    dies without stopping the command. The file descriptors `held` stay open, and what is locked through them
    stays locked, until the leash ends.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        folder: Path,
        output: str,
        *,
        grace_s: float = 20.0,
        remove_folder: bool = False,
        held: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the command. environment: None for ours. Raises EmbeddedError if it cannot be executed."""
        options = ["--remove", str(folder)] if remove_folder else []
        told = [str(os.getpid()), str(grace_s), *options, "--"]
        self._grace_s = grace_s
        with (folder / output).open("wb") as file:
            self._leash = subprocess.Popen(  # noqa: S603 - the command is ours
                [sys.executable, "-I", "-S", leash.__file__, *told, *(str(part) for part in command)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                cwd=folder,
                pass_fds=held,
                env=environment,
                start_new_session=True,
            )
        self.pid = self._read_pid(command, folder / output)

    def _read_pid(self, command: Sequence[str | Path], output: Path) -> int:
        with _pipe(self._leash.stdout) as told:
            line = told.readline()
        if not line:
            self._close()
            raise EmbeddedError(f"cannot execute {command[0]}: {output} says why")
        return int(line)

    def exit_status(self) -> int | None:
        """Return how the command ended (128 + N after signal N), None while it runs."""
        return self._leash.poll()

    def wait(self) -> int:
        """Return how the command ended, once it has."""
        return self._leash.wait()

    def stop(self) -> None:
        """Ask the command to end (SIGTERM), after the grace kill it; return when it is gone."""
        if self._leash.poll() is None:
            with suppress(BrokenPipeError):  # it ended between the question and the request
                os.write(_pipe(self._leash.stdin).fileno(), b"s")
        self._close()

    def kill(self) -> None:
        """Kill the command (SIGKILL) and return when it is gone."""
        if self._leash.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self._close()

    def _close(self) -> None:
        try:
            self._leash.wait(timeout=self._grace_s + _LEASH_MARGIN_S)
        except subprocess.TimeoutExpired:
            self._leash.kill()
            self._leash.wait()
        _pipe(self._leash.stdin).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise EmbeddedError("the leash was started without pipes")
    return pipe

"""A supervised child process: it ends with this process, even if this process is killed (SIGKILL)."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from sway.embedded import supervisor
from sway.embedded.errors import EmbeddedError

# Time that the supervisor may need beyond the grace period of the command.
_SUPERVISOR_MARGIN_S = 5.0


class SupervisedProcess:
    """A command under `supervisor.py`, in its own session.

    Ctrl-C in the terminal does not reach it: this process, its owner, decides when it stops.

    folder: the working directory. output: the file in `folder` for standard output and error. grace_s: seconds between
    SIGTERM and SIGKILL. remove_folder: remove `folder` if the owner dies without stopping the command. pass_fds: file
    descriptors that stay open until the supervisor exits, and with them their file locks.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        folder: Path,
        output: str,
        *,
        grace_s: float = 20.0,
        remove_folder: bool = False,
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the command. environment: None inherits ours. Raises EmbeddedError if it cannot be executed."""
        options = ["--remove", str(folder)] if remove_folder else []
        arguments = [str(os.getpid()), str(grace_s), *options, "--"]
        self._grace_s = grace_s
        with (folder / output).open("wb") as file:
            self._supervisor = subprocess.Popen(  # noqa: S603 - a command of the owner
                [
                    sys.executable,
                    "-I",
                    "-S",
                    supervisor.__file__,
                    *arguments,
                    *(str(part) for part in command),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                cwd=folder,
                pass_fds=pass_fds,
                env=environment,
                start_new_session=True,
            )
        self.pid = self._read_pid(command, folder / output)

    def _read_pid(self, command: Sequence[str | Path], output: Path) -> int:
        with _pipe(self._supervisor.stdout) as output_pipe:
            line = output_pipe.readline()
        if not line:
            self._close()
            raise EmbeddedError(f"cannot execute {command[0]}: see {output}")
        return int(line)

    def exit_status(self) -> int | None:
        """Return the exit status (128 + N after signal N), None while it runs."""
        return self._supervisor.poll()

    def wait(self) -> int:
        """Wait for the command and return its exit status."""
        return self._supervisor.wait()

    def stop(self) -> None:
        """Stop the command with SIGTERM, after the grace period with SIGKILL, and wait for its exit."""
        if self._supervisor.poll() is None:
            # The command may have exited since the check.
            with suppress(BrokenPipeError):
                os.write(_pipe(self._supervisor.stdin).fileno(), b"s")
        self._close()

    def kill(self) -> None:
        """Kill the command (SIGKILL) and wait for its exit."""
        if self._supervisor.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self._close()

    def _close(self) -> None:
        try:
            self._supervisor.wait(timeout=self._grace_s + _SUPERVISOR_MARGIN_S)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        _pipe(self._supervisor.stdin).close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise EmbeddedError("the supervisor was started without pipes")
    return pipe

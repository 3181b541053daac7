"""A broker process and its folder."""

import re
import subprocess
from pathlib import Path

from sway.embedded.errors import FolderInUseError, KafkaStartError
from sway.embedded.folder_lock import lock_folder
from sway.embedded.process import SupervisedProcess
from sway.embedded.properties import (
    DATA_FOLDER,
    LOG4J_CONFIGURATION,
    LOG_FILE,
    Node,
    server_properties,
)
from sway.embedded.runtime import KafkaRuntime

_PROPERTIES_FILE = "server.properties"
_LOG4J_FILE = "log4j2.xml"
_CONSOLE_FILE = "console.log"
_DUMP_FILE = "classes.jsa"
_LOG_OPTIONS = (f"-Dlog4j2.configurationFile={_LOG4J_FILE}",)
_FORMAT_TIMEOUT_S = 60.0
_PROBLEM = re.compile(r" (WARN|ERROR|FATAL) |^Caused by: ")
_SHOWN_LINES = 12


class Broker:
    """A broker process with its own working folder.

    temporary: remove the folder if this process dies without stopping the broker.
    """

    def __init__(self, runtime: KafkaRuntime, folder: Path, heap_mb: int, *, temporary: bool) -> None:
        self.folder = folder
        self._runtime = runtime
        self._heap_mb = heap_mb
        self._temporary = temporary
        self._process: SupervisedProcess | None = None
        self._log_start = 0

    @property
    def log_path(self) -> Path:
        """The log file of the broker; a restart appends to it."""
        return self.folder / LOG_FILE

    @property
    def pid(self) -> int | None:
        """The process id of the JVM, None if it was not started or was stopped."""
        return self._process.pid if self._process is not None else None

    @property
    def exit_status(self) -> int | None:
        """The exit status of the JVM (128 + N after signal N); None while it runs or if it was not started."""
        return self._process.exit_status() if self._process is not None else None

    def start(self, node: Node, cluster: tuple[Node, ...], new_cluster_id: str) -> str:
        """Format new storage, start the process, and return the cluster id.

        Does not wait until the broker is ready. Raises FolderInUseError, or KafkaStartError if the storage cannot be
        formatted.
        """
        # A process that died still has an open pipe.
        self.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        with lock_folder(self.folder, "Kafka", FolderInUseError) as lock:
            (self.folder / _PROPERTIES_FILE).write_text(server_properties(node, cluster), "utf-8")
            (self.folder / _LOG4J_FILE).write_text(LOG4J_CONFIGURATION, "utf-8")
            self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
            if self._cluster_id() is None:
                self._format(new_cluster_id)
            self._process = self._launch(lock.fileno())
        return self._cluster_id() or new_cluster_id

    def wait(self) -> int | None:
        """Wait for the JVM and return its exit status; None if it was not started."""
        return self._process.wait() if self._process is not None else None

    def stop(self) -> None:
        """Stop the process and wait for its exit."""
        if self._process is None:
            return
        self._process.stop()
        self._process = None
        dump = self.folder / _DUMP_FILE
        self._runtime.archive.keep(dump)
        dump.unlink(missing_ok=True)

    def kill(self) -> None:
        """Kill the process (SIGKILL) and wait for its exit."""
        if self._process is not None:
            self._process.kill()

    def log_of_this_start(self) -> str:
        """Return the log since the last start."""
        return _read_from(self.log_path, self._log_start)

    def log_tail(self) -> str:
        """Return the last warnings and errors since the last start, else the last lines of output."""
        logged = self.log_of_this_start().splitlines()
        printed = _read_from(self.folder / _CONSOLE_FILE, 0).splitlines()
        lines = [line for line in logged if _PROBLEM.search(line)] or logged or printed
        return "\n".join(lines[-_SHOWN_LINES:]) or "(the log is empty)"

    def _launch(self, lock: int) -> SupervisedProcess:
        archive = self._runtime.archive
        options = archive.use() if archive.exists else archive.make(self.folder / _DUMP_FILE)
        main = ["kafka.Kafka", _PROPERTIES_FILE]
        command = self._runtime.command(self._heap_mb, [*options, *_LOG_OPTIONS], main)
        return SupervisedProcess(
            command, self.folder, _CONSOLE_FILE, remove_folder=self._temporary, pass_fds=[lock]
        )

    def _cluster_id(self) -> str | None:
        meta = self.folder / DATA_FOLDER / "meta.properties"
        if not meta.exists():
            return None
        pairs = (line.split("=", 1) for line in meta.read_text("utf-8").splitlines() if "=" in line)
        return dict(pairs).get("cluster.id")

    def _format(self, cluster_id: str) -> None:
        main = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", _PROPERTIES_FILE]
        options = [*self._runtime.archive.use(), *_LOG_OPTIONS]
        try:
            done = subprocess.run(  # noqa: S603 - a fixed command
                self._runtime.command(self._heap_mb, options, main),
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=_FORMAT_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise KafkaStartError(f"cannot format Kafka's storage in {self.folder}: {exc}") from exc
        if done.returncode != 0:
            raise KafkaStartError(
                f"cannot format Kafka's storage in {self.folder}: status {done.returncode}\n"
                f"{done.stdout}{done.stderr}"
            )


def _read_from(path: Path, start: int) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        # A file that is shorter than before was rolled over, so all of it is new.
        file.seek(start if path.stat().st_size >= start else 0)
        return file.read().decode("utf-8", "replace")

"""The embedded Schema Registry, with the Confluent API, as a child process."""

import json
import re
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Self

from sway.embedded import ports
from sway.embedded.artifacts import ArtifactCache, Progress
from sway.embedded.errors import (
    EmbeddedError,
    RegistryFolderInUseError,
    RegistryPortTakenError,
    RegistryStartError,
)
from sway.embedded.folder_lock import lock_folder
from sway.embedded.lifecycle import Embedded
from sway.embedded.process import SupervisedProcess
from sway.embedded.registry_runtime import API_PATH, TEMPORARY, RegistryRuntime

_LOG_FILE = "registry.log"
# Quarkus logs it once its ports are bound.
_LISTENS = "Listening on: "
_PORT_TAKEN = ("seems to be in use by another process", "Address already in use")
_DAMAGED = ("jarfile", "ClassNotFoundException", "NoClassDefFoundError", "NoSuchFileException")
_PORT_ATTEMPTS = 5
_POLL_S = 0.05
_ANSWER_TIMEOUT_S = 5.0
_PROBLEM = re.compile(r" ERROR |^Caused by: |^Error: |^Exception in ")
_SHOWN_LINES = 12
# A proxy cannot reach the loopback interface of this machine.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class EmbeddedRegistry(Embedded):
    """An Apicurio Registry on loopback. It ends with this process, even if this process is killed (SIGKILL).

        with EmbeddedRegistry() as registry:
            SchemaRegistryClient({"url": registry.url})

    data_dir: a folder that keeps schemas and their ids between runs; None uses a temporary folder, removed at stop.
    port: the port to listen on; a free port if None or taken. A restart keeps the port.
    cache: the artifact cache; None uses the user's cache.
    on_fetch: called before the program is downloaded from Maven Central.

    Not thread-safe.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        heap_mb: int = 256,
        *,
        port: int | None = None,
        cache: ArtifactCache | None = None,
        start_timeout_s: float = 90.0,
        on_fetch: Progress | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._heap_mb = heap_mb
        self._wanted_port = port
        self._cache = cache or ArtifactCache()
        self._start_timeout_s = start_timeout_s
        self._on_fetch = on_fetch
        self._runtime: RegistryRuntime | None = None
        self._folder: Path | None = None
        self._port: int | None = None
        self._process: SupervisedProcess | None = None

    @property
    def url(self) -> str:
        """The URL for clients (SWAY_WIRE__REGISTRY_URL); `kill` and `restart` keep it.

        Raises EmbeddedError before the start.
        """
        if self._port is None:
            raise EmbeddedError("the embedded Schema Registry has no address: call start() first")
        return f"http://{ports.HOST}:{self._port}{API_PATH}"

    @property
    def pid(self) -> int:
        """The process id of the registry's JVM. Raises EmbeddedError if it was not started."""
        return self._started().pid

    @property
    def log_path(self) -> Path:
        """The file with the output since the last start. Raises EmbeddedError if it was not started."""
        if self._folder is None:
            raise EmbeddedError("the embedded Schema Registry has no log: call start() first")
        return self._folder / _LOG_FILE

    @property
    def running(self) -> bool:
        """Whether the registry's process is running."""
        return self._process is not None and self._process.exit_status() is None

    def start(self) -> Self:
        """Download missing files, start the registry, and wait until its API is ready.

        Does nothing if it is running. Raises ArtifactError, JavaNotFoundError, or RegistryStartError with the end of
        the log; no process is left running then.
        """
        if self.running:
            return self
        try:
            self._start_on_a_free_port()
        except BaseException:
            self.stop()
            raise
        return self

    def wait(self) -> int:
        """Wait for the registry's process and return its exit status (128 + N after signal N)."""
        return self._started().wait()

    def log_tail(self) -> str:
        """Return the last errors in the log since the last start, else its last lines."""
        logged = self._log().splitlines()
        lines = [line for line in logged if _PROBLEM.search(line)] or logged
        return "\n".join(lines[-_SHOWN_LINES:]) or "(the log is empty)"

    def stop(self) -> None:
        """Stop the registry, wait for its exit, and remove a temporary folder. Idempotent."""
        self._end_process()
        if self._folder is not None and self._data_dir is None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = self._port = None

    def kill(self) -> None:
        """Kill the registry (SIGKILL) and wait for its exit; schemas and address are kept."""
        self._started().kill()

    def restart(self) -> Self:
        """Restart the registry with the same schemas and port.

        Raises RegistryPortTakenError if another process has taken the port.
        """
        self._started().stop()
        return self.start()

    def _started(self) -> SupervisedProcess:
        if self._process is None:
            raise EmbeddedError("the embedded Schema Registry is not running: call start() first")
        return self._process

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def _start_on_a_free_port(self) -> None:
        """Start; retry with another port if another process took the port between check and start."""
        if self._runtime is None:
            self._runtime = RegistryRuntime.prepare(self._cache, self._on_fetch)
        if self._folder is None:
            self._folder = self._make_folder()
        for _ in range(_PORT_ATTEMPTS - 1):
            try:
                return self._start_once(self._runtime, self._folder)
            except RegistryPortTakenError:
                continue
        return self._start_once(self._runtime, self._folder)

    def _make_folder(self) -> Path:
        if self._data_dir is None:
            return Path(tempfile.mkdtemp(prefix="sway-registry-"))
        self._data_dir.mkdir(parents=True, exist_ok=True)
        return self._data_dir.absolute()

    def _start_once(self, runtime: RegistryRuntime, folder: Path) -> None:
        # A process that died still has an open pipe.
        self._end_process()
        port = self._choose_port()
        management_port = ports.free_port(taken=frozenset({port}))
        command = runtime.command(self._heap_mb, port, management_port)
        temporary = self._data_dir is None
        with lock_folder(folder, "Schema Registry", RegistryFolderInUseError) as lock:
            # It may be left by a killed registry.
            shutil.rmtree(folder / TEMPORARY, ignore_errors=True)
            (folder / TEMPORARY).mkdir()
            self._process = SupervisedProcess(
                command, folder, _LOG_FILE, remove_folder=temporary, pass_fds=[lock.fileno()]
            )
        self._wait_until_it_answers(self._process, f"http://{ports.HOST}:{port}{API_PATH}/subjects")
        self._port = port

    def _choose_port(self) -> int:
        # Clients know this address.
        if self._port is not None:
            if not ports.is_free(self._port):
                raise RegistryPortTakenError(
                    f"cannot restart the embedded Schema Registry: another process listens on its port {self._port}"
                )
            return self._port
        if self._wanted_port is not None and ports.is_free(self._wanted_port):
            return self._wanted_port
        return ports.free_port()

    def _wait_until_it_answers(
        self, process: SupervisedProcess, question: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        deadline = now() + self._start_timeout_s
        # The log is checked first: before that line, another program may answer on the port.
        while not (_LISTENS in self._log() and _answers(question)):
            status = process.exit_status()
            if status is not None:
                raise self._death(status)
            if now() > deadline:
                raise RegistryStartError(
                    f"the embedded Schema Registry was not ready within {self._start_timeout_s:g} s:\n{self.log_tail()}"
                )
            time.sleep(_POLL_S)

    def _death(self, status: int) -> RegistryStartError:
        log = self._log()
        taken = any(words in log for words in _PORT_TAKEN)
        kind = RegistryPortTakenError if taken else RegistryStartError
        advice = ""
        if self._runtime is not None and any(words in log for words in _DAMAGED):
            advice = f"\nRemove {self._runtime.folder} to download it again."
        return kind(
            f"the embedded Schema Registry exited with status {status} during its start:\n{self.log_tail()}{advice}"
        )

    def _log(self) -> str:
        return self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""


def _answers(question: str) -> bool:
    """Return whether a GET returns a JSON list."""
    try:
        with _DIRECT.open(question, timeout=_ANSWER_TIMEOUT_S) as answer:
            return isinstance(json.load(answer), list)
    # Refused, an error status, or not JSON.
    except (OSError, ValueError):
        return False

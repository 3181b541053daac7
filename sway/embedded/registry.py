"""A real Schema Registry with Confluent's API, for one machine and for as long as a program runs."""

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
from sway.embedded.claim import claim
from sway.embedded.errors import (
    EmbeddedError,
    RegistryFolderInUseError,
    RegistryPortTakenError,
    RegistryStartError,
)
from sway.embedded.lifecycle import Embedded
from sway.embedded.process import LeashedProcess
from sway.embedded.registry_runtime import API_PATH, TEMPORARY, RegistryRuntime

_LOG_FILE = "registry.log"
_LISTENS = "Listening on: "  # Quarkus logs it once its ports are bound
_PORT_TAKEN = ("seems to be in use by another process", "Address already in use")
_DAMAGED = ("jarfile", "ClassNotFoundException", "NoClassDefFoundError", "NoSuchFileException")
_PORT_ATTEMPTS = 5
_POLL_S = 0.05
_ANSWER_TIMEOUT_S = 5.0
_TROUBLE = re.compile(r" ERROR |^Caused by: |^Error: |^Exception in ")
_TROUBLE_LINES = 12
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no way to our loopback


class EmbeddedRegistry(Embedded):
    """One Apicurio Registry on loopback, which ends with this process, even by SIGKILL.

        with EmbeddedRegistry() as registry:
            SchemaRegistryClient({"url": registry.url})

    data_dir: where schemas are kept between runs, with their ids; None takes a temporary folder that goes at stop.
    port: the port to listen on; None, or one that is taken, takes another. A restart keeps its port.
    cache: where the program is; None takes the user's cache, shared by all programs.
    on_fetch: told before the program must come from Maven Central, the first time.

    Not for several threads at once.
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
        self._process: LeashedProcess | None = None

    @property
    def url(self) -> str:
        """Where clients find it: SWAY_WIRE__REGISTRY_URL. `kill` and `restart` keep it.

        Raises EmbeddedError before the start.
        """
        if self._port is None:
            raise EmbeddedError("the embedded Schema Registry has no address: call start() first")
        return f"http://{ports.HOST}:{self._port}{API_PATH}"

    @property
    def pid(self) -> int:
        """The process id of the registry's JVM. Raises EmbeddedError if there is none."""
        return self._started().pid

    @property
    def log_path(self) -> Path:
        """What the registry has printed since its last start. Raises EmbeddedError if it was not started."""
        if self._folder is None:
            raise EmbeddedError("the embedded Schema Registry has no log: call start() first")
        return self._folder / _LOG_FILE

    @property
    def running(self) -> bool:
        """Whether the registry's process is there."""
        return self._process is not None and self._process.exit_status() is None

    def start(self) -> Self:
        """Fetch what is missing, start the registry and return once its API answers.

        Does nothing if it runs already. Raises ArtifactError, JavaNotFoundError, or RegistryStartError with
        what the log says; nothing is left running then.
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
        """Return how the registry ended (128 + N after signal N), once it has: by itself, or by `kill`."""
        return self._started().wait()

    def trouble(self) -> str:
        """Return the last errors that the registry has logged since its start, else the last lines."""
        logged = self._log().splitlines()
        told = [line for line in logged if _TROUBLE.search(line)] or logged
        return "\n".join(told[-_TROUBLE_LINES:]) or "(nothing was logged)"

    def stop(self) -> None:
        """Stop the registry and wait until it is gone; a temporary folder is removed. May be called again."""
        self._end_process()
        if self._folder is not None and self._data_dir is None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = self._port = None

    def kill(self) -> None:
        """End the registry as a crash would (SIGKILL) and wait until it is gone; schemas and address stay."""
        self._started().kill()

    def restart(self) -> Self:
        """Stop the registry if it runs, and start it with the same schemas on the same port.

        Raises RegistryPortTakenError if another process has taken the port meanwhile.
        """
        self._started().stop()
        return self.start()

    def _started(self) -> LeashedProcess:
        if self._process is None:
            raise EmbeddedError("the embedded Schema Registry does not run: call start() first")
        return self._process

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def _start_on_a_free_port(self) -> None:
        """Start again with another port if somebody took ours between the look and the start."""
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
        self._end_process()  # one that died by itself still holds its pipe
        port = self._choose_port()
        management_port = ports.free_port(taken=frozenset({port}))
        command = runtime.command(self._heap_mb, port, management_port)
        temporary = self._data_dir is None
        with claim(folder, "Schema Registry", RegistryFolderInUseError) as lock:
            shutil.rmtree(folder / TEMPORARY, ignore_errors=True)  # left by one that was killed
            (folder / TEMPORARY).mkdir()
            self._process = LeashedProcess(
                command, folder, _LOG_FILE, remove_folder=temporary, held=[lock.fileno()]
            )
        self._wait_until_it_answers(self._process, f"http://{ports.HOST}:{port}{API_PATH}/subjects")
        self._port = port

    def _choose_port(self) -> int:
        if self._port is not None:  # clients know this address
            if not ports.is_free(self._port):
                raise RegistryPortTakenError(
                    f"the embedded Schema Registry cannot come back: another process listens on its port {self._port}"
                )
            return self._port
        if self._wanted_port is not None and ports.is_free(self._wanted_port):
            return self._wanted_port
        return ports.free_port()

    def _wait_until_it_answers(
        self, process: LeashedProcess, question: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        deadline = now() + self._start_timeout_s
        # The log first: what answers on the port before that is another program.
        while not (_LISTENS in self._log() and _answers(question)):
            status = process.exit_status()
            if status is not None:
                raise self._death(status)
            if now() > deadline:
                raise RegistryStartError(
                    f"the embedded Schema Registry did not answer within {self._start_timeout_s:g} s:\n{self.trouble()}"
                )
            time.sleep(_POLL_S)

    def _death(self, status: int) -> RegistryStartError:
        log = self._log()
        taken = any(words in log for words in _PORT_TAKEN)
        kind = RegistryPortTakenError if taken else RegistryStartError
        way_out = ""
        if self._runtime is not None and any(words in log for words in _DAMAGED):
            way_out = f"\nRemove {self._runtime.folder}, and it is fetched again."
        return kind(
            f"the embedded Schema Registry ended with status {status} while starting:\n{self.trouble()}{way_out}"
        )

    def _log(self) -> str:
        return self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""


def _answers(question: str) -> bool:
    """Whether a GET answers with a JSON list."""
    try:
        with _DIRECT.open(question, timeout=_ANSWER_TIMEOUT_S) as answer:
            return isinstance(json.load(answer), list)
    except (OSError, ValueError):  # refused, an error's page, or not JSON
        return False

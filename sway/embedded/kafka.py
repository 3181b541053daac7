"""A single embedded Kafka broker as a child process."""

import shutil
from pathlib import Path
from typing import Self

from sway.embedded import ports
from sway.embedded.artifacts import ArtifactCache, Progress
from sway.embedded.broker import Broker
from sway.embedded.errors import EmbeddedError
from sway.embedded.lifecycle import Embedded
from sway.embedded.properties import Node
from sway.embedded.runtime import KafkaRuntime
from sway.embedded.starting import broker_in, check_port, start_on_free_ports

_NODE_ID = 1


class EmbeddedKafka(Embedded):
    """One KRaft node of Apache Kafka on loopback. It ends with this process, even if this process is killed (SIGKILL).

        with EmbeddedKafka() as kafka:
            Producer({"bootstrap.servers": kafka.bootstrap_servers})

    data_dir: a folder that keeps topics between runs; None uses a temporary folder, removed at stop.
    port: the port to listen on; a free port if None or taken. A restart keeps the port.
    cache: the artifact cache; None uses the user's cache.
    on_fetch: called before each jar is downloaded from Maven Central.

    Not thread-safe.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        heap_mb: int = 512,
        *,
        port: int | None = None,
        cache: ArtifactCache | None = None,
        start_timeout_s: float = 90.0,
        on_fetch: Progress | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._heap_mb = heap_mb
        self._port = port
        self._cache = cache or ArtifactCache()
        self._start_timeout_s = start_timeout_s
        self._on_fetch = on_fetch
        self._broker: Broker | None = None
        self._node: Node | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The host:port of the broker; `kill` and `restart` keep it. Raises EmbeddedError before the start."""
        if self._node is None:
            raise EmbeddedError("the embedded Kafka has no address: call start() first")
        return self._node.address

    @property
    def pid(self) -> int:
        """The process id of the broker's JVM. Raises EmbeddedError if it was not started."""
        pid = self._started().pid
        if pid is None:
            raise EmbeddedError("the embedded Kafka has no process: call start() first")
        return pid

    @property
    def log_path(self) -> Path:
        """The broker's log file. Raises EmbeddedError if it was not started."""
        return self._started().log_path

    @property
    def running(self) -> bool:
        """Whether the broker's process is running."""
        broker = self._broker
        return broker is not None and broker.pid is not None and broker.exit_status is None

    def start(self) -> Self:
        """Download missing files, start the broker, and wait until it is ready.

        Does nothing if it is running. Raises ArtifactError, JavaNotFoundError, or KafkaStartError with the end of the
        log; no process is left running then.
        """
        if self.running:
            return self
        if self._broker is None:
            runtime = KafkaRuntime.prepare(self._cache, self._on_fetch)
            self._broker = broker_in(self._data_dir, runtime, self._heap_mb)
        try:
            (self._node,) = start_on_free_ports(
                {_NODE_ID: self._broker}, self._choose_ports, self._start_timeout_s
            )
        except BaseException:
            self.stop()
            raise
        return self

    def wait(self) -> int | None:
        """Wait for the broker's process and return its exit status (128 + N after signal N)."""
        return self._started().wait()

    def log_tail(self) -> str:
        """Return the last warnings and errors in the log since the last start."""
        return self._started().log_tail()

    def stop(self) -> None:
        """Stop the broker, wait for its exit, and remove a temporary folder. Idempotent."""
        broker, self._broker, self._node = self._broker, None, None
        if broker is None:
            return
        broker.stop()
        if self._data_dir is None:
            shutil.rmtree(broker.folder, ignore_errors=True)

    def kill(self) -> None:
        """Kill the broker (SIGKILL) and wait for its exit; data and address are kept."""
        self._started().kill()

    def restart(self) -> Self:
        """Restart the broker with the same data and port.

        Raises PortTakenError if another process has taken the port.
        """
        self._started().stop()
        return self.start()

    def _started(self) -> Broker:
        if self._broker is None:
            raise EmbeddedError("the embedded Kafka is not running: call start() first")
        return self._broker

    def _choose_ports(self) -> tuple[Node, ...]:
        # Clients know this address.
        if self._node is not None:
            port = self._node.broker_port
            check_port(self._node)
        elif self._port is not None and ports.is_free(self._port):
            port = self._port
        else:
            port = ports.free_port()
        return (Node(_NODE_ID, port, ports.free_port(taken=frozenset({port}))),)

"""A real Apache Kafka, for one machine and for as long as a program runs."""

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
    """One KRaft node of Apache Kafka on loopback, which ends with this process, even by SIGKILL.

        with EmbeddedKafka() as kafka:
            Producer({"bootstrap.servers": kafka.bootstrap_servers})

    data_dir: where topics are kept between runs; None takes a temporary folder that goes at stop.
    port: the port to listen on; None, or one that is taken, takes another. A restart keeps its port.
    cache: where the jars are; None takes the user's cache, shared by all programs.
    on_fetch: told before each jar that must come from Maven Central, the first time.

    Not for several threads at once.
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
        """The broker's host:port; `kill` and `restart` keep it. Raises EmbeddedError before the start."""
        if self._node is None:
            raise EmbeddedError("the embedded Kafka has no address: call start() first")
        return self._node.address

    @property
    def pid(self) -> int:
        """The process id of the broker's JVM. Raises EmbeddedError if there is none."""
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
        """Whether the broker's process is there."""
        broker = self._broker
        return broker is not None and broker.pid is not None and broker.exit_status is None

    def start(self) -> Self:
        """Fetch what is missing, start the broker and return once it answers Kafka's protocol.

        Does nothing if it runs already. Raises ArtifactError, JavaNotFoundError, or KafkaStartError with what
        the log says; nothing is left running then.
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
        """Return how the broker ended (128 + N after signal N), once it has: by itself, or by `kill`."""
        return self._started().wait()

    def trouble(self) -> str:
        """Return the last warnings and errors that the broker has logged since its start."""
        return self._started().trouble()

    def stop(self) -> None:
        """Stop the broker and wait until it is gone; a temporary folder is removed. May be called again."""
        broker, self._broker, self._node = self._broker, None, None
        if broker is None:
            return
        broker.stop()
        if self._data_dir is None:
            shutil.rmtree(broker.folder, ignore_errors=True)

    def kill(self) -> None:
        """End the broker as a crash would (SIGKILL) and wait until it is gone; data and address stay."""
        self._started().kill()

    def restart(self) -> Self:
        """Stop the broker if it runs, and start it with the same data on the same port.

        Raises PortTakenError if another process has taken the port meanwhile.
        """
        self._started().stop()
        return self.start()

    def _started(self) -> Broker:
        if self._broker is None:
            raise EmbeddedError("the embedded Kafka does not run: call start() first")
        return self._broker

    def _choose_ports(self) -> tuple[Node, ...]:
        if self._node is not None:  # clients know this address
            port = self._node.broker_port
            check_port(self._node)
        elif self._port is not None and ports.is_free(self._port):
            port = self._port
        else:
            port = ports.free_port()
        return (Node(_NODE_ID, port, ports.free_port(taken=frozenset({port}))),)

"""A real Apache Kafka, for one machine and for as long as a program runs."""

import base64
import shutil
import tempfile
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from sway.embedded import ports
from sway.embedded.artifacts import ArtifactCache, Progress
from sway.embedded.broker import Broker
from sway.embedded.errors import EmbeddedError, KafkaStartError, PortTakenError
from sway.embedded.properties import Node
from sway.embedded.readiness import await_brokers
from sway.embedded.runtime import KafkaRuntime

_PORT_ATTEMPTS = 5
_PORT_TAKEN = "Address already in use"  # how Java words it in the log


class EmbeddedKafka:
    """One KRaft node of Apache Kafka on loopback, which ends with this process, even by SIGKILL.

        with EmbeddedKafka() as kafka:
            Producer({"bootstrap.servers": kafka.bootstrap_servers})

    data_dir: where topics are kept between runs; None takes a temporary folder that goes at stop.
    port: the port to listen on; None, or one that is taken, takes another. A restart keeps its port.
    cache: where the jars are; None takes the user's cache, shared by all programs.
    on_fetch: told before each jar that must come from Maven Central, the first time.

    Not for several threads at once. Source: DESIGN section 11.
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
            self._broker = self._new_broker(runtime)
        try:
            self._node = self._start_on_a_free_port(self._broker)
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

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _started(self) -> Broker:
        if self._broker is None:
            raise EmbeddedError("the embedded Kafka does not run: call start() first")
        return self._broker

    def _new_broker(self, runtime: KafkaRuntime) -> Broker:
        temporary = self._data_dir is None
        folder = Path(tempfile.mkdtemp(prefix="sway-kafka-")) if self._data_dir is None else self._data_dir
        return Broker(runtime, folder.absolute(), self._heap_mb, temporary=temporary)

    def _start_on_a_free_port(self, broker: Broker) -> Node:
        """Start again with other ports if somebody took ours between the look and the start."""
        for _ in range(_PORT_ATTEMPTS - 1):
            try:
                return self._start_once(broker)
            except PortTakenError:
                broker.stop()
        return self._start_once(broker)

    def _start_once(self, broker: Broker) -> Node:
        node = self._choose_ports()
        cluster_id = broker.start(node, (node,), _new_cluster_id())

        def check_alive() -> None:
            if broker.exit_status is not None:
                raise _death(broker, broker.exit_status)

        if not await_brokers(
            node.address, cluster_id, 1, timeout_s=self._start_timeout_s, on_wait=check_alive
        ):
            raise KafkaStartError(
                f"the embedded Kafka did not answer within {self._start_timeout_s:g} s:\n{broker.trouble()}"
            )
        return node

    def _choose_ports(self) -> Node:
        if self._node is not None:  # clients know this address
            port = self._node.broker_port
            if not ports.is_free(port):
                raise PortTakenError(
                    f"the embedded Kafka cannot come back: another process listens on {self._node.address}"
                )
        elif self._port is not None and ports.is_free(self._port):
            port = self._port
        else:
            port = ports.free_port()
        return Node(1, port, ports.free_port(taken=frozenset({port})))


def _death(broker: Broker, status: int) -> KafkaStartError:
    kind = PortTakenError if _PORT_TAKEN in broker.log_of_this_start() else KafkaStartError
    return kind(f"the embedded Kafka ended with status {status} while starting:\n{broker.trouble()}")


def _new_cluster_id() -> str:
    """Return 16 random bytes as Kafka writes them; never with a leading dash, which reads as an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text

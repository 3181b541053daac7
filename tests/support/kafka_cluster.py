"""An embedded cluster of Kafka brokers that can be stopped, killed and restarted one by one."""

import shutil
from collections.abc import Mapping
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
from tests.support.leaders import CoordinatorOf, Leaders


class EmbeddedCluster(Embedded):
    """KRaft nodes of Apache Kafka on loopback, each a broker and a controller.

        with EmbeddedCluster() as cluster:
            cluster.kill_broker(cluster.leader_of("events", 0))

    brokers: their number; ids start at 1. With 3, topics have three replicas and min.insync.replicas=2: the cluster
    tolerates the loss of one broker, and is unavailable without two.
    heap_mb: the heap size of each broker. data_dir: as in EmbeddedKafka, with one folder per broker.
    The brokers end with this process, even if it is killed (SIGKILL).

    Not thread-safe.
    """

    def __init__(
        self,
        brokers: int = 3,
        heap_mb: int = 256,
        *,
        data_dir: Path | None = None,
        cache: ArtifactCache | None = None,
        start_timeout_s: float = 90.0,
        on_fetch: Progress | None = None,
    ) -> None:
        if brokers < 1:
            raise EmbeddedError(f"an embedded cluster cannot have {brokers} brokers: give 1 or more")
        self._ids = tuple(range(1, brokers + 1))
        self._heap_mb = heap_mb
        self._data_dir = data_dir
        self._cache = cache or ArtifactCache()
        self._start_timeout_s = start_timeout_s
        self._on_fetch = on_fetch
        self._brokers: dict[int, Broker] = {}
        self._nodes: tuple[Node, ...] = ()
        self._leaders: Leaders | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The host:port of all brokers, running or not. Raises EmbeddedError before the start."""
        if not self._nodes:
            raise EmbeddedError("the embedded cluster has no address: call start() first")
        return ",".join(node.address for node in self._nodes)

    @property
    def brokers(self) -> tuple[int, ...]:
        """The ids of all brokers, running or not."""
        return self._ids

    def running_brokers(self) -> tuple[int, ...]:
        """Return the ids of the running brokers."""
        return tuple(
            number
            for number, broker in self._brokers.items()
            if broker.pid is not None and broker.exit_status is None
        )

    def start(self) -> Self:
        """Start all stopped brokers and wait until they are ready.

        Raises as EmbeddedKafka.start; after a failed first start no process is left running.
        """
        first = not self._brokers
        try:
            if first:
                runtime = KafkaRuntime.prepare(self._cache, self._on_fetch)
                for number in self._ids:
                    self._brokers[number] = broker_in(self._folder(number), runtime, self._heap_mb)
            running = self.running_brokers()
            self._start({n: broker for n, broker in self._brokers.items() if n not in running})
        except BaseException:
            if first:
                self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all brokers and remove temporary folders. Idempotent."""
        brokers, self._brokers, self._nodes, self._leaders = self._brokers, {}, (), None
        if self._data_dir is not None:
            # A clean stop needs a majority of controllers, so only these brokers can have one.
            for broker in list(brokers.values())[len(brokers) // 2 :]:
                broker.stop()
        for broker in brokers.values():
            broker.kill()
        for broker in brokers.values():
            broker.stop()
            if self._data_dir is None:
                shutil.rmtree(broker.folder, ignore_errors=True)

    def stop_broker(self, number: int) -> None:
        """Shut one broker down cleanly: it hands its partitions over first. Does nothing if it is not running."""
        self._broker(number).stop()

    def kill_broker(self, number: int) -> None:
        """Kill one broker (SIGKILL) and wait for its exit."""
        self._broker(number).kill()

    def start_broker(self, number: int) -> None:
        """Restart one broker with its data and address, and wait until all its replicas are in sync.

        Does nothing if it is running. Raises EmbeddedError if the cluster would have no majority (call start()
        instead), KafkaStartError or PortTakenError.
        """
        broker, running = self._broker(number), self.running_brokers()
        if number in running:
            return
        if 2 * (len(running) + 1) <= len(self._ids):
            raise EmbeddedError(
                f"cannot restart broker {number} alone: {len(running)} of {len(self._ids)} brokers are running, and a "
                "cluster is unavailable without a majority; call start() to restart all of them"
            )
        self._start({number: broker})

    def leader_of(self, topic: str, partition: int) -> int:
        """Return the id of a partition's leader; a killed broker remains the leader for up to 3 s.

        Raises EmbeddedError if there is none.
        """
        return self._lookup().leader_of(topic, partition)

    def coordinator_of(self, name: str, kind: CoordinatorOf) -> int:
        """Return the id of the broker that coordinates a group or a transactional id.

        Raises EmbeddedError if there is none, such as before the first group or transaction.
        """
        return self._lookup().coordinator_of(name, kind)

    def log_path(self, number: int) -> Path:
        """The log file of one broker."""
        return self._broker(number).log_path

    def _start(self, brokers: Mapping[int, Broker]) -> None:
        self._nodes = start_on_free_ports(
            brokers,
            lambda: self._choose_ports(brokers),
            self._start_timeout_s,
            self.running_brokers(),
        )

    def _choose_ports(self, starting: Mapping[int, Broker]) -> tuple[Node, ...]:
        # Clients and the other brokers know these addresses.
        for node in self._nodes:
            if node.node_id in starting:
                check_port(node)
        if self._nodes:
            return self._nodes
        taken: list[int] = []
        for _ in range(2 * len(self._ids)):
            taken.append(ports.free_port(frozenset(taken)))
        pairs = zip(taken[::2], taken[1::2], strict=True)
        return tuple(Node(number, *pair) for number, pair in zip(self._ids, pairs, strict=True))

    def _folder(self, number: int) -> Path | None:
        return None if self._data_dir is None else self._data_dir / f"broker-{number}"

    def _broker(self, number: int) -> Broker:
        try:
            return self._brokers[number]
        except KeyError:
            known = ", ".join(map(str, self._brokers)) or "none before start()"
            raise EmbeddedError(
                f"the embedded cluster has no broker {number}; its brokers are: {known}"
            ) from None

    def _lookup(self) -> Leaders:
        if self._leaders is None:
            self._leaders = Leaders(self.bootstrap_servers)
        return self._leaders

"""The configuration of the embedded broker: server.properties and logging."""

from dataclasses import dataclass

from sway.embedded.ports import HOST

DATA_FOLDER = "data"
INTERNAL_PARTITIONS = 8
"""Partitions of the internal offsets and transaction topics; Kafka's default of 50 delays their first use."""
LOG_FILE = "kafka.log"


@dataclass(frozen=True, slots=True)
class Node:
    """A KRaft node that is both broker and controller, with its two ports."""

    node_id: int
    broker_port: int
    controller_port: int

    @property
    def address(self) -> str:
        """The host:port for clients."""
        return f"{HOST}:{self.broker_port}"


def server_properties(node: Node, cluster: tuple[Node, ...]) -> str:
    """Return server.properties for one node of a cluster in which every node is both broker and controller.

    The node listens on loopback only, without authentication. The replication factor is the number of nodes, at most 3.
    Paths are relative to the broker's working directory, because Kafka reads this file as Latin-1 and splits paths at
    commas.
    """
    replicas = min(len(cluster), 3)
    min_isr = max(1, replicas - 1)
    voters = ",".join(f"{n.node_id}@{HOST}:{n.controller_port}" for n in cluster)
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": node.node_id,
        "controller.quorum.voters": voters,
        "listeners": f"BROKER://{node.address},CONTROLLER://{HOST}:{node.controller_port}",
        "advertised.listeners": f"BROKER://{node.address}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": DATA_FOLDER,
        # A missing topic is usually a typo, and must fail instead of being created with one partition.
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": min_isr,
        # Kafka's defaults expect three brokers.
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": min_isr,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": min_isr,
        "offsets.topic.num.partitions": INTERNAL_PARTITIONS,
        "transaction.state.log.num.partitions": INTERNAL_PARTITIONS,
        "share.coordinator.state.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        # Kafka's default of 6 s would prevent a faster detection of killed workers.
        "group.min.session.timeout.ms": 1000,
        # A killed broker can only restart after its old session has expired (by default after 9 s).
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
        # Records may contain a text of 1 MiB; Kafka's default limit is 1 MiB for the whole record.
        "message.max.bytes": 8 * 1024 * 1024,
        "replica.fetch.max.bytes": 8 * 1024 * 1024,
        # How often the broker aborts transactions after their timeout.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


LOG4J_CONFIGURATION = f"""<Configuration status="WARN" shutdownHook="disable">
  <Appenders>
    <RollingFile name="file" fileName="{LOG_FILE}" filePattern="{LOG_FILE}.%i">
      <PatternLayout pattern="%d %-5p [%t] %c{{1}}: %m%n"/>
      <SizeBasedTriggeringPolicy size="16 MB"/>
      <DefaultRolloverStrategy max="2"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <!-- It logs one line per changed partition, which would be most of the log. -->
    <Logger name="state.change.logger" level="WARN"/>
    <Root level="INFO"><AppenderRef ref="file"/></Root>
  </Loggers>
</Configuration>
"""
"""log4j2.xml: a log file of up to 16 MB and two older ones. No shutdown hook, so that shutdown is logged too."""

"""What the embedded broker is told: server.properties and its logging."""

from dataclasses import dataclass

from sway.embedded.ports import HOST

DATA_FOLDER = "data"
INTERNAL_PARTITIONS = 8
"""Of the topics of groups' offsets and of transactions; Kafka's own 50 are made while the first of each waits."""
LOG_FILE = "kafka.log"


@dataclass(frozen=True, slots=True)
class Node:
    """One KRaft node that is broker and controller, and its two ports."""

    node_id: int
    broker_port: int
    controller_port: int

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"{HOST}:{self.broker_port}"


def server_properties(node: Node, cluster: tuple[Node, ...]) -> str:
    """Return server.properties of one node of a cluster, in which every node is broker and controller.

    Loopback only and without a password. Replication is as wide as the cluster, at most 3. Paths are
    relative to the broker's working directory: Kafka reads this file as Latin-1 and splits paths at commas.
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
        # A topic that nobody made is a mistake in a name: it must fail, not appear with one partition.
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
        # Kafka's own is 6 s: whoever wants a killed worker noticed sooner on one machine, may.
        "group.min.session.timeout.ms": 1000,
        # A broker that was killed cannot come back before its old session is over (9 s by default).
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
        # A text of 1 MiB with its envelope; Kafka's own limit is 1 MiB for the whole record.
        "message.max.bytes": 8 * 1024 * 1024,
        "replica.fetch.max.bytes": 8 * 1024 * 1024,
        # How soon the transaction of a killed worker is noticed after its timeout.
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
    <!-- One line for each partition that changes: most of the log, and said elsewhere too. -->
    <Logger name="state.change.logger" level="WARN"/>
    <Root level="INFO"><AppenderRef ref="file"/></Root>
  </Loggers>
</Configuration>
"""
"""log4j2.xml: one file, 16 MB long, and the two before it; the broker's last words are written too."""

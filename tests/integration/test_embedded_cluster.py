"""A cluster of three brokers: it tolerates the loss of one, and keeps acknowledged records."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not export these
    AdminClient,
    ConfigResource,
    ConfigSource,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from clients.consumers import reader
from clients.transient import is_transient
from clients.watermarks import watermarks
from stream.exactly_once.kafka.offsets import watermarks as wait_for_watermarks
from stream.exactly_once.kafka.topics import ensure_changelogs
from stream.exactly_once.units.records import TopicPartition as PartitionOf
from stream.settings import KafkaSettings, TopicSettings
from stream.worker.input_limits import AFTER_MAX_MS
from sway.cluster import Cluster
from sway.embedded import EmbeddedError
from sway.topic_plan import plan_topics
from tests.integration.conftest import wait_for
from tests.integration.test_embedded_kafka import consume, produce
from tests.support.kafka_cluster import EmbeddedCluster
from tests.support.leaders import CoordinatorOf, coordinator_partition

TOPIC = "kept"
PARTITIONS = 3


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedCluster]:
    """Three brokers shared by the tests of this module; each test leaves all of them running."""
    with EmbeddedCluster() as embedded:
        admin = AdminClient({"bootstrap.servers": embedded.bootstrap_servers})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS)])[TOPIC].result(timeout=30)
        wait_for(lambda: leaders(embedded) == {1, 2, 3}, "a leader on each broker")
        yield embedded


def leaders(cluster: EmbeddedCluster) -> set[int]:
    try:
        return {cluster.leader_of(TOPIC, partition) for partition in range(PARTITIONS)}
    except EmbeddedError:
        # A partition has no leader at the moment.
        return set()


@pytest.mark.parametrize("lose", [EmbeddedCluster.kill_broker, EmbeddedCluster.stop_broker])
def test_two_brokers_serve_while_any_one_is_down(
    cluster: EmbeddedCluster, lose: Callable[[EmbeddedCluster, int], None]
) -> None:
    lost = cluster.leader_of(TOPIC, 0)
    lose(cluster, lost)
    assert cluster.running_brokers() == tuple(sorted({1, 2, 3} - {lost}))
    produce(cluster.bootstrap_servers, TOPIC, [b"%d was lost" % lost])
    wait_for(lambda: leaders(cluster) == {1, 2, 3} - {lost}, "leaders on the other two")
    cluster.start_broker(lost)
    assert cluster.running_brokers() == (1, 2, 3)


def committed(consumer: Consumer) -> bool:
    """Commit an offset; return whether the group's coordinator was available."""
    try:
        consumer.commit(offsets=[TopicPartition(TOPIC, 0, 0)], asynchronous=False)
    except KafkaException as exc:
        # The client does not retry by itself while the coordinator moves to another broker.
        transient = (
            KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
            KafkaError.COORDINATOR_NOT_AVAILABLE,
            KafkaError.NOT_COORDINATOR,
            KafkaError._WAIT_COORD,
        )
        if exc.args[0].code() not in transient:
            raise
        return False
    return True


def test_coordinators_lead_their_partitions_of_the_internal_topics(cluster: EmbeddedCluster) -> None:
    address = cluster.bootstrap_servers
    producer = Producer({"bootstrap.servers": address, "transactional.id": "worker-7"})
    producer.init_transactions(30)
    reader = Consumer({"bootstrap.servers": address, "group.id": "readers"})
    wait_for(lambda: committed(reader), "coordinator that has loaded its group")
    kept: list[tuple[str, CoordinatorOf, str]] = [
        ("worker-7", "transaction", "__transaction_state"),
        ("readers", "group", "__consumer_offsets"),
    ]
    for name, kind, topic in kept:
        where = coordinator_partition(name, 8)
        reader.assign([TopicPartition(topic, where, 0)])
        message = reader.poll(30)
        assert message is not None
        assert name.encode() in (message.key() or b"")
        assert cluster.coordinator_of(name, kind) == cluster.leader_of(topic, where)
    reader.close()


def test_acknowledged_records_survive_the_loss_of_all_brokers(cluster: EmbeddedCluster) -> None:
    address = cluster.bootstrap_servers
    sent = [str(number).encode() for number in range(100)]
    produce(address, TOPIC, sent)
    for number in (1, 2, 3):
        cluster.kill_broker(number)
    assert cluster.running_brokers() == ()
    with pytest.raises(EmbeddedError, match="call start"):
        cluster.start_broker(1)
    assert cluster.start().bootstrap_servers == address
    assert cluster.running_brokers() == (1, 2, 3)
    found = consume(address, TOPIC, len(sent) + 2)
    assert sorted(value for value in found if b"lost" not in value) == sorted(sent)


def test_topics_and_changelogs_have_three_replicas_two_in_sync(cluster: EmbeddedCluster) -> None:
    kafka = KafkaSettings(bootstrap_servers=cluster.bootstrap_servers)
    names = TopicSettings(prefix="kept-thrice", partitions=1)
    reached = Cluster(kafka)
    assert reached.create(plan_topics(names, 1, history=False), names.replication) == []
    tables = {"windows": "kept-thrice-windows-changelog"}
    inputs = [names.events, names.outcomes]
    ensure_changelogs(kafka.client_config(), inputs, tables, replication=names.replication, timeout_s=30)
    there = [*names.names().values(), *tables.values()]
    wait_for(
        lambda: set(there) <= set(reached.view().replicas), "all brokers to know the topics", timeout_s=30
    )
    replicas = reached.view().replicas
    assert {replicas[name] for name in there} == {3}
    admin = AdminClient({**kafka.client_config()})
    # The default of these brokers is the same, so check the topics' own configuration.
    configs = {name: own_config(admin, name) for name in there}
    assert {config.get("min.insync.replicas") for config in configs.values()} == {"2"}
    assert {configs[name].get(AFTER_MAX_MS) for name in inputs} == {"3600000"}


def own_config(admin: AdminClient, topic: str) -> dict[str, str]:
    """Return the configuration set on a topic, without the brokers' defaults."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = admin.describe_configs([resource])[resource].result(30)
    own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    return {name: entry.value for name, entry in entries.items() if entry.source == own}


def test_unknown_brokers_topics_and_partitions_are_errors(cluster: EmbeddedCluster) -> None:
    with pytest.raises(EmbeddedError, match="no broker 4; its brokers are: 1, 2, 3"):
        cluster.kill_broker(4)
    with pytest.raises(EmbeddedError, match="no topic typo"):
        cluster.leader_of("typo", 0)
    with pytest.raises(EmbeddedError, match=r"kept\[9\] has no leader"):
        cluster.leader_of(TOPIC, 9)


def test_a_partition_without_a_leader_is_waited_for(cluster: EmbeddedCluster) -> None:
    """librdkafka reports such a partition as unknown; a recovery must not end by it."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    admin.create_topics([NewTopic("unreplicated", 1, 1)])["unreplicated"].result(timeout=30)
    produce(cluster.bootstrap_servers, "unreplicated", [b"a", b"b"])
    where = "unreplicated", 0
    lost = cluster.leader_of(*where)
    cluster.kill_broker(lost)

    def has_no_leader() -> bool:
        return admin.list_topics(where[0], timeout=5).topics[where[0]].partitions[0].leader == -1

    wait_for(has_no_leader, "the partition to be without a leader")
    with closing(reader({"bootstrap.servers": cluster.bootstrap_servers}, "any")) as consumer:
        with pytest.raises(KafkaException) as raised:
            watermarks(consumer, where, timeout_s=5)
        assert is_transient(raised.value.args[0])
        with pytest.raises(KafkaException, match="UNKNOWN_TOPIC_OR_PART"):
            watermarks(consumer, ("unreplicated", 1), timeout_s=5)
        cluster.start_broker(lost)
        assert wait_for_watermarks(consumer, PartitionOf(*where), lambda: False) == (0, 2)

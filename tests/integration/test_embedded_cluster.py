"""Three brokers: any one may be lost, what was acknowledged stays, and it comes back."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs forget to export these
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
    """Three brokers that all tests of this page share; each test leaves them all running."""
    with EmbeddedCluster() as embedded:
        admin = AdminClient({"bootstrap.servers": embedded.bootstrap_servers})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS)])[TOPIC].result(timeout=30)
        wait_for(lambda: leaders(embedded) == {1, 2, 3}, "a leader on each broker")
        yield embedded


def leaders(cluster: EmbeddedCluster) -> set[int]:
    try:
        return {cluster.leader_of(TOPIC, partition) for partition in range(PARTITIONS)}
    except EmbeddedError:  # a partition that is between two leaders
        return set()


@pytest.mark.parametrize("lose", [EmbeddedCluster.kill_broker, EmbeddedCluster.stop_broker])
def test_without_any_one_broker_the_others_lead_and_take_records(
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
    """Commit an offset; returns whether the group's coordinator was there for it."""
    try:
        consumer.commit(offsets=[TopicPartition(TOPIC, 0, 0)], asynchronous=False)
    except KafkaException as exc:
        # The client does not ask again by itself while a broker takes the groups of another one over.
        passing = (
            KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
            KafkaError.COORDINATOR_NOT_AVAILABLE,
            KafkaError.NOT_COORDINATOR,
            KafkaError._WAIT_COORD,
        )
        if exc.args[0].code() not in passing:
            raise
        return False
    return True


def test_a_group_and_a_transactional_id_are_found_where_kafka_keeps_them(cluster: EmbeddedCluster) -> None:
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


def test_what_all_acknowledged_is_there_when_all_brokers_were_lost(cluster: EmbeddedCluster) -> None:
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


def test_topics_and_changelogs_have_three_replicas_of_which_two_acknowledge(cluster: EmbeddedCluster) -> None:
    kafka = KafkaSettings(bootstrap_servers=cluster.bootstrap_servers)
    names = TopicSettings(prefix="kept-thrice", partitions=1)
    reached = Cluster(kafka)
    assert reached.create(plan_topics(names, 1, history=False), names.replication) == []
    tables = {"windows": "kept-thrice-windows-changelog"}
    inputs = [names.events, names.outcomes]
    ensure_changelogs(kafka.client_config(), inputs, tables, replication=names.replication, timeout_s=30)
    there = [*names.names().values(), *tables.values()]
    wait_for(lambda: set(there) <= set(reached.view().replicas), "all brokers to know the topics", 30)
    replicas = reached.view().replicas
    assert {replicas[name] for name in there} == {3}
    admin = AdminClient({**kafka.client_config()})
    # These brokers' own default is the same, so look where it comes from.
    said = {name: told_to_a_topic(admin, name) for name in there}
    assert {config.get("min.insync.replicas") for config in said.values()} == {"2"}
    assert {said[name].get(AFTER_MAX_MS) for name in inputs} == {"3600000"}


def told_to_a_topic(admin: AdminClient, topic: str) -> dict[str, str]:
    """What a topic was told itself, the brokers' defaults left out."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = admin.describe_configs([resource])[resource].result(30)
    own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    return {name: entry.value for name, entry in entries.items() if entry.source == own}


def test_what_the_cluster_does_not_have_is_said(cluster: EmbeddedCluster) -> None:
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

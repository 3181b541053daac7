"""The embedded Kafka: starts, restarts with data, crashes and clean-up."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from sway.embedded import EmbeddedError, EmbeddedKafka
from sway.embedded.artifacts import Artifact, ArtifactCache, default_cache_dir
from sway.embedded.errors import FolderInUseError, KafkaStartError, PortTakenError
from tests.integration.conftest import Topics, wait_for


def produce(bootstrap_servers: str, topic: str, values: list[bytes]) -> None:
    """Produce and wait for all acknowledgements."""
    failed: list[KafkaError] = []
    producer = Producer({"bootstrap.servers": bootstrap_servers})
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: failed.append(error) if error else None)
    assert producer.flush(30) == 0
    assert failed == []


def consume(bootstrap_servers: str, topic: str, count: int, group: str = "reader") -> list[bytes]:
    """Read `count` values of a topic from its beginning."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": group, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    values: list[bytes] = []

    def all_read() -> bool:
        messages = consumer.consume(100, timeout=0.5)
        values.extend(value for m in messages if m.error() is None and (value := m.value()) is not None)
        return len(values) >= count

    try:
        wait_for(all_read, f"{count} records in {topic}")
    finally:
        consumer.close()
    return values


def test_produced_records_can_be_consumed(kafka: EmbeddedKafka, topics: Topics) -> None:
    topic = topics.create("events", partitions=3)
    sent = [str(number).encode() for number in range(100)]
    produce(kafka.bootstrap_servers, topic, sent)
    assert sorted(consume(kafka.bootstrap_servers, topic, 100, topics.group())) == sorted(sent)


def test_a_transaction_is_seen_only_when_committed(kafka: EmbeddedKafka, topics: Topics) -> None:
    topic = topics.create("scores")
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topics.prefix})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"aborted")
    producer.flush(30)
    producer.abort_transaction(30)
    producer.begin_transaction()
    producer.produce(topic, b"committed")
    producer.commit_transaction(30)
    assert consume(kafka.bootstrap_servers, topic, 1, topics.group()) == [b"committed"]


def test_a_topic_that_was_not_created_is_an_error(kafka: EmbeddedKafka, topics: Topics) -> None:
    metadata = topics.admin.list_topics(topics.name("typo"), timeout=10)
    error = metadata.topics[topics.name("typo")].error
    assert error is not None
    assert error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_only_loopback_listens(kafka: EmbeddedKafka) -> None:
    listening = [c.laddr.ip for c in psutil.Process(kafka.pid).net_connections() if c.status == "LISTEN"]
    assert len(listening) == 2
    # Java listens on a dual-stack socket, where loopback reads as an IPv4 address inside IPv6.
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_the_log_file_is_written(kafka: EmbeddedKafka) -> None:
    assert "Kafka Server started" in kafka.log_path.read_text("utf-8")


def test_two_brokers_run_side_by_side(kafka: EmbeddedKafka, topics: Topics) -> None:
    topic = topics.create("events")
    with EmbeddedKafka() as other:
        assert other.bootstrap_servers != kafka.bootstrap_servers
        mine = Topics(other.bootstrap_servers, topics.prefix)
        mine.create("events")
        produce(other.bootstrap_servers, topic, [b"other"])
        produce(kafka.bootstrap_servers, topic, [b"shared"])
        assert consume(other.bootstrap_servers, topic, 1, topics.group()) == [b"other"]
        assert consume(kafka.bootstrap_servers, topic, 1, topics.group()) == [b"shared"]


def test_data_survive_a_restart_a_crash_and_another_process(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path) as first:
        address = first.bootstrap_servers
        topic = Topics(address, "kept").create("events")
        produce(address, topic, [b"before"])
        assert first.restart().bootstrap_servers == address
        produce(address, topic, [b"between"])
        first.kill()
        assert not first.running
        assert first.start().bootstrap_servers == address
        produce(address, topic, [b"after"])
    with EmbeddedKafka(tmp_path) as second:
        assert consume(second.bootstrap_servers, topic, 3) == [b"before", b"between", b"after"]


def test_stop_leaves_no_process_and_no_folder() -> None:
    kafka = EmbeddedKafka().start()
    pid, folder = kafka.pid, kafka.log_path.parent
    kafka.stop()
    kafka.stop()
    assert not psutil.pid_exists(pid)
    assert not folder.exists()
    with pytest.raises(EmbeddedError, match="call start"):
        _ = kafka.bootstrap_servers


OWNER = """
import os, sys, time
from sway.embedded import EmbeddedKafka
kafka = EmbeddedKafka().start()
if os.fork() == 0:
    time.sleep(600)  # keeps every pipe of its parent open
print(kafka.pid, kafka.log_path.parent, flush=True)
sys.stdin.read()
"""


def test_the_broker_dies_with_its_killed_owner() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with owner:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().split()
        assert psutil.pid_exists(int(pid))
        owner.kill()
        owner.wait()
        try:
            wait_for(lambda: not psutil.pid_exists(int(pid)), "end of the broker after its owner's")
            wait_for(lambda: not Path(folder).exists(), "removal of the temporary folder")
        finally:
            os.killpg(owner.pid, signal.SIGKILL)  # the forked child


def test_the_broker_dies_with_its_supervisor(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent died")
    with EmbeddedKafka() as kafka:
        broker = psutil.Process(kafka.pid)
        supervisor = broker.parent()
        assert supervisor is not None
        supervisor.kill()
        wait_for(lambda: not kafka.running, "notice of the supervisor's end")
        wait_for(lambda: not broker.is_running(), "end of the broker after its supervisor's")


def test_a_second_broker_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path) as first:
        with pytest.raises(FolderInUseError, match="another embedded Kafka uses"):
            EmbeddedKafka(tmp_path).start()
        assert first.running
        produce(first.bootstrap_servers, Topics(first.bootstrap_servers, "still").create("alive"), [b"1"])


def test_a_restart_does_not_change_its_address_silently(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path) as first:
        first.kill()
        port = int(first.bootstrap_servers.rsplit(":", 1)[1])
        with EmbeddedKafka(port=port) as other:
            assert other.bootstrap_servers == first.bootstrap_servers
            with pytest.raises(PortTakenError):
                first.start()


def test_a_taken_port_is_replaced_by_another(kafka: EmbeddedKafka) -> None:
    taken = int(kafka.bootstrap_servers.rsplit(":", 1)[1])
    with EmbeddedKafka(port=taken) as other:
        assert other.bootstrap_servers != kafka.bootstrap_servers


def test_a_damaged_jar_is_downloaded_again(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    mine, users = tmp_path / "cache", default_cache_dir()
    fetched: list[str] = []

    def fetch(artifact: Artifact, folder: Path) -> Path:
        """Copy from the user's cache, which the shared broker has filled, in place of Maven Central."""
        fetched.append(artifact.name)
        folder.mkdir()
        return Path(shutil.copy(users / artifact.file_name, folder))

    mine.mkdir()
    for jar in users.glob("*.jar"):
        (mine / jar.name).symlink_to(jar)
    damaged = mine / "slf4j-api-1.7.36.jar"
    damaged.unlink()
    damaged.write_bytes(b"half a jar")
    with EmbeddedKafka(cache=ArtifactCache(mine, fetch)) as other:
        assert other.running
    assert fetched == ["slf4j-api"]


def test_a_failed_start_of_a_broker_reports_the_cause() -> None:
    starved = EmbeddedKafka(heap_mb=4)
    with pytest.raises(KafkaStartError, match="heap"):
        starved.start()
    assert not starved.running


def test_a_stopped_broker_answers_no_client() -> None:
    with EmbeddedKafka() as kafka:
        topics = Topics(kafka.bootstrap_servers, "gone")
    with pytest.raises(KafkaException):
        topics.admin.list_topics(timeout=0.5)

"""Examples out of the product's label join: a real broker, topics that keep for ever, the join in its own process.

Kept in a Parquet file when they are made; no broker starts where all of them are there.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer

from benchmarks.late_model import publish_late_model
from benchmarks.quality.implicit_labels import GRACE_S, HORIZON_S, Negatives, Told, delays_ms, records
from benchmarks.quality.progress import show
from benchmarks.stand import Program
from schemas.records import BehaviorEvent, LabeledExample, Outcome
from schemas.wire import Codec
from stream.settings import PARTITIONER, KafkaSettings, Settings, TopicSettings
from sway.cluster import Cluster
from sway.embedded import EmbeddedKafka
from sway.example_files import read_examples, write_examples
from sway.movielens import Pair
from sway.replaying.topics import make_topics
from sway.topic_plan import plan_topics
from trainer.dataset import Example
from trainer.ranges import ExampleRanges

_QUEUED = 300_000  # records that a producer may hold


@dataclass(frozen=True, slots=True)
class Side:
    """How labels come about. partitions: of all topics."""

    negatives: Negatives
    partitions: int

    @property
    def name(self) -> str:
        """Name topics, files and rows."""
        return f"{self.negatives}-{self.partitions}"


class ExampleMaker:
    """folder: of the files, and of the join's log and state. pairs: all events, in the order of time."""

    def __init__(self, folder: Path, pairs: Sequence[Pair]) -> None:
        self._folder, self._pairs = folder, pairs

    def make(self, sides: Sequence[Side]) -> None:
        """Make the examples of those sides whose file is not there, on one broker."""
        missing = [side for side in sides if not self._file(side).is_file()]
        if not missing:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            kafka = stack.enter_context(EmbeddedKafka())
            for side in missing:
                found = self._labelled(side, kafka.bootstrap_servers)
                partial = write_examples(self._file(side).with_suffix(".part.parquet"), found)
                partial.replace(self._file(side))
                print(f"{side.name}: {len(found):,} examples of {len(self._pairs):,} events", flush=True)

    def examples(self, side: Side) -> list[Example]:
        """Return the examples of a side, as they were read from its topic."""
        return read_examples(self._file(side))

    def _file(self, side: Side) -> Path:
        return self._folder / f"{side.name}.parquet"

    def _labelled(self, side: Side, servers: str) -> list[Example]:
        topics = TopicSettings(prefix=side.name, partitions=side.partitions)
        settings = Settings(kafka=KafkaSettings(bootstrap_servers=servers), topics=topics)
        cluster, labelled = Cluster(settings.kafka), f"{side.name}.labelled"
        cluster.create(plan_topics(topics, side.partitions, history=True), None)
        make_topics(cluster, settings, labelled, with_labels=True, resumes=False)
        self._produce(side, servers, topics)
        state = self._folder / "state" / f"{side.name}-{servers.rpartition(':')[2]}"
        program = Program(
            ["benchmarks.quality.label_worker", labelled],
            self._environment(side, servers, state),
            self._folder / f"{side.name}.log",
        )
        try:
            print(f"{side.name}: label join, {program.answer().strip()}", flush=True)
        finally:
            program.stop()
        source = ExampleRanges(settings.kafka.client_config(), Codec(LabeledExample))
        return source.read(source.all_of(f"{labelled}.examples"), 0)[0]  # as `sway train --from-topic` does

    def _environment(self, side: Side, servers: str, state: Path) -> dict[str, str]:
        ours = {
            "APP_ID": side.name,
            "STATE_DIR": str(state),
            "KAFKA__BOOTSTRAP_SERVERS": servers,
            "TOPICS__PREFIX": side.name,
            "TOPICS__PARTITIONS": str(side.partitions),
            "MODEL__REGISTRY": str(publish_late_model(self._folder / "registry")),
            "MODEL__DEVICE": "cpu",
            "LABELS__HORIZON_S": str(HORIZON_S),
            "LABELS__GRACE_S": str(GRACE_S),
        }
        if side.negatives is Negatives.EXPIRED:
            ours["LABELS__NEGATIVE"] = "0"
        others = {name: value for name, value in os.environ.items() if not name.startswith("SWAY_")}
        return others | {f"SWAY_{name}": value for name, value in ours.items()}

    def _produce(self, side: Side, servers: str, topics: TopicSettings) -> None:
        told = records(self._pairs, delays_ms(len(self._pairs)), side.negatives)
        producer = Producer(
            {
                "bootstrap.servers": servers,
                "partitioner": PARTITIONER,
                "enable.idempotence": True,  # a record that is sent again keeps its place
                "linger.ms": 20,
                "compression.type": "lz4",
                "queue.buffering.max.messages": _QUEUED,
            }
        )
        send = _Sender(producer, topics)
        for done, one in enumerate(told, 1):
            send(one)
            show(f"{side.name}, records produced", done, len(told))
        if producer.flush(120.0):
            raise TimeoutError(f"{side.name}: records are not acknowledged")


class _Sender:
    """Produces records under their own times, so that these are Kafka's."""

    def __init__(self, producer: Producer, topics: TopicSettings) -> None:
        self._producer, self._topics = producer, topics
        self._event, self._outcome = Codec(BehaviorEvent), Codec(Outcome)

    def __call__(self, one: Told) -> None:
        record = one.record
        if isinstance(record, Outcome):
            topic, value = self._topics.outcomes, self._outcome.encode(record)
        else:
            topic, value = self._topics.events, self._event.encode(record)
        self._producer.produce(topic, value, record.user_id, timestamp=one.at_ms)
        self._producer.poll(0)

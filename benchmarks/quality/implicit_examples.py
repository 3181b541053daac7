"""Examples from Sway's label join, with a real broker, topics of unlimited retention and a separate join process.

The examples are cached in Parquet files; no broker starts if all files exist.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer

from benchmarks.late_model import publish_late_model
from benchmarks.quality.implicit_labels import GRACE_S, HORIZON_S, Negatives, TimedRecord, delays_ms, records
from benchmarks.quality.progress import show
from benchmarks.stand import Program
from schemas.records import BehaviorEvent, LabeledExample, Outcome
from schemas.wire import Codec
from stream.settings import PARTITIONER, KafkaSettings, Settings, TopicSettings
from sway.cluster import Cluster
from sway.demo.movielens import Pair
from sway.embedded import EmbeddedKafka
from sway.example_files import read_examples, write_examples
from sway.replay.topics import make_topics
from sway.topic_plan import plan_topics
from trainer.dataset import Example
from trainer.ranges import ExampleRanges

_QUEUED = 300_000  # maximum records in the producer's queue


@dataclass(frozen=True, slots=True)
class Side:
    """A way to obtain labels. partitions: number of partitions of each topic."""

    negatives: Negatives
    partitions: int

    @property
    def name(self) -> str:
        """The name in topics, files and rows."""
        return f"{self.negatives}-{self.partitions}"


class ExampleMaker:
    """Maker of examples.

    folder: for the files and for the join's log and state. pairs: all events, in time order.
    """

    def __init__(self, folder: Path, pairs: Sequence[Pair]) -> None:
        self._folder, self._pairs = folder, pairs

    def make(self, sides: Sequence[Side]) -> None:
        """Make the examples of the sides without a file, with one broker."""
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
        """Return the examples of a side, as read from its topic."""
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
        # As in `sway train --from-topic`.
        return source.read(source.all_of(f"{labelled}.examples"), 0)[0]

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
        timed = records(self._pairs, delays_ms(len(self._pairs)), side.negatives)
        producer = Producer(
            {
                "bootstrap.servers": servers,
                "partitioner": PARTITIONER,
                "enable.idempotence": True,  # retries keep the order of records
                "linger.ms": 20,
                "compression.type": "lz4",
                "queue.buffering.max.messages": _QUEUED,
            }
        )
        send = _Sender(producer, topics)
        for done, one in enumerate(timed, 1):
            send(one)
            show(f"{side.name}, records produced", done, len(timed))
        if producer.flush(120.0):
            raise TimeoutError(f"{side.name}: records were not acknowledged within 120 s")


class _Sender:
    """Produces records with their own times as Kafka timestamps."""

    def __init__(self, producer: Producer, topics: TopicSettings) -> None:
        self._producer, self._topics = producer, topics
        self._event, self._outcome = Codec(BehaviorEvent), Codec(Outcome)

    def __call__(self, one: TimedRecord) -> None:
        record = one.record
        if isinstance(record, Outcome):
            topic, value = self._topics.outcomes, self._outcome.encode(record)
        else:
            topic, value = self._topics.events, self._event.encode(record)
        self._producer.produce(topic, value, record.user_id, timestamp=one.at_ms)
        self._producer.poll(0)

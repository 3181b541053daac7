"""Real worker processes on topics of their own: what goes in, and what a read_committed reader sees."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import psutil
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from schemas.records import BehaviorEvent, DeadLetter, InfluenceScore, LabeledExample, Outcome, Record
from schemas.wire import Codec
from stream.exactly_once.kafka.store import PartitionStore
from sway.embedded.ports import free_port
from tests.integration.conftest import Topics, wait_for

R = TypeVar("R", bound=Record)
SWAY = ("-m", "sway", "worker")
_QUIET: dict[str, Any] = {"log_level": 0}  # a broker that is away on purpose is no news
_START_CPU_S = (
    60.0  # importing torch and Faust takes eight or so; on a busy machine that may be a minute of the clock
)
_START_TIMEOUT_S = 300.0


class RunningProcess(Protocol):
    """The part of subprocess.Popen that is used."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class Worker:
    """One worker process with a state folder and a port of its own."""

    def __init__(self, folder: Path, name: str, environment: dict[str, str]) -> None:
        self.state = folder / name
        self.log = folder / f"{name}.log"
        self.port = free_port()
        self.environment = {
            **os.environ,
            **environment,
            "SWAY_STATE_DIR": str(self.state),
            "SWAY_WEB__PORT": str(self.port),
            "SWAY_TRAINER__WEB_PORT": str(self.port),  # if it is started as a trainer
            "OMP_NUM_THREADS": "1",
        }
        self.environment.pop(
            "PYTHONDONTWRITEBYTECODE", None
        )  # else each process compiles torch anew, for 10 s
        self._process: RunningProcess | None = None

    def start(self, command: Sequence[str] = SWAY, **changes: Any) -> Self:
        """Start it, again perhaps; changes: environment variables."""
        environment = {**self.environment, **{name: str(value) for name, value in changes.items()}}
        self._process = self._launch(command, environment)
        return self

    def _launch(self, command: Sequence[str], environment: dict[str, str]) -> RunningProcess:
        with self.log.open("ab") as log:
            return subprocess.Popen([sys.executable, *command], env=environment, stdout=log, stderr=log)

    @property
    def process(self) -> RunningProcess:
        assert self._process is not None
        return self._process

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def said(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def page(self, path: str) -> tuple[int, str]:
        """Status and text of a page; (0, "") while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.read().decode()
        except OSError:
            return 0, ""

    def metric(self, line: str) -> float:
        """The value of a metric, named with its labels; 0 while it is not there."""
        text = self.page("/metrics")[1]
        return next(
            (float(value.rsplit(" ", 1)[1]) for value in text.splitlines() if value.startswith(f"{line} ")), 0
        )

    def wait_until_ready(self) -> None:
        """Wait until records are being processed; a start is bounded by the CPU time that it uses."""
        used_s = self._cpu_s()

        def ready() -> bool:
            assert self.process.poll() is None, self.said()
            if self.page("/readyz")[0] == 200:
                return True
            assert self._cpu_s() - used_s < _START_CPU_S, self.said()
            return False

        wait_for(ready, f"readiness of {self.log.stem}", _START_TIMEOUT_S)

    def _cpu_s(self) -> float:
        """The CPU time that its process has used; 0 if it is gone."""
        try:
            times = psutil.Process(self.process.pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return times.user + times.system

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait until it has ended; return its exit code."""
        return self.process.wait(timeout_s)

    def terminate(self) -> int:
        """Ask it to end (SIGTERM); return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it in the middle of whatever it does (SIGKILL)."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(30)


class Sway:
    """Topics, a registry with a champion, a producer, and any number of workers."""

    def __init__(self, topics: Topics, registry: Path, folder: Path) -> None:
        self.topics = topics
        self.folder = folder
        self.partitions = 4
        self.environment = {
            "SWAY_KAFKA__BOOTSTRAP_SERVERS": topics.bootstrap_servers,
            "SWAY_KAFKA__SESSION_TIMEOUT_S": "6",
            "SWAY_KAFKA__HEARTBEAT_INTERVAL_S": "1.5",
            "SWAY_KAFKA__REBALANCE_TIMEOUT_S": "20",
            "SWAY_TOPICS__PREFIX": topics.prefix,
            "SWAY_APP_ID": topics.prefix,
            "SWAY_MODEL__REGISTRY": str(registry),
            "SWAY_MODEL__DEVICE": "cpu",
            "SWAY_MODEL__DTYPE": "fp32",
        }
        self._workers: dict[str, Worker] = {}
        self._new_worker: Callable[[Path, str, dict[str, str]], Worker] = Worker
        self._producer = Producer(
            {
                "bootstrap.servers": topics.bootstrap_servers,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "message.max.bytes": 3_000_000,  # as large as a case's topics allow; 1 MB by default
                **_QUIET,
            }
        )
        self._codecs: dict[type, Codec[Any]] = {kind: Codec(kind) for kind in (BehaviorEvent, Outcome)}
        self.produced: list[tuple[tuple[str, int, int], BehaviorEvent | Outcome | bytes | None]] = []
        """What was acknowledged: (topic, partition, offset), and what it was."""
        self.acknowledged_at: list[float] = []
        """When each of these was acknowledged, on the clock time.monotonic."""
        self.reasons: dict[tuple[str, int, int], str] = {}
        """The reason of the dead letter that an input must become, by (topic, partition, offset)."""
        self._somewhere: list[tuple[Message, BehaviorEvent | Outcome | bytes | None, str | None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.kill()
            print(f"--- {worker.log.name}", *worker.said().splitlines()[-40:], sep="\n")  # noqa: T201

    def create_topics(self, partitions: int = 4, **others: int) -> Self:
        """Create the topics of the main job and of the hand-over; others: counts that differ."""
        self.partitions = partitions
        for short in ("events", "outcomes", "scores", "examples", "dead-letters"):
            self.topics.create(short, others.get(short, partitions))
        self.topics.create("training")
        return self

    def worker(self, name: str = "a", **environment: Any) -> Worker:
        """Return the named worker, not started."""
        if name not in self._workers:
            settings = {**self.environment, **{key: str(value) for key, value in environment.items()}}
            self._workers[name] = self._new_worker(self.folder, name, settings)
        return self._workers[name]

    # --- input ------------------------------------------------------------------------------------------

    def produce(
        self,
        what: BehaviorEvent | Outcome | bytes | None,
        *,
        topic: str = "events",
        key: str | None = None,
        reason: str | None = None,
        encoded: bytes | None = None,
        at_ms: int = 0,
    ) -> None:
        """Produce an event or an outcome with its user as key, or any bytes to a topic.

        reason: of the dead letter that it must become, if it must. encoded: the value, if another writer wrote it.
        at_ms: Kafka's time; 0 is now.
        """
        value: bytes | None
        if isinstance(what, BehaviorEvent | Outcome):
            topic = "events" if isinstance(what, BehaviorEvent) else "outcomes"
            value, key = encoded or self._codecs[type(what)].encode(what), key or what.user_id
        else:
            value = what

        def acknowledged(error: Any, message: Message) -> None:
            assert error is None, error
            offset = message.offset()
            if offset is None:  # sent again, to a leader that has it already and does not say where
                self._somewhere.append((message, what, reason))
            else:
                self._note((message.topic() or "", message.partition() or 0, offset), what, reason)

        self._producer.produce(self.topics.name(topic), value, key, on_delivery=acknowledged, timestamp=at_ms)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until all that was produced is in the log."""
        assert self._producer.flush(30) == 0
        if self._somewhere:
            self._find()

    def _note(
        self,
        where: tuple[str, int, int],
        what: BehaviorEvent | Outcome | bytes | None,
        reason: str | None,
    ) -> None:
        if reason is not None:
            self.reasons[where] = reason
        self.acknowledged_at.append(time.monotonic())
        self.produced.append((where, what))

    def _find(self) -> None:
        """Look in the log for what was acknowledged without an offset; of equal records any is the one."""
        known = {where for where, _what in self.produced}
        left: dict[tuple[str, int, bytes], list[int]] = {}
        for short in ("events", "outcomes"):
            for found in self.read(short):
                topic, partition, offset = found.topic() or "", found.partition() or 0, found.offset() or 0
                if (topic, partition, offset) not in known:
                    left.setdefault((topic, partition, found.value() or b""), []).append(offset)
        for message, what, reason in self._somewhere:
            topic, partition = message.topic() or "", message.partition() or 0
            offset = left[topic, partition, message.value() or b""].pop(0)
            self._note((topic, partition, offset), what, reason)
        self._somewhere.clear()

    # --- output -----------------------------------------------------------------------------------------

    def scores(self) -> list[InfluenceScore]:
        """All scores that a read_committed reader sees now."""
        return [Codec(InfluenceScore).decode(message.value()) for message in self.read("scores")]

    def dead_letters(self) -> list[DeadLetter]:
        """All dead letters that a read_committed reader sees now."""
        return [Codec(DeadLetter).decode(message.value()) for message in self.read("dead-letters")]

    def examples(self) -> list[LabeledExample]:
        """All examples that a read_committed reader sees now."""
        return [Codec(LabeledExample).decode(message.value()) for message in self.read("examples")]

    def wait_for_answers(self, count: int, timeout_s: float = 60.0) -> None:
        """Wait until so many scores and dead letters are visible."""
        with Visible(self, ("scores", "dead-letters")) as visible:
            wait_for(lambda: visible.count() >= count, f"{count} scores and dead letters", timeout_s)

    def read(self, short: str) -> Iterator[Message]:
        """All that a read_committed reader sees of a topic now."""
        with Visible(self, (short,)) as visible:
            yield from visible.to_the_end()

    def changelog(self, table: str = "windows") -> dict[int, dict[bytes, bytes]]:
        """The newest value of every key of a table's changelog, by partition."""
        found: dict[int, dict[bytes, bytes]] = {partition: {} for partition in range(self.partitions)}
        with Visible(self, ()) as visible:
            visible.follow(f"{self.topics.prefix}-{table}-changelog")
            for message in visible.to_the_end():
                users, value = found[message.partition() or 0], message.value()
                if value is None:
                    users.pop(message.key() or b"", None)
                else:
                    users[message.key() or b""] = value
        return found

    def stores(self, table: str = "windows") -> dict[int, dict[bytes, bytes]]:
        """A table of every partition, from the worker that was the last to have it; none may run."""
        newest = dict.fromkeys(range(self.partitions), -1)
        found: dict[int, dict[bytes, bytes]] = {partition: {} for partition in newest}
        for worker in self._workers.values():
            for path in sorted(worker.state.glob("partition-*")):
                partition = int(path.name.rsplit("-", 1)[1])
                store = PartitionStore(path)
                position = store.position(table)
                if position is not None and position.next_offset > newest[partition]:
                    newest[partition] = position.next_offset
                    found[partition] = dict(store.items(table))
                store.close()
        return found


class Visible:
    """A read_committed reader of whole topics, from their beginning."""

    def __init__(self, sway: Sway, shorts: Sequence[str]) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": sway.topics.bootstrap_servers,
                "group.id": sway.topics.group("audit"),
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                **_QUIET,
            }
        )
        self._partitions: list[TopicPartition] = []
        self._seen = 0
        for short in shorts:
            self.follow(sway.topics.name(short))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()

    def follow(self, topic: str) -> None:
        """Read this topic too."""
        numbers = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        self._partitions += [TopicPartition(topic, number, 0) for number in numbers]
        self._consumer.assign(self._partitions)

    def count(self) -> int:
        """Read on; return how many records were visible so far."""
        self._seen += len(self.more())
        return self._seen

    def more(self) -> list[Message]:
        """The records that have become visible since, perhaps not all of them."""
        return [message for message in self._consumer.consume(10_000, 0.05) if message.error() is None]

    def ends(self) -> list[TopicPartition]:
        """Where every partition ends now, for a read_committed reader."""
        ends = []
        for tp in self._partitions:
            high = self._consumer.get_watermark_offsets(tp, timeout=30)[1]
            ends.append(TopicPartition(tp.topic, tp.partition, high))
        return ends

    def reached(self, ends: list[TopicPartition]) -> bool:
        """Whether `more` has gone past these ends."""
        positions = self._consumer.position(ends)
        return all(at.offset >= end.offset or not end.offset for at, end in zip(positions, ends, strict=True))

    def to_the_end(self) -> Iterator[Message]:
        """The records up to the end that every partition has now."""
        ended: set[tuple[str | None, int | None]] = set()  # an end may be told twice
        while len(ended) < len(self._partitions):
            for message in self._consumer.consume(10_000, 1.0):
                if message.error() is None:
                    yield message
                else:
                    ended.add((message.topic(), message.partition()))

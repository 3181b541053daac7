"""Real worker processes on separate topics: their input, and the output that a read_committed reader sees."""

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
_QUIET: dict[str, Any] = {"log_level": 0}  # tests stop brokers on purpose
# CPU time of a start: importing torch and Faust takes about 8 s, which can be a minute on a busy machine.
_START_CPU_S = 60.0
_START_TIMEOUT_S = 300.0


class RunningProcess(Protocol):
    """The part of subprocess.Popen that a Worker uses."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class Worker:
    """One worker process with its own state folder and port."""

    def __init__(self, folder: Path, name: str, environment: dict[str, str]) -> None:
        self.state = folder / name
        self.log = folder / f"{name}.log"
        self.port = free_port()
        self.environment = {
            **os.environ,
            **environment,
            "SWAY_STATE_DIR": str(self.state),
            "SWAY_WEB__PORT": str(self.port),
            "SWAY_TRAINER__WEB_PORT": str(self.port),  # for a process started as a trainer
            "OMP_NUM_THREADS": "1",
        }
        # With this set, each process compiles torch again, for 10 s.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._process: RunningProcess | None = None

    def start(self, command: Sequence[str] = SWAY, **changes: Any) -> Self:
        """Start or restart the process. changes: environment variables."""
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
        """Whether the process is running."""
        return self._process is not None and self._process.poll() is None

    def log_text(self) -> str:
        """Return the log of the process."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def page(self, path: str) -> tuple[int, str]:
        """Return the status and text of a page; (0, "") if there is no answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.read().decode()
        except OSError:
            return 0, ""

    def metric(self, line: str) -> float:
        """Return the value of a metric, named with its labels; 0 if it does not exist."""
        text = self.page("/metrics")[1]
        return next(
            (float(value.rsplit(" ", 1)[1]) for value in text.splitlines() if value.startswith(f"{line} ")), 0
        )

    def wait_until_ready(self) -> None:
        """Wait until the worker processes records; its start is limited by CPU time."""
        used_s = self._cpu_s()

        def ready() -> bool:
            assert self.process.poll() is None, self.log_text()
            if self.page("/readyz")[0] == 200:
                return True
            assert self._cpu_s() - used_s < _START_CPU_S, self.log_text()
            return False

        wait_for(ready, f"readiness of {self.log.stem}", timeout_s=_START_TIMEOUT_S)

    def _cpu_s(self) -> float:
        """Return the CPU time used by the process; 0 if it has ended."""
        try:
            times = psutil.Process(self.process.pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return times.user + times.system

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for the end of the process and return its exit code."""
        return self.process.wait(timeout_s)

    def terminate(self) -> int:
        """Stop the process with SIGTERM and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
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
                "message.max.bytes": 3_000_000,  # the limit of a fault case's topics; the default is 1 MB
                **_QUIET,
            }
        )
        self._codecs: dict[type, Codec[Any]] = {kind: Codec(kind) for kind in (BehaviorEvent, Outcome)}
        self.produced: list[tuple[tuple[str, int, int], BehaviorEvent | Outcome | bytes | None]] = []
        """The acknowledged inputs, each with its (topic, partition, offset)."""
        self.acknowledged_at: list[float] = []
        """When each of these was acknowledged, by time.monotonic."""
        self.reasons: dict[tuple[str, int, int], str] = {}
        """The expected reason of the dead letter of each invalid input, by (topic, partition, offset)."""
        self._without_offset: list[tuple[Message, BehaviorEvent | Outcome | bytes | None, str | None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.kill()
            print(f"--- {worker.log.name}", *worker.log_text().splitlines()[-40:], sep="\n")  # noqa: T201

    def create_topics(self, *, partitions: int = 4, **others: int) -> Self:
        """Create the topics of the worker and the hand-over. others: different partition counts, by topic."""
        self.partitions = partitions
        for short in ("events", "outcomes", "scores", "examples", "dead-letters"):
            self.topics.create(short, partitions=others.get(short, partitions))
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
        """Produce an event or an outcome keyed by its user, or any bytes to a topic.

        reason: the expected reason of its dead letter; None if it is valid. encoded: the value, if encoded by another
        writer. at_ms: Kafka's timestamp; 0 means now.
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
            if offset is None:
                # A retry to a leader that has the record already is acknowledged without an offset.
                self._without_offset.append((message, what, reason))
            else:
                self._note((message.topic() or "", message.partition() or 0, offset), what, reason)

        self._producer.produce(self.topics.name(topic), value, key, on_delivery=acknowledged, timestamp=at_ms)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until all inputs are acknowledged."""
        assert self._producer.flush(30) == 0
        if self._without_offset:
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
        """Find the offsets of inputs acknowledged without one; equal records are interchangeable."""
        known = {where for where, _what in self.produced}
        left: dict[tuple[str, int, bytes], list[int]] = {}
        for short in ("events", "outcomes"):
            for found in self.read(short):
                topic, partition, offset = found.topic() or "", found.partition() or 0, found.offset() or 0
                if (topic, partition, offset) not in known:
                    left.setdefault((topic, partition, found.value() or b""), []).append(offset)
        for message, what, reason in self._without_offset:
            topic, partition = message.topic() or "", message.partition() or 0
            offset = left[topic, partition, message.value() or b""].pop(0)
            self._note((topic, partition, offset), what, reason)
        self._without_offset.clear()

    # --- output -----------------------------------------------------------------------------------------

    def scores(self) -> list[InfluenceScore]:
        """Return all committed scores."""
        return [Codec(InfluenceScore).decode(message.value()) for message in self.read("scores")]

    def dead_letters(self) -> list[DeadLetter]:
        """Return all committed dead letters."""
        return [Codec(DeadLetter).decode(message.value()) for message in self.read("dead-letters")]

    def examples(self) -> list[LabeledExample]:
        """Return all committed examples."""
        return [Codec(LabeledExample).decode(message.value()) for message in self.read("examples")]

    def wait_for_answers(self, count: int, timeout_s: float = 60.0) -> None:
        """Wait until this many scores and dead letters are committed."""
        with Visible(self, ("scores", "dead-letters")) as visible:
            wait_for(
                lambda: visible.count() >= count, f"{count} scores and dead letters", timeout_s=timeout_s
            )

    def read(self, short: str) -> Iterator[Message]:
        """Yield all committed records of a topic."""
        with Visible(self, (short,)) as visible:
            yield from visible.to_the_end()

    def changelog(self, table: str = "windows") -> dict[int, dict[bytes, bytes]]:
        """Return the newest value of every key of a table's changelog, by partition."""
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
        """Return a table's values by partition, from the worker that had it last; no worker may be running."""
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
        """Close the consumer."""
        self._consumer.close()

    def follow(self, topic: str) -> None:
        """Read another topic, from its beginning."""
        numbers = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        self._partitions += [TopicPartition(topic, number, 0) for number in numbers]
        self._consumer.assign(self._partitions)

    def count(self) -> int:
        """Continue reading; return the number of records read so far."""
        self._seen += len(self.more())
        return self._seen

    def more(self) -> list[Message]:
        """Return the next available records, perhaps not all of them."""
        return [message for message in self._consumer.consume(10_000, 0.05) if message.error() is None]

    def ends(self) -> list[TopicPartition]:
        """Return the current end of every partition for a read_committed reader."""
        ends = []
        for tp in self._partitions:
            high = self._consumer.get_watermark_offsets(tp, timeout=30)[1]
            ends.append(TopicPartition(tp.topic, tp.partition, high))
        return ends

    def reached(self, ends: list[TopicPartition]) -> bool:
        """Return whether `more` has reached these ends."""
        positions = self._consumer.position(ends)
        return all(at.offset >= end.offset or not end.offset for at, end in zip(positions, ends, strict=True))

    def to_the_end(self) -> Iterator[Message]:
        """Yield the records up to the current end of every partition."""
        ended: set[tuple[str | None, int | None]] = set()  # the end of a partition may be reported twice
        while len(ended) < len(self._partitions):
            for message in self._consumer.consume(10_000, 1.0):
                if message.error() is None:
                    yield message
                else:
                    ended.add((message.topic(), message.partition()))

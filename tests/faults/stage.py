"""The environment of a case: topics, workers, a steady load on a thread, and a reader of the answers."""

import signal
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its stubs forget these

from clients.consumers import reader
from stream.exactly_once.kafka.offsets import stable_offsets
from stream.exactly_once.units.records import TopicPartition
from sway.embedded import EmbeddedKafka
from sway.embedded.properties import DATA_FOLDER, INTERNAL_PARTITIONS
from tests.faults.answers import Answers, Where
from tests.faults.audit import Audit, audit, is_due
from tests.faults.inside import Inside
from tests.faults.load import Given, Input, inputs
from tests.faults.probe import Probe
from tests.faults.process import ForkedWorker
from tests.integration.conftest import Topics, wait_for
from tests.integration.workers import Sway
from tests.support.kafka_cluster import EmbeddedCluster
from tests.support.leaders import coordinator_partition

RATE_PER_S = 150.0
_SETTINGS = {
    "SWAY_KAFKA__SESSION_TIMEOUT_S": "3",  # how long a killed worker's partitions wait
    "SWAY_KAFKA__HEARTBEAT_INTERVAL_S": "0.8",
    "SWAY_UNITS__MAX_RECORDS": "40",  # small, so that several are open at once
    "SWAY_UNITS__LINGER_S": "0.01",
    "SWAY_UNITS__TRANSACTION_TIMEOUT_S": "5",
}


class Stage(Sway):
    """A Sway whose workers can have faults; `finish` audits it."""

    def __init__(self, topics: Topics, registry: Path, folder: Path, kafka: Any) -> None:
        """kafka: the EmbeddedKafka or EmbeddedCluster of the topics. registry: one with the champion "tiny"."""
        super().__init__(topics, registry, folder)
        self.kafka = kafka
        self.registry = registry
        self.environment |= _SETTINGS
        self._new_worker = ForkedWorker
        self.recoveries_s: list[float] = []
        self.after_answers_s: list[float] = []
        self.problems: list[str] = []
        """Descriptions of problems that did not stop the case."""
        self.notes: dict[str, str] = {}
        """Additional figures of this case."""
        self._feeding = threading.Event()
        self._feeder: threading.Thread | None = None
        self._fed_wrong: list[BaseException] = []
        self._due = 0
        self._counted = 0
        self._answers: Answers | None = None

    @property
    def single_kafka(self) -> EmbeddedKafka:
        """The broker of a case with a single one."""
        return cast("EmbeddedKafka", self.kafka)

    def broker_logs(self) -> list[Path]:
        """Return the log file of each broker."""
        if isinstance(self.kafka, EmbeddedCluster):
            return [self.kafka.log_path(number) for number in self.kafka.brokers]
        return [self.single_kafka.log_path]

    def log_folder(self, topic: str, partition: int) -> Path:
        """Return the folder of a partition's segments, on the broker that leads it."""
        if isinstance(self.kafka, EmbeddedCluster):
            log = self.kafka.log_path(self.kafka.leader_of(topic, partition))
        else:
            log = self.single_kafka.log_path
        return log.parent / DATA_FOLDER / f"{topic}-{partition}"

    def internal_partitions(self) -> list[tuple[str, int]]:
        """Return the partitions of Kafka's internal topics with this stage's group and its workers' transactions."""
        app_id = self.environment["SWAY_APP_ID"]
        slots = [file.read_text().strip() for file in self.folder.glob("*/slot")]
        return [
            ("__consumer_offsets", coordinator_partition(app_id, INTERNAL_PARTITIONS)),
            *sorted(
                {
                    ("__transaction_state", coordinator_partition(f"{app_id}-{slot}", INTERNAL_PARTITIONS))
                    for slot in slots
                }
            ),
        ]

    def probe(self) -> Probe:
        """Create a probe of the brokers, with a topic of its own; call it while the brokers are up."""
        topic = self.topics.name("probe")
        admin = AdminClient({"bootstrap.servers": self.topics.bootstrap_servers})
        admin.create_topics([NewTopic(topic, self.partitions)])[topic].result(30)
        probe = Probe(self.topics.bootstrap_servers, topic, self.partitions, self.internal_partitions())
        probe.wait()
        return probe

    def __exit__(self, *_: object) -> None:
        self._feeding.clear()
        if self._feeder is not None:
            self._feeder.join(30)
        for worker in self._workers.values():
            worker.kill()
        if self._answers is not None:
            self._answers.__exit__()

    # --- workers ----------------------------------------------------------------------------------------

    def worker(self, name: str = "a", inside: Inside | None = None, **environment: Any) -> ForkedWorker:
        """Return the named worker, not started. inside: the faults of its next start."""
        worker = cast("ForkedWorker", super().worker(name, **environment))
        worker.inside = inside or Inside()
        return worker

    def start(self, *names: str, **environment: Any) -> list[ForkedWorker]:
        """Start workers and wait until each processes records."""
        workers = [self.worker(name, **environment) for name in names]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.wait_until_ready()
        return workers

    @contextmanager
    def supervised(self, *workers: ForkedWorker) -> Iterator[list[float]]:
        """Restart workers when they end, as a service manager does; yield a list of the times of restarts."""
        starts: list[float] = []
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.2):
                for worker in workers:
                    if not worker.runs:
                        starts.append(time.monotonic())
                        worker.start()

        thread = threading.Thread(target=watch, name="supervisor", daemon=True)
        thread.start()
        try:
            yield starts
        finally:
            over.set()
            thread.join()

    def tail(self, lines: int = 25) -> Iterator[str]:
        """Yield the last log lines of every worker."""
        for worker in self._workers.values():
            yield f"--- {worker.log.name}"
            yield from worker.log_text().splitlines()[-lines:]

    # --- load and answers -------------------------------------------------------------------------------

    def feed(self, rate_per_s: float = RATE_PER_S, source: Iterator[Given] | None = None) -> None:
        """Produce at a rate, on a thread, until `finish` or `stop_feeding`."""
        self._feeding.set()
        self._feeder = threading.Thread(
            target=self._feed, args=(rate_per_s, source or inputs()), name="feeder", daemon=True
        )
        self._feeder.start()

    def _feed(self, rate_per_s: float, source: Iterator[Given]) -> None:
        try:
            began = time.monotonic()
            for count, given in enumerate(source):
                ahead_s = count / rate_per_s - (time.monotonic() - began)
                if ahead_s > 0:
                    time.sleep(ahead_s)
                if not self._feeding.is_set():
                    break
                self.give(given)
            self.flush()
        except BaseException as exc:  # raised again by stop_feeding, on the thread that waits
            self._fed_wrong.append(exc)

    def give(self, given: Given, key: str = "user-1") -> None:
        """Produce one input. key: for raw bytes, which have no user."""
        raw = given.what is None or isinstance(given.what, bytes)
        self.produce(
            given.what,
            key=key if raw else None,
            reason=given.reason,
            encoded=given.encoded,
            at_ms=given.at_ms,
        )

    def give_event(self, what: Input, reason: str | None = None) -> None:
        """Produce one input."""
        self.give(Given(what, reason))

    def stop_feeding(self) -> None:
        """End the load, and wait until all of it is acknowledged."""
        self._feeding.clear()
        if self._feeder is not None:
            self._feeder.join(120)
            assert not self._feeder.is_alive(), "the feeder does not end"
            self._feeder = None
        if self._fed_wrong:
            raise self._fed_wrong[0]
        self.flush()

    @property
    def answers(self) -> Answers:
        """The reader of the committed answers."""
        if self._answers is None:
            self._answers = Answers(self)
        return self._answers

    def due(self) -> int:
        """Return the number of answers due for all acknowledged inputs."""
        produced = self.produced
        while self._counted < len(produced):
            where, what = produced[self._counted]
            self._due += is_due(self, where, what)
            self._counted += 1
        return self._due

    def forget(self, gone: set[Where]) -> None:
        """Remove inputs that were deleted from their topic before they were read."""
        kept = [
            pair for pair in zip(self.produced, self.acknowledged_at, strict=True) if pair[0][0] not in gone
        ]
        self.produced[:] = [produced for produced, _at in kept]
        self.acknowledged_at[:] = [at for _produced, at in kept]
        for where in gone:
            self.reasons.pop(where, None)
        self._due = self._counted = 0

    def wait_for_more(self, count: int, timeout_s: float = 60.0) -> None:
        """Wait until this many more answers are visible."""
        wanted = self.answers.read() + count
        wait_for(lambda: self.answers.read() >= wanted, f"{count} more answers", timeout_s=timeout_s)

    def wait_until_caught_up(self, since: float, timeout_s: float = 90.0) -> float:
        """Wait until all inputs produced before the fault are answered, and a newer one of each partition.

        since: when the fault began, by time.monotonic. Returns and records the seconds since then.
        """
        wait_for(lambda: self._caught_up(since), "recovery", timeout_s=timeout_s)
        took_s = time.monotonic() - since
        self.recoveries_s.append(took_s)
        return took_s

    def _caught_up(self, since: float) -> bool:
        self.answers.read()
        seen = self.answers.seen
        after = bisect_left(self.acknowledged_at, since)
        answered = {where[1] for where, _what in self.produced[after:] if where in seen}
        return len(answered) == self.partitions and all(
            where in seen for where, what in self.produced[:after] if is_due(self, where, what)
        )

    def check_offsets(self) -> None:
        """Fail if an offset is committed whose record has no committed answer."""
        committed = self.committed()
        deadline = time.monotonic() + 30

        def unanswered() -> list[Any]:
            self.answers.read()
            return [
                where
                for where, what in list(self.produced)
                if is_due(self, where, what)
                and where[2] < (committed[TopicPartition(where[0], where[1])] or 0)
                and where not in self.answers.seen
            ]

        # The reader may still be fetching answers that were visible when the offsets were read.
        while unanswered():
            assert time.monotonic() < deadline, f"committed and not answered: {unanswered()[:5]}"

    def committed(self) -> dict[TopicPartition, int | None]:
        """Return the group's stable offsets of all inputs."""
        inputs_ = [
            TopicPartition(self.topics.name(short), number)
            for short in ("events", "outcomes")
            for number in range(self.partitions)
        ]
        consumer: Consumer = reader(
            {"bootstrap.servers": self.topics.bootstrap_servers}, self.environment["SWAY_APP_ID"]
        )
        try:
            found = stable_offsets(consumer, inputs_, lambda: False)
            return {tp: one.offset for tp, one in found.items()}
        finally:
            consumer.close()

    # --- the end ----------------------------------------------------------------------------------------

    def finish(self, timeout_s: float = 90.0) -> Audit:
        """End the load, wait until all inputs are answered, stop the workers, and audit."""
        self.stop_feeding()
        self.check_offsets()
        wait_until = time.monotonic() + timeout_s
        while self.answers.read() < self.due() and time.monotonic() < wait_until:
            pass  # `read` waits for records
        problems = list(self.problems)
        for name, worker in self._workers.items():
            if cast("ForkedWorker", worker).ended_by_itself:
                problems.append(f"worker {name} ended by itself")
            if not worker.runs:
                continue
            worker.process.send_signal(signal.SIGCONT)
            if (status := worker.terminate()) != 0:
                problems.append(f"worker {name} ended with {status} on SIGTERM")
        found = audit(self, self.registry, self.answers)
        found.problems += problems
        return found

    def unfinished(self) -> Audit:
        """Return the audit of an aborted case, in which unanswered inputs count as lost."""
        due = self.due()
        duplicates = self.answers.read() - len(self.answers.seen)
        lost = max(0, due - len(self.answers.seen))
        return Audit(
            events=due,
            scores=len(self.answers.scores),
            dead_letters=len(self.answers.letters),
            lost=lost,
            duplicates=duplicates,
        )

    def __enter__(self) -> Self:
        return self

"""Run toy workers under a steady load, and audit their output and state against the produced events."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stream.exactly_once.kafka.store import PartitionStore
from tests.exactly_once.toy import USERS

PARTITIONS = 4
KEYS = 40


def wait_for(what: str, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until a condition holds; after timeout_s fail with `what` in the message."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {timeout_s:g} s waiting for: {what}")
        time.sleep(0.05)


class ToyWorker:
    """One worker process with its own state folder."""

    def __init__(self, options: dict[str, Any], log: Path) -> None:
        self.options = options
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **changes: Any) -> Self:
        self.options.update(changes)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.exactly_once.toy"],
                env={**os.environ, "TOY": json.dumps(self.options)},
                stderr=log,
                stdout=log,
            )
        return self

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self, timeout_s: float = 30.0) -> int:
        assert self.process is not None
        return self.process.wait(timeout_s)

    def stop(self) -> None:
        """Stop the worker with SIGTERM; if it does not end, kill it and fail the test."""
        if self.process is None or self.process.poll() is not None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def log_count(self, text: str) -> int:
        return self.log.read_text(errors="replace").count(text) if self.log.exists() else 0


@dataclass
class Audit:
    """The committed output and the state, compared with the produced events."""

    produced: int
    scores: int
    dead: int
    lost: int
    doubled: int
    problems: list[str] = field(default_factory=list)


class ToyCluster:
    """Separate topics, a feeder and any number of workers."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path, **options: Any) -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.folder = folder
        self.options = options
        self.workers: dict[str, ToyWorker] = {}
        self.produced: dict[str, list[tuple[str, int]]] = {f"u{n}": [] for n in range(KEYS)}
        self.bad = 0
        self._count = 0
        self._feeding = threading.Event()
        self._feeder: threading.Thread | None = None
        self._seen: Counter[tuple[str, int]] = Counter()
        admin = AdminClient({"bootstrap.servers": bootstrap})
        names = [f"{prefix}.{name}" for name in ("events", "notes", "scores", "dead")]
        for future in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names]).values():
            future.result()
        self._reader = self._consumer("scores")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._feeding.clear()
        # pytest shows this output if the test fails.
        for worker in self.workers.values():
            if worker.log.exists():
                lines = worker.log.read_text(errors="replace").splitlines()
                print(f"--- {worker.log.name}", *lines[-40:], sep="\n")  # noqa: T201
        for worker in self.workers.values():
            if worker.process is not None and worker.process.poll() is None:
                worker.kill()
        self._reader.close()

    def worker(self, name: str, **options: Any) -> ToyWorker:
        """Return the named worker, not started; its state folder stays the same."""
        if name not in self.workers:
            self.workers[name] = ToyWorker(
                {
                    "bootstrap": self.bootstrap,
                    "prefix": self.prefix,
                    "state_dir": str(self.folder / name),
                    **self.options,
                    **options,
                },
                self.folder / f"{name}.log",
            )
        return self.workers[name]

    # --- load -------------------------------------------------------------------------------------------

    def feed(self, rate_per_s: float) -> None:
        """Produce to both inputs at a rate, on a thread, until `finish_feeding`; one record in 100 is invalid."""
        self._feeding.set()
        self._feeder = threading.Thread(target=self._feed, args=(rate_per_s,), daemon=True)
        self._feeder.start()

    def _feed(self, rate_per_s: float) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "enable.idempotence": True,
            }
        )
        began = time.monotonic()
        for index in itertools.count():
            ahead = index / rate_per_s - (time.monotonic() - began)
            if ahead > 0:
                producer.poll(0)
                time.sleep(ahead)
            if not self._feeding.is_set():
                break
            user = f"u{(index * 7919) % KEYS}"
            topic = "notes" if index % 5 == 4 else "events"
            if index % 100 == 50:
                producer.produce(f"{self.prefix}.{topic}", b"\xff{", user)
                self.bad += 1
                continue
            producer.produce(f"{self.prefix}.{topic}", json.dumps({"user": user, "id": index}), user)
            self.produced[user].append((topic[0], index))
            self._count += 1
        producer.flush(30)

    def finish_feeding(self) -> None:
        self._feeding.clear()
        assert self._feeder is not None
        self._feeder.join(120)
        assert not self._feeder.is_alive()

    # --- output -----------------------------------------------------------------------------------------

    def _consumer(self, topic: str) -> Consumer:
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"{self.prefix}-audit",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        consumer.assign([TopicPartition(f"{self.prefix}.{topic}", p, 0) for p in range(PARTITIONS)])
        return consumer

    def scores(self) -> int:
        """Continue reading; return the number of committed scores so far."""
        for message in self._reader.consume(10_000, 0.05):
            if message.error() is None:
                score = json.loads(message.value() or b"")
                self._seen[(score["from"], score["id"])] += 1
        return sum(self._seen.values())

    def wait_for_scores(self, count: int, timeout_s: float = 60.0) -> None:
        wait_for(f"{count} scores", lambda: self.scores() >= count, timeout_s=timeout_s)

    def wait_for_all(self, timeout_s: float = 90.0) -> None:
        def all_there() -> bool:
            self.scores()
            return len(self._seen) >= self._count

        wait_for(f"a score for each of {self._count} events", all_there, timeout_s=timeout_s)

    def audit(self) -> Audit:
        """Stop the workers and compare scores, dead letters, changelog and RocksDB with what was produced."""
        for worker in self.workers.values():
            worker.stop()
        scores = list(self._read_all(f"{self.prefix}.scores"))
        seen = Counter((score["from"], score["id"]) for _p, _k, score in scores)
        dead = sum(1 for _ in self._read_all(f"{self.prefix}.dead", decode=False))
        expected = {pair for pairs in self.produced.values() for pair in pairs}
        audit = Audit(
            produced=len(expected),
            scores=len(scores),
            dead=dead,
            lost=len(expected - set(seen)),
            doubled=sum(count - 1 for count in seen.values()),
        )
        if dead != self.bad:
            audit.problems.append(f"{dead} dead letters for {self.bad} bad records")
        self._check_state(audit, {(s["from"], s["id"]): s["length"] for _p, _k, s in scores})
        return audit

    def _check_state(self, audit: Audit, lengths: dict[tuple[str, int], int]) -> None:
        changelog: dict[int, dict[bytes, Any]] = {p: {} for p in range(PARTITIONS)}
        for partition, key, value in self._read_all(f"{self.prefix}-app-{USERS}-changelog"):
            changelog[partition][key] = value
        for partition, users in changelog.items():
            for key, value in users.items():
                self._check_user(audit, key.decode(), [(a, b) for a, b in value], lengths)
            on_disk = self._newest_store(partition)
            if on_disk != users:
                audit.problems.append(f"RocksDB of partition {partition} differs from its changelog")
        missing = {user for user, pairs in self.produced.items() if pairs} - {
            key.decode() for users in changelog.values() for key in users
        }
        if missing:
            audit.problems.append(f"no state for {missing}")

    def _check_user(
        self, audit: Audit, user: str, seen: list[tuple[str, int]], lengths: dict[tuple[str, int], int]
    ) -> None:
        if Counter(seen) != Counter(self.produced[user]):
            audit.problems.append(
                f"{user}: {len(seen)} behaviours in the state for {len(self.produced[user])} produced"
            )
        for letter in "en":
            if [p for p in seen if p[0] == letter] != [p for p in self.produced[user] if p[0] == letter]:
                audit.problems.append(f"{user}: behaviours of {letter} out of order")
        if any(lengths.get(pair) != index + 1 for index, pair in enumerate(seen)):
            audit.problems.append(
                f"{user}: a score was computed from a state that differs from the final one"
            )

    def _newest_store(self, partition: int) -> dict[bytes, Any]:
        best: tuple[int, dict[bytes, Any]] = (-1, {})
        for worker in self.workers:
            path = self.folder / worker / f"partition-{partition:05d}"
            if not path.exists():
                continue
            store = PartitionStore(path)
            position = store.position(USERS)
            if position is not None and position.next_offset > best[0]:
                best = (position.next_offset, {key: json.loads(raw) for key, raw in store.items(USERS)})
            store.close()
        return best[1]

    def _read_all(self, topic: str, *, decode: bool = True) -> Iterator[tuple[int, bytes, Any]]:
        consumer = self._consumer(topic.removeprefix(f"{self.prefix}."))
        consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
        ended: set[int] = set()
        while len(ended) < PARTITIONS:
            for message in consumer.consume(10_000, 1.0):
                if message.error() is not None:
                    ended.add(message.partition() or 0)
                    continue
                value = json.loads(message.value() or b"null") if decode else message.value()
                yield message.partition() or 0, message.key() or b"", value
        consumer.close()

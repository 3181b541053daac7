"""Replays of a test's live run: in this process, or as processes of the command."""

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

import psutil
import pyarrow.dataset as ds
from confluent_kafka import Consumer, Message, TopicPartition

from model.registry import ModelRegistry
from schemas.records import InfluenceScore
from schemas.wire import Codec
from stream.replay.plan import Progress, ReplayPlan
from stream.replay.ranges import Newest, Oldest
from stream.replay.runner import ReplayRunner
from stream.replay.session import ReplaySession, Request
from stream.settings import Settings
from tests.faults.inside import Inside
from tests.faults.process import Forked, context, run
from tests.integration.conftest import wait_for
from tests.integration.workers import Sway

Place = tuple[int, int]
"""Partition and offset of an event."""
_PROCESSING_TIMES = frozenset({"scored_at", "failed_at"})


def places(rows: Iterable[dict[str, Any]]) -> dict[Place, dict[str, Any]]:
    """Return rows by the partition and offset of their event; fails on a duplicate."""
    found: dict[Place, dict[str, Any]] = {}
    for row in rows:
        place = row["source_partition"], row["source_offset"]
        assert place not in found, f"duplicate: {place}"
        found[place] = row
    return found


def places_of(messages: Iterable[Message]) -> dict[Place, InfluenceScore]:
    """Return scores of a topic by the partition and offset of their event; fails on a duplicate."""
    found: dict[Place, InfluenceScore] = {}
    for message in messages:
        score = Codec(InfluenceScore).decode(message.value())
        place = score.source.partition, score.source.offset
        assert place not in found, f"duplicate: {place}"
        found[place] = score
    return found


class Output:
    """The Parquet folder of a replay."""

    folder: Path

    def rows(self, kind: str = "scores") -> list[dict[str, Any]]:
        """Return the rows of one kind; none if there is no folder."""
        if not (self.folder / kind).exists():
            return []
        found: list[dict[str, Any]] = ds.dataset(self.folder / kind, format="parquet").to_table().to_pylist()
        return found

    def files(self) -> int:
        """Return the number of published files of scores."""
        return len(list((self.folder / "scores").glob("*.parquet")))


def differences(one: Output, other: Output, tolerance: float = 1e-5) -> list[tuple[str, Any, Any]]:
    """Return the rows in which two replays differ, with their kind; times of processing are ignored."""
    found: list[tuple[str, Any, Any]] = []
    for kind in ("scores", "dead_letters", "examples"):
        pairs = zip_longest(_sorted(one.rows(kind)), _sorted(other.rows(kind)))
        found += [(kind, *pair) for pair in pairs if not _alike(*pair, tolerance)]
    return found


def _sorted(rows: list[dict[str, Any]]) -> list[tuple[str, list[float]]]:
    """Return sorted pairs: a row's exact values as text, and its floats, which are compared with a tolerance."""
    return sorted(
        (
            repr({k: v for k, v in row.items() if k not in _PROCESSING_TIMES and not isinstance(v, float)}),
            [value for value in row.values() if isinstance(value, float)],
        )
        for row in rows
    )


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    if one is None or other is None or one[0] != other[0]:
        return False
    return all(abs(a - b) <= tolerance for a, b in zip(one[1], other[1], strict=True))


class Replay(Output):
    """One replay; `run` may be called again, like the same command."""

    def __init__(
        self,
        sway: Sway,
        registry: Path,
        name: str = "again",
        *,
        machine: str = "replay-state",
        batch_records: int = 20_000,
        old_scores: str = "",
        window: Any = None,
        labels: Any = None,
        wire: Any = None,
        **request: Any,
    ) -> None:
        self.folder = sway.folder / name
        self.settings = settings_of(
            sway,
            registry,
            state_dir=sway.folder / machine,
            topics={"prefix": sway.topics.prefix, "scores": old_scores},
            replay={"batch_records": batch_records},
            window=window or {},
            labels=labels or {},
            wire=wire or {},
        )
        wanted = {"start": Oldest(), "end": Newest(), "topic": None, "parquet": self.folder, **request}
        self.session = ReplaySession(self.settings, Request(name, **wanted))
        self._partitions = sway.partitions
        self._model = ModelRegistry(registry).load("tiny", dtype="fp32")

    def plan(self) -> ReplayPlan:
        """Return the plan; start the replay if it has none."""
        standing = self.session.standing(self._partitions)
        return standing[0] if standing else self.session.begin(self.session.plan("tiny"), self._partitions)

    def run(self, scorer: Any = None, **options: Any) -> dict[int, Progress]:
        """Run the replay to its end and return the progress by partition."""
        plan = self.plan()
        if scorer is not None:
            return self.session.run(plan, self._partitions, self._model, scorer, **options)
        with self.session.batcher(self._model) as batcher:
            return self.session.run(plan, self._partitions, self._model, batcher, **options)

    @contextmanager
    def in_a_thread(self) -> "Iterator[Running]":
        """Run the replay on a thread, which is stopped at the end."""
        running = Running(self)
        try:
            yield running
        finally:
            running.runner.stop()
            running.wait()


class Running:
    """A replay on a thread."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._started = threading.Event()
        self._end: Future[Any] = Future()
        self.runner: ReplayRunner

        def start(runner: ReplayRunner) -> None:
            self.runner = runner
            self._started.set()

        def work() -> None:
            try:
                self._end.set_result(replay.run(on_start=start))
            except BaseException as exc:
                self._end.set_exception(exc)

        threading.Thread(target=work, daemon=True).start()
        assert self._started.wait(30)

    def wait_for_files(self, count: int) -> None:
        """Wait until this many files are published."""
        wait_for(lambda: self._replay.files() >= count, f"{count} files")

    def wait(self) -> None:
        """Wait for the end of the replay. Raises its exception."""
        self._end.result(60)


class Command(Output):
    """`sway replay` as a process; each start runs the same command."""

    def __init__(
        self,
        sway: Sway,
        registry: Path,
        name: str,
        *,
        topic: str | None = None,
        labels: bool = False,
        **settings: Any,
    ) -> None:
        self.folder = sway.folder / name
        self.state = sway.folder / f"{name}-state"
        self.log = sway.folder / f"{name}.log"
        self._arguments = ["--to-parquet", str(self.folder), "--id", name]
        self._arguments += ["--to-topic", sway.topics.name(topic)] if topic else []
        self._arguments += ["--with-labels"] if labels else []
        self._environment = {
            **os.environ,
            **sway.environment,
            "SWAY_MODEL__REGISTRY": str(registry),
            "SWAY_STATE_DIR": str(self.state),
            "OMP_NUM_THREADS": "1",
            **{key: str(value) for key, value in settings.items()},
        }

    def move_to(self, machine: str) -> None:
        """Run the command as on another machine: with its own state folder and log."""
        self.state, self.log = self.state.with_name(machine), self.log.with_name(f"{machine}.log")
        self._environment["SWAY_STATE_DIR"] = str(self.state)

    @contextmanager
    def started(self, *more: str) -> Iterator[Forked]:
        """Start the command; it is killed at the end."""
        arguments = ["sway", "replay", *self._arguments, *more]
        started = context().Process(
            target=run, args=(self._environment, Inside(), str(self.log), arguments), daemon=False
        )
        started.start()
        process = Forked(started)
        try:
            yield process
        finally:
            process.kill()
            process.wait(30)

    def run(self, *more: str) -> int:
        """Run the command to its end and return its exit status."""
        with self.started(*more) as process:
            return process.wait(90)

    def wait_for_files(self, count: int, process: Forked) -> None:
        """Wait until this many files are published; fails if the process ends before."""

        def there() -> bool:
            assert process.poll() is None, self.log_text()
            return self.files() >= count

        wait_for(there, f"{count} files of {self.folder.name}", timeout_s=60)

    def workers(self, process: Forked) -> list[psutil.Process]:
        """Return the worker processes of the command."""
        children = psutil.Process(process.pid).children()
        return [child for child in children if any("spawn_main" in word for word in child.cmdline())]

    def log_text(self) -> str:
        """Return the log of its processes."""
        return self.log.read_text(errors="replace")


def production(sway: Sway, registry: Path) -> dict[str, Any]:
    """Return everything of the live application: its offsets, the ends of its topics, its registry and state."""
    consumer = Consumer({"bootstrap.servers": sway.topics.bootstrap_servers, "group.id": sway.topics.prefix})
    try:
        topics = consumer.list_topics(timeout=10).topics
        ours = [
            TopicPartition(name, number)
            for name, topic in sorted(topics.items())
            if name.startswith((f"{sway.topics.prefix}.", f"{sway.topics.prefix}-"))
            for number in sorted(topic.partitions)
        ]
        inputs = [tp for tp in ours if tp.topic.endswith((".events", ".outcomes"))]
        committed = consumer.committed(inputs, timeout=10)
        return {
            "offsets": [(tp.topic, tp.partition, tp.offset, tp.metadata) for tp in committed],
            "ends": [(tp.topic, tp.partition, consumer.get_watermark_offsets(tp, timeout=10)) for tp in ours],
            "registry": digests(registry),
            "state": {name: digests(sway.worker(name).state) for name in "ab"},
        }
    finally:
        consumer.close()


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def settings_of(sway: Sway, registry: Path, **more: Any) -> Settings:
    """Return the settings of the test's workers, without their folder."""
    topics = sway.topics
    return Settings.model_validate(
        {
            "app_id": topics.prefix,
            "kafka": {
                "bootstrap_servers": topics.bootstrap_servers,
                "session_timeout_s": 6,
                "heartbeat_interval_s": 1.5,
            },
            "model": {"registry": str(registry), "device": "cpu", "dtype": "fp32"},
            **more,
        }
    )

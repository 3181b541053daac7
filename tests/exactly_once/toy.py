"""A small program on stream.exactly_once, run as a worker process: `python -m tests.exactly_once.toy`.

It appends every event to its user's list in the state and answers each with one score, after a delay in place of a
model. Its events are `{"user", "id"}` in JSON; "notes" is a second input topic with the same format.
Environment: TOY (JSON: bootstrap, prefix, state_dir, delay_s, limits …).
"""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from faust.worker import Worker

from stream.exactly_once import ExactlyOnceApp, ExactlyOnceConfig, RecordBatch, Unit, Work
from stream.exactly_once.kafka.transactions import TransactionWriter

USERS = "users"


class ToyProcessor:
    """The state is a tuple of (topic letter, id) per user; a score contains the length of that tuple."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.table: Any = None

    async def prepare(self, batch: RecordBatch) -> None:
        """Do nothing: there is nothing to wait for."""

    def read(self, batch: RecordBatch, unit: Unit) -> Work:
        jobs = []
        for record in batch.records:
            try:
                event = json.loads(record.value or b"")
                user = event["user"].encode()
            except (ValueError, KeyError, TypeError, AttributeError):
                unit.emit(f"{self.prefix}.dead", record.key, record.value)
                continue
            letter = record.topic.rsplit(".", 1)[1][0]
            seen = (self.table.get_in(record.partition, user) or ()) + ((letter, event["id"]),)
            unit.put(USERS, record.partition, user, seen)
            jobs.append((user, letter, event["id"], len(seen)))
        return Work(jobs, jobs)

    def finish(self, work: Work, results: Any, unit: Unit) -> None:
        for (user, letter, event_id, _length), length in zip(work.context, results or (), strict=True):
            value = json.dumps({"id": event_id, "from": letter, "length": length}).encode()
            unit.emit(f"{self.prefix}.scores", user, value)


class SlowScorer:
    """Returns each job's length after a delay per job, on its own thread."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.pool = ThreadPoolExecutor(1)

    def submit(self, jobs: Sequence[Any]) -> "Future[Any]":
        return self.pool.submit(self._score, list(jobs))

    def _score(self, jobs: Sequence[Any]) -> list[int]:
        time.sleep(self.delay_s * len(jobs))
        return [length for _user, _letter, _id, length in jobs]


class SlowCommits(TransactionWriter):
    """Sleeps between the offsets and the commit, so that a signal can arrive within a transaction."""

    pause_s = 0.0
    marker: Path | None = None

    def _before_commit(self) -> None:
        if self.pause_s:
            if self.marker is not None:
                self.marker.write_text(str(time.time()))
            time.sleep(self.pause_s)


def main() -> None:
    """Run the worker until it gets a signal."""
    options = json.loads(os.environ["TOY"])
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    threading.Thread(target=_die_with_parent, args=(os.getppid(),), daemon=True).start()
    prefix = options["prefix"]
    SlowCommits.pause_s = options.get("commit_pause_s", 0.0)
    SlowCommits.marker = Path(options["marker"]) if "marker" in options else None
    config = ExactlyOnceConfig(
        input_topics=[f"{prefix}.events", f"{prefix}.notes"],
        state_dir=Path(options["state_dir"]),
        client_config={"bootstrap.servers": options["bootstrap"]},
        **options.get("limits", {}),
    )
    app = ExactlyOnceApp(
        f"{prefix}-app",
        config,
        web_enabled=False,
        broker_session_timeout=options.get("session_timeout_s", 6.0),
        broker_heartbeat_interval=1.0,
        broker_rebalance_timeout=options.get("rebalance_timeout_s", 10.0),
    )
    processor = ToyProcessor(prefix)
    processor.table = app.layered_table(
        USERS,
        dumps=lambda seen: json.dumps(seen).encode(),
        loads=lambda raw: tuple((letter, number) for letter, number in json.loads(raw)),
    )
    app._writer_type = SlowCommits
    app.process_with(processor, SlowScorer(options.get("delay_s", 0.0)))
    Worker(app, loglevel="INFO", redirect_stdouts=False, override_logging=False).execute_from_commandline()


def _die_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main()

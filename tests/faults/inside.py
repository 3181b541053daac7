"""Faults inside a worker process, at points that a signal from outside cannot hit."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any


@dataclass(frozen=True, slots=True)
class Inside:
    """The faults of a worker process. All counts start with the process.

    die_after_commit: kill itself (SIGKILL) after this many transactions, before the local write.
    die_in_transaction: kill itself within the transaction of this number, before its commit.
    pause_in_transaction_s: sleep within each transaction, or within the first `pauses`. marker: a file that is created
    when such a sleep begins. pause_topic: sleep only if the transaction writes to a topic with this ending.
    poison_word: the model raises for a batch that contains this word.
    memory_rows: the device runs out of memory for a batch with more rows.
    read_pause_s: sleep before reading each batch, or before the first `pauses`.
    free_model: the model returns 0 without computing.
    newer_schemas: schemas, as JSON, that only this worker knows, as after an upgrade.
    restore_pause_s: sleep before each write to the stores during a restore, as on a slow disk.
    fetcher_stops: once this file exists, the consumer's fetches return nothing.
    timer_fails: a Faust timer outside the engine raises once records are processed.
    """

    die_after_commit: int | None = None
    die_in_transaction: int | None = None
    pause_in_transaction_s: float = 0.0
    pauses: int | None = None
    marker: Path | None = None
    pause_topic: str = ""
    poison_word: str | None = None
    memory_rows: int | None = None
    read_pause_s: float = 0.0
    free_model: bool = False
    restore_pause_s: float = 0.0
    timer_fails: bool = False
    newer_schemas: tuple[str, ...] = ()
    fetcher_stops: Path | None = None

    def arm(self) -> None:
        """Install the faults in this process."""
        self._arm_transactions()
        self._arm_model()
        self._arm_reading()
        if self.timer_fails:
            from stream.worker import app as worker

            _before(worker, "add_pages", lambda app: app.timer(0.1, name="faulty")(lambda: _fail(app)))
        if self.newer_schemas:
            _know([json.loads(text) for text in self.newer_schemas])

    def _arm_transactions(self) -> None:
        from stream.exactly_once.driver.committing import UnitCommitter
        from stream.exactly_once.kafka.transactions import TransactionWriter

        if self.die_after_commit is not None:
            _before(UnitCommitter, "_write_stores", _die_at(self.die_after_commit))
        if self.die_in_transaction is not None:
            _before(TransactionWriter, "_before_commit", _die_at(self.die_in_transaction))
        if self.pause_in_transaction_s:
            left = iter(range(self.pauses)) if self.pauses is not None else count()
            topics: set[str] = set()
            _before(TransactionWriter, "_produce", lambda _, output, *__: topics.add(output.topic))
            _before(TransactionWriter, "_before_commit", lambda *_: self._pause(left, topics))

    def _arm_model(self) -> None:
        from model.loaded import LoadedModel

        if self.poison_word is not None or self.memory_rows is not None:
            _before(LoadedModel, "score", self._refuse)
        if self.free_model:
            LoadedModel.score = _score_free  # type: ignore[method-assign, assignment]

    def _arm_reading(self) -> None:
        from stream.exactly_once.kafka import recovery
        from stream.scoring.processor import ScoringProcessor

        if self.read_pause_s:
            reads = iter(range(self.pauses)) if self.pauses is not None else count()
            _before(
                ScoringProcessor,
                "read",
                lambda *_: time.sleep(0 if next(reads, None) is None else self.read_pause_s),
            )
        if self.restore_pause_s:
            _before(recovery, "_write", lambda *_: time.sleep(self.restore_pause_s))
        if self.fetcher_stops is not None:
            _stop_fetching_at(self.fetcher_stops)

    def _pause(self, left: Iterator[int], topics: set[str]) -> None:
        written = {topic for topic in topics if topic.endswith(self.pause_topic)}
        topics.clear()
        if (self.pause_topic and not written) or next(left, None) is None:
            return
        if self.marker is not None:
            self.marker.touch()
        time.sleep(self.pause_in_transaction_s)

    def _refuse(self, model: Any, batch: Any) -> None:
        import torch

        if self.memory_rows is not None and len(batch) > self.memory_rows:
            raise torch.OutOfMemoryError(f"{len(batch)} rows, {self.memory_rows} fit")
        if self.poison_word is not None:
            (target,) = model.tokenizer.words((self.poison_word,))
            word = torch.frombuffer(bytearray(target.ids), dtype=torch.int32)
            windows = batch.input_ids.unfold(1, len(word), 1)
            if bool((windows == word).all(-1).any()):
                raise ValueError("poison")


def _stop_fetching_at(file: Path) -> None:
    from aiokafka.consumer.fetcher import Fetcher

    fetch = Fetcher._proc_fetch_request

    async def unless_stopped(*args: Any) -> Any:
        if file.exists():
            # Like the real method, end quietly on cancellation: aiokafka awaits its fetches when it closes.
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return False
        return await fetch(*args)

    Fetcher._proc_fetch_request = unless_stopped


async def _fail(app: Any) -> None:
    if app.not_ready_reason is None:
        raise LookupError("a fault in a timer")


def _know(schemas: list[Any]) -> None:
    """Add schemas to the known ones, as if they were published."""
    from schemas.contracts import all_known, fingerprint
    from schemas.resolvers import LocalResolver

    more = {fingerprint(schema): schema for schema in schemas}
    all_known().update(more)  # for new resolvers; existing ones have a copy
    known = LocalResolver.by_fingerprint

    def by_fingerprint(self: Any, schema_fingerprint: bytes) -> Any:
        return more[schema_fingerprint] if schema_fingerprint in more else known(self, schema_fingerprint)

    LocalResolver.by_fingerprint = by_fingerprint  # type: ignore[method-assign]


def _score_free(_model: Any, batch: Any) -> Any:
    import torch

    return torch.zeros(len(batch), 2)


def _before(owner: type | ModuleType, name: str, do: Callable[..., None]) -> None:
    """Patch a method or function so that `do` is called before it, with the same arguments."""
    method = getattr(owner, name)

    def both(*args: Any) -> Any:
        do(*args)
        return method(*args)

    setattr(owner, name, both)


def _die_at(count: int) -> Callable[..., None]:
    calls = iter(range(1, count + 1))
    last = count

    def die(*_: Any) -> None:
        if next(calls, last) >= last:
            os.kill(os.getpid(), signal.SIGKILL)

    return die

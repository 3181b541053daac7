"""Runs a replay in this process: partitions, micro-batcher and commits.

One thread reads chunks of the partitions in turn, as long as the number of texts waiting for the model is below its
limit; the model thus always has a queue from which to form full batches. Commits run on a second thread, forward passes
on the micro-batcher's threads.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from confluent_kafka import KafkaException

from schemas.errors import RegistryUnavailable
from stream.exactly_once.units.errors import FatalTransactionError, FencedError, StartError, StoreError
from stream.replay.errors import NoAnswerError, PlanError, ReplayError
from stream.replay.journal import Journal
from stream.replay.membership import Membership
from stream.replay.partition import PartitionReplay
from stream.replay.plan import Progress, ReplayPlan

logger = logging.getLogger(__name__)

_WAIT_S = 0.2
_REFRESH_INTERVAL_S = 2.0  # interval of reading the progress of all partitions
_REFRESH_TIMEOUT_S = 5.0
_RETRY_PAUSE_S = 2.0
MAX_RETRIES = 150  # per partition without progress: at least five minutes
_UNAVAILABLE = (NoAnswerError, RegistryUnavailable)


@dataclass(frozen=True, slots=True)
class Report:
    """The progress of the whole replay as known to this process.

    partitions: committed progress of all partitions. learnt: number of events and outcomes that this process has read
    only for the state. ahead: number of texts that it has scored but not committed.
    """

    partitions: Mapping[int, Progress]
    learnt: int
    ahead: int


@dataclass(slots=True)
class _Own:
    """A partition assigned to this process."""

    replay: PartitionReplay | None = None
    try_at: float = 0.0
    failures: int = 0
    at: int = -1  # progress at the last failure


class ReplayRunner:
    """Processes the partitions assigned by the membership until the whole replay is done."""

    def __init__(
        self,
        plan: ReplayPlan,
        journal: Journal,
        open_partition: Callable[[int], PartitionReplay | None],
        join: Callable[[Callable[[set[int]], None]], Membership],
        *,
        max_in_flight_texts: int,
        partitions_at_once: int,
        changed: threading.Event,
        on_report: Callable[[Report], None],
        waiting_texts: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """changed: set by other threads when they finish something. join: creates the membership, given on_lost.

        waiting_texts: returns how many texts the scorer has not scored yet.
        """
        self._plan = plan
        self._journal = journal
        self._open_partition = open_partition
        self._max_in_flight_texts = max_in_flight_texts
        self._partitions_at_once = partitions_at_once
        self._changed = changed
        self._on_report = on_report
        self._waiting_texts = waiting_texts
        self._clock = clock
        self._own: dict[int, _Own] = {}
        self._progress: dict[int, Progress] = {}
        self._turn = 0
        self._learnt = 0
        self._refreshed_at = -_REFRESH_INTERVAL_S
        self._stop = False
        self._membership = join(self._close_partitions)

    def run(self) -> dict[int, Progress]:
        """Run until the whole replay is done or stop() is called, and return the progress of all partitions.

        Raises ReplayError, and the exceptions of reading, scoring and committing.
        """
        try:
            while not self._stop:
                self._membership.poll()
                self._refresh_progress()
                if self._progress and all(one.done for one in self._progress.values()):
                    break
                self._take_over()
                if not self._step():
                    self._changed.wait(_WAIT_S)
                    self._changed.clear()
        finally:
            with ExitStack() as stack:  # closes everything even if some of it raises
                stack.callback(self._membership.close)
                for number in list(self._own):
                    stack.callback(self._close_partitions, {number})
        self._on_report(self.report())
        return dict(self._progress)

    def stop(self) -> None:
        """Make run() return soon; uncommitted work is repeated by the next run.

        Safe in signal handlers: it takes no lock, and the loop checks the flag often.
        """
        self._stop = True

    def report(self) -> Report:
        """Return the current progress."""
        own = [one.replay for one in self._own.values() if one.replay is not None]
        learnt = self._learnt + sum(replay.learnt for replay in own)
        ahead = max(0, sum(replay.uncommitted for replay in own) - self._waiting_texts())
        return Report(dict(self._progress), learnt, ahead)

    # --- partitions -------------------------------------------------------------------------------------

    def _refresh_progress(self) -> None:
        """Read the progress of all partitions if it is due."""
        now = self._clock()
        if now - self._refreshed_at < _REFRESH_INTERVAL_S:
            return
        self._refreshed_at = now
        try:
            standing = self._journal.look(_REFRESH_TIMEOUT_S, lambda: self._stop)
        except (KafkaException, NoAnswerError) as exc:
            logger.warning("Cannot read the progress, will retry: %s", exc)
            return
        if standing is None or standing[0].created_at_ms != self._plan.created_at_ms:
            raise PlanError(
                f"The committed progress of replay {self._plan.replay_id!r} is missing or belongs to another plan: its "
                "group was deleted, or its offsets have expired. Start again with another id."
            )
        self._progress.update(standing[1])
        self._on_report(self.report())

    def _update_progress(self, number: int, progress: Progress) -> None:
        """Update the progress of a partition of this process."""
        before, self._progress[number] = self._progress.get(number), progress
        if before is not None and before != progress:
            self._on_report(self.report())

    def _take_over(self) -> None:
        """Open assigned partitions, at most partitions_at_once at a time."""
        for number in sorted(self._membership.partitions & self._plan.partitions.keys()):
            own = self._own.setdefault(number, _Own())
            busy = sum(one.replay is not None for one in self._own.values())
            if own.replay is not None or busy >= self._partitions_at_once or self._is_done(number):
                continue
            if self._stop or self._clock() < own.try_at:
                continue
            try:
                own.replay = self._open_partition(number)
            except (StoreError, StartError, KafkaException, *_UNAVAILABLE) as exc:
                # Unreachable brokers or Schema Registry, or the previous owner on this machine still locks the store.
                self._failed(number, exc)
                continue
            if own.replay is None:
                self._refreshed_at = -_REFRESH_INTERVAL_S  # completed by another process

    def _is_done(self, number: int) -> bool:
        return number in self._progress and self._progress[number].done

    def _close_partitions(self, partitions: set[int]) -> None:
        for number in partitions:
            own = self._own.pop(number, None)
            if own is not None and own.replay is not None:
                self._close(own.replay)

    def _close(self, replay: PartitionReplay) -> None:
        self._learnt += replay.learnt
        replay.close()

    def _failed(self, number: int, exc: Exception) -> None:
        """Close a partition and retry it later from its committed progress if it is still assigned."""
        own = self._own[number]
        replay, own.replay = own.replay, None
        if replay is not None:
            if replay.progress.events_next > own.at:
                own.failures, own.at = 0, replay.progress.events_next
            self._close(replay)
        own.failures += 1
        if own.failures > MAX_RETRIES:
            raise ReplayError(
                f"Partition {number} failed {own.failures} times without progress; the last error: {exc} "
                "Completed work is kept; run the same command to continue."
            ) from exc
        logger.warning("Closing partition %d, will retry: %s", number, exc)
        own.try_at = self._clock() + _RETRY_PAUSE_S

    # --- work -------------------------------------------------------------------------------------------

    def _step(self) -> bool:
        """Process finished work and read one chunk; return whether there may be more to do at once."""
        active = [(number, own.replay) for number, own in self._own.items() if own.replay is not None]
        for number, replay in active:
            try:
                replay.poll()
            except (FencedError, FatalTransactionError) as exc:
                self._failed(number, exc)
                return True
            if replay.progress is not self._progress.get(number):
                self._update_progress(number, replay.progress)
            if replay.done:
                self._own[number].replay = None
                self._close(replay)
                return True
        if sum(replay.in_flight for _, replay in active) >= self._max_in_flight_texts:
            return False
        readable = [(number, replay) for number, replay in active if replay.can_read]
        if not readable:
            return False
        self._turn += 1
        number, replay = readable[self._turn % len(readable)]
        try:
            replay.read()
        except _UNAVAILABLE as exc:
            self._failed(number, exc)
        return True

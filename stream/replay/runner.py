"""Runs a replay in this process: its partitions, the micro-batcher, the commits.

One thread reads, a chunk of one partition after a chunk of the next, as long as fewer texts wait for the model than are
allowed; so the model always has a queue to choose full batches from. Commits run on a second thread, forward passes on
the micro-batcher's own.
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
_LOOK_ROUND_S = 2.0  # how often others' progress is asked for
_LOOK_S = 5.0
_TAKE_AGAIN_S = 2.0
MAX_TAKEN_AGAIN = 150  # of one partition, without progress in between: five minutes, and what the tries take
_AWAY = (NoAnswerError, RegistryUnavailable)


@dataclass(frozen=True, slots=True)
class Report:
    """How far the whole replay is, as this process knows it.

    partitions: everyone's committed progress, by partition. learnt: events and outcomes that this process has read for
    the state alone. ahead: texts that it has scored and not committed yet.
    """

    partitions: Mapping[int, Progress]
    learnt: int
    ahead: int


@dataclass(slots=True)
class _Own:
    """A partition that this process has, or tries to have."""

    replay: PartitionReplay | None = None
    try_at: float = 0.0
    failures: int = 0
    at: int = -1  # the progress at the last failure


class ReplayRunner:
    """Works on the partitions that the membership gives it until the whole replay is done."""

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
        """changed: set by what ends on other threads. join: makes the membership, given what is called on a loss.

        waiting_texts: how many texts the scorer has and has not scored.
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
        self._looked_at = -_LOOK_ROUND_S
        self._stop = False
        self._membership = join(self._let_go)

    def run(self) -> dict[int, Progress]:
        """Return everyone's progress, once all of it is done or stop() was called.

        Raises ReplayError, and what reading, scoring or committing raises.
        """
        try:
            while not self._stop:
                self._membership.poll()
                self._look_round()
                if self._progress and all(one.done for one in self._progress.values()):
                    break
                self._take_over()
                if not self._step():
                    self._changed.wait(_WAIT_S)
                    self._changed.clear()
        finally:
            with ExitStack() as stack:  # each is closed, whatever the others raise
                stack.callback(self._membership.close)
                for number in list(self._own):
                    stack.callback(self._let_go, {number})
        self._on_report(self.report())
        return dict(self._progress)

    def stop(self) -> None:
        """Have run() return soon; what is not committed is done again by the next run.

        For signal handlers too: so it takes no lock, and the loop looks often.
        """
        self._stop = True

    def report(self) -> Report:
        """Return how far it is."""
        own = [one.replay for one in self._own.values() if one.replay is not None]
        learnt = self._learnt + sum(replay.learnt for replay in own)
        ahead = max(0, sum(replay.uncommitted for replay in own) - self._waiting_texts())
        return Report(dict(self._progress), learnt, ahead)

    # --- partitions -------------------------------------------------------------------------------------

    def _look_round(self) -> None:
        """Ask for everyone's progress, now and then."""
        now = self._clock()
        if now - self._looked_at < _LOOK_ROUND_S:
            return
        self._looked_at = now
        try:
            standing = self._journal.look(_LOOK_S, lambda: self._stop)
        except (KafkaException, NoAnswerError) as exc:
            logger.warning("Progress cannot be read, asking again later: %s", exc)
            return
        if standing is None or standing[0].created_at_ms != self._plan.created_at_ms:
            raise PlanError(
                f"The committed progress of replay {self._plan.replay_id!r} is gone or another plan's: its group was "
                "deleted, or its offsets have expired. Begin again with another id."
            )
        self._progress.update(standing[1])
        self._on_report(self.report())

    def _moved(self, number: int, progress: Progress) -> None:
        """Take in that a partition of ours has come further."""
        before, self._progress[number] = self._progress.get(number), progress
        if before is not None and before != progress:
            self._on_report(self.report())

    def _take_over(self) -> None:
        """Open partitions that are ours, a few at a time."""
        for number in sorted(self._membership.partitions & self._plan.partitions.keys()):
            own = self._own.setdefault(number, _Own())
            busy = sum(one.replay is not None for one in self._own.values())
            if own.replay is not None or busy >= self._partitions_at_once or self._is_done(number):
                continue
            if self._stop or self._clock() < own.try_at:
                continue
            try:
                own.replay = self._open_partition(number)
            except (StoreError, StartError, KafkaException, *_AWAY) as exc:
                # Brokers or the Schema Registry are away, or who has lost it on this machine still holds its store.
                self._failed(number, exc)
                continue
            if own.replay is None:
                self._looked_at = -_LOOK_ROUND_S  # done, by another

    def _is_done(self, number: int) -> bool:
        return number in self._progress and self._progress[number].done

    def _let_go(self, partitions: set[int]) -> None:
        for number in partitions:
            own = self._own.pop(number, None)
            if own is not None and own.replay is not None:
                self._close(own.replay)

    def _close(self, replay: PartitionReplay) -> None:
        self._learnt += replay.learnt
        replay.close()

    def _failed(self, number: int, exc: Exception) -> None:
        """Let go of a partition, and take it over again if it is still ours: its progress tells where to go on."""
        own = self._own[number]
        replay, own.replay = own.replay, None
        if replay is not None:
            if replay.progress.events_next > own.at:
                own.failures, own.at = 0, replay.progress.events_next
            self._close(replay)
        own.failures += 1
        if own.failures > MAX_TAKEN_AGAIN:
            raise ReplayError(
                f"Partition {number} was lost {own.failures} times without progress, the last time so: {exc} "
                "What is done is kept; the same command goes on from there."
            ) from exc
        logger.warning("Partition %d is let go of: %s", number, exc)
        own.try_at = self._clock() + _TAKE_AGAIN_S

    # --- work -------------------------------------------------------------------------------------------

    def _step(self) -> bool:
        """Take in what is done and read one chunk; returns whether there may be more to do at once."""
        active = [(number, own.replay) for number, own in self._own.items() if own.replay is not None]
        for number, replay in active:
            try:
                replay.poll()
            except (FencedError, FatalTransactionError) as exc:
                self._failed(number, exc)
                return True
            if replay.progress is not self._progress.get(number):
                self._moved(number, replay.progress)
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
        except _AWAY as exc:
            self._failed(number, exc)
        return True

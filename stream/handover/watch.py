"""The worker's own hand-over: a thread that leads while this worker has the first input partition.

Faust's leader topic would say the same: one process of the group has a given partition. But nothing here depends on
there being one only, since the later of two leaders fences the earlier. A worker never ends by it.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from stream.exactly_once.kafka.offsets import Cancelled
from stream.handover.leader import HandoverLeader

logger = logging.getLogger(__name__)

_READ_S = 0.5
_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 60.0
TERM_S = 3600.0
"""Then it leads anew: the ends are written again, and partitions that were added are seen."""


class HandoverMetrics(Protocol):
    """What the thread reports; stream.worker.metrics.WorkerMetrics is one."""

    def on_handover(self) -> None:
        """A request is committed."""
        ...

    def show_handover(self, leads: bool, waiting: int) -> None:
        """Whether this process leads, and how many examples it has counted that are not handed over."""
        ...


class HandoverThread:
    """Leads, reads and hands over while `leads()`; after an error it pauses and leads anew.

    leads: safe to call from any thread. make: becomes leader, or raises Cancelled soon after its argument is true.
    first_pause_s: after an error; doubles up to a minute while errors go on. clock: monotonic seconds.
    """

    def __init__(
        self,
        leads: Callable[[], bool],
        make: Callable[[Callable[[], bool]], HandoverLeader],
        metrics: HandoverMetrics,
        *,
        first_pause_s: float = _FIRST_PAUSE_S,
        term_s: float = TERM_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leads = leads
        self._make = make
        self._metrics = metrics
        self._first_pause_s = self._pause_s = first_pause_s
        self._term_s = term_s
        self._clock = clock
        self._trouble: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sway-handover", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; what it has not handed over waits for the next leader."""
        self._stopping.set()

    def join(self, timeout_s: float) -> bool:
        """Wait until the thread has ended; returns whether it has."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.wait(_READ_S):
            if not self._leads():
                continue
            try:
                self._lead()
            except Cancelled:
                pass
            except Exception as exc:  # a broker can be away, a schema unknown; the stream goes on
                self._note(exc)
                self._stopping.wait(self._pause_s)
                self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            finally:
                self._metrics.show_handover(leads=False, waiting=0)

    def _over(self) -> bool:
        return self._stopping.is_set() or not self._leads()

    def _lead(self) -> None:
        with self._make(self._over) as leader:
            if self._trouble is not None:
                logger.info("Hands examples over again")
            self._trouble, self._pause_s = None, self._first_pause_s
            ends_at_s = self._clock() + self._term_s
            while not self._over() and self._clock() < ends_at_s:
                self._metrics.show_handover(leads=True, waiting=leader.waiting)
                leader.read(_READ_S)
                request = leader.hand_over()
                if request is not None:
                    self._metrics.on_handover()
                    logger.info("%s: %d examples (%s)", request.request_id, request.examples, request.reason)

    def _note(self, exc: Exception) -> None:
        trouble = f"{type(exc).__name__}: {exc}"
        if trouble != self._trouble:
            logger.warning("No examples are handed over; tried again later. %s", trouble)
        self._trouble = trouble

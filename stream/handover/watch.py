"""The worker's hand-over thread, which leads while this worker has input partition 0.

Only one process of the group has a given partition. Correctness does not depend on it, since the later of two leaders
fences the earlier one. A failure of this thread never ends the worker.
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
"""Duration of a term. Each new term commits the end offsets again and includes added partitions."""


class HandoverMetrics(Protocol):
    """The metrics that the thread reports; implemented by stream.worker.metrics.WorkerMetrics."""

    def on_handover(self) -> None:
        """Called when a request is committed."""
        ...

    def show_handover(self, leads: bool, waiting: int) -> None:
        """Set whether this process leads, and how many examples it has counted but not handed over."""
        ...


class HandoverThread:
    """Leads, reads and hands over while `leads()` is true; after an error it pauses and starts a new term.

    leads: must be thread-safe. make: creates a leader, or raises Cancelled soon after its argument returns true.
    first_pause_s: pause after an error; doubles up to a minute while errors continue. term_s: seconds after which a new
    term starts. clock: a monotonic clock, in seconds.
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
        self._last_error: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sway-handover", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to stop; examples that were not handed over remain for the next leader."""
        self._stopping.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end, and return whether it has ended."""
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
            # The stream continues after any failure, such as an unreachable broker or an unknown schema.
            except Exception as exc:
                self._log_once(exc)
                self._stopping.wait(self._pause_s)
                self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            finally:
                self._metrics.show_handover(leads=False, waiting=0)

    def _is_over(self) -> bool:
        return self._stopping.is_set() or not self._leads()

    def _lead(self) -> None:
        with self._make(self._is_over) as leader:
            if self._last_error is not None:
                logger.info("Handing over examples again")
            self._last_error, self._pause_s = None, self._first_pause_s
            ends_at_s = self._clock() + self._term_s
            while not self._is_over() and self._clock() < ends_at_s:
                self._metrics.show_handover(leads=True, waiting=leader.waiting)
                leader.read(_READ_S)
                request = leader.hand_over()
                if request is not None:
                    self._metrics.on_handover()
                    logger.info("%s: %d examples (%s)", request.request_id, request.examples, request.reason)

    def _log_once(self, exc: Exception) -> None:
        error = f"{type(exc).__name__}: {exc}"
        if error != self._last_error:
            logger.warning("Cannot hand over examples; will retry. %s", error)
        self._last_error = error

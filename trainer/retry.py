"""Retries of a training request.

After max_tries failures a request is rejected with the reason. An outage of Kafka, the Schema Registry or the
registry's storage does not count as a failure: it would affect every other request as well, and a rejection could not
be recorded. It is retried without limit.
"""

import logging
from collections.abc import Callable
from itertools import chain, repeat
from typing import Protocol

import torch
from confluent_kafka import KafkaException

from model.errors import ModelError
from schemas.errors import SchemaError
from schemas.records import TrainingRequest
from trainer.errors import TrainerError
from trainer.metrics import TrainerMetrics
from trainer.outages import is_outage
from trainer.progress import Stopped
from trainer.request import Decision

logger = logging.getLogger(__name__)

PAUSES_S = (1.0, 5.0, 30.0, 120.0)

_SAFE_ERRORS = (TrainerError, ModelError, SchemaError, KafkaException, OSError, torch.OutOfMemoryError)
"""Errors whose messages never contain a user's text."""


class Handler(Protocol):
    """Handles requests; see trainer.request.RequestHandler."""

    def handle(self, request: TrainingRequest) -> Decision:
        """Complete a request. Raises Stopped, or any failure."""
        ...

    def give_up(self, request: TrainingRequest, reason: str) -> Decision:
        """Reject a request."""
        ...

    def discard_work(self, request: TrainingRequest) -> None:
        """Delete the work folder of a request."""
        ...

    def storage_answers(self) -> bool:
        """Return whether the registry's storage is readable."""
        ...


class Retrier:
    """Runs a handler on one request at a time, with retries.

    wait: waits for the given seconds and returns whether to stop instead of trying again. max_tries: per request, at
    least 1. pauses_s: between tries, in seconds; the last one repeats.
    """

    def __init__(
        self,
        handler: Handler,
        wait: Callable[[float], bool],
        metrics: TrainerMetrics,
        *,
        max_tries: int,
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        self._handler = handler
        self._wait = wait
        self._metrics = metrics
        self._max_tries = max_tries
        self._pauses_s = pauses_s
        self._discarded = False
        self.failing: str | None = None
        """Why the last try of the current request failed, or None."""

    def run(self, request: TrainingRequest) -> Decision:
        """Return the decision on a request. Raises only Stopped."""
        failed, reason = 0, None
        self._discarded = False
        try:
            for pause_s in chain(self._pauses_s, repeat(self._pauses_s[-1])):
                try:
                    return self._next_try(request, failed, reason)
                except Stopped:
                    raise
                except BaseException as exc:  # includes SystemExit: a library must not end the service
                    outage = self._is_outage(exc)
                    if reason is None:
                        failed += not outage
                    elif not outage:  # the rejection failed too, so the request is not the cause
                        failed, reason = 0, None
                    self._record(request, exc, failed)
                if failed == self._max_tries and reason is None:
                    reason = (
                        f"given up after {failed} failed tries (trainer.max_tries), the last: {self.failing}"
                    )
                    continue
                self._metrics.enter("retrying")
                if self._wait(pause_s):
                    break
        finally:
            self.failing = None
        raise Stopped

    def _next_try(self, request: TrainingRequest, failed: int, give_up_for: str | None) -> Decision:
        if give_up_for is not None:
            decision = self._handler.give_up(request, give_up_for)
            self._metrics.on_result("given_up")
            return decision
        if 0 < failed == self._max_tries - 1 and not self._discarded:
            self._handler.discard_work(request)  # before the last try: the work folder may be the cause
            self._discarded = True  # once only: an outage during the last try must not discard its work
        decision = self._handler.handle(request)
        self._metrics.on_result(decision.event)
        return decision

    def _is_outage(self, exc: BaseException) -> bool:
        return is_outage(exc) or not self._handler.storage_answers()

    def _record(self, request: TrainingRequest, exc: BaseException, failed: int) -> None:
        self.failing = describe(exc)
        self._metrics.on_retry()
        logger.error(
            "Request %s failed (%d of at most %d tries, outages not counted): %s",
            request.request_id,
            failed,
            self._max_tries,
            self.failing,
            exc_info=exc,
        )


def describe(exc: BaseException) -> str:
    """Return an error's type and the first line of its message, if that cannot contain a user's text."""
    kind = type(exc).__name__
    if not isinstance(exc, _SAFE_ERRORS):
        return f"{kind}, see the trainer's log"
    lines = str(exc).splitlines()
    return f"{kind}: {lines[0]}" if lines else kind

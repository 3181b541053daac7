"""Tries a request until it has come to its end: outages are waited out, other failures are counted.

After max_tries failures of the request's own it is rejected with the reason, and the next one has its turn. An outage
of Kafka, a Schema Registry or the registry's storage is no failure of the request's: no other request could be done
either, and a rejection could not be told. It is waited out, however long it lasts.
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

_TOLD_ERRORS = (TrainerError, ModelError, SchemaError, KafkaException, OSError, torch.OutOfMemoryError)
"""Errors whose messages never hold a user's text."""


class Handler(Protocol):
    """Does the work; see trainer.request.RequestHandler."""

    def handle(self, request: TrainingRequest) -> Decision:
        """Bring a request to its end; raises Stopped, or what failed."""
        ...

    def give_up(self, request: TrainingRequest, reason: str) -> Decision:
        """Reject a request."""
        ...

    def start_anew(self, request: TrainingRequest) -> None:
        """Delete what was kept of it."""
        ...

    def storage_answers(self) -> bool:
        """Say whether the registry's storage can be read."""
        ...


class Trying:
    """Brings one request after the other to its end.

    wait: waits so many seconds, and says whether to stop instead of trying again. max_tries: of a request, at least 1.
    pauses_s: between tries; the last one repeats.
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
        self._began_anew = False
        self.failing: str | None = None
        """Why the newest try failed; None while none has, and after a request has come to its end."""

    def until_done(self, request: TrainingRequest) -> Decision:
        """Return what the request came to. Raises Stopped, and nothing else."""
        failed, reason = 0, None
        self._began_anew = False
        try:
            for pause_s in chain(self._pauses_s, repeat(self._pauses_s[-1])):
                try:
                    return self._next_try(request, failed, reason)
                except Stopped:
                    raise
                except BaseException as exc:  # SystemExit as well: a library must not end the service
                    outage = self._is_outage(exc)
                    if reason is None:
                        failed += not outage
                    elif not outage:  # the rejection cannot be written either: it is not the request's fault
                        failed, reason = 0, None
                    self._note(request, exc, failed)
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
        if 0 < failed == self._max_tries - 1 and not self._began_anew:
            self._handler.start_anew(request)  # the last try: what was kept may be the cause
            self._began_anew = True  # an outage in it is waited out without losing the work again
        decision = self._handler.handle(request)
        self._metrics.on_result(decision.event)
        return decision

    def _is_outage(self, exc: BaseException) -> bool:
        return is_outage(exc) or not self._handler.storage_answers()

    def _note(self, request: TrainingRequest, exc: BaseException, failed: int) -> None:
        self.failing = told(exc)
        self._metrics.on_retry()
        logger.error(
            "Request %s failed (%d of at most %d tries, outages not counted): %s",
            request.request_id,
            failed,
            self._max_tries,
            self.failing,
            exc_info=exc,
        )


def told(exc: BaseException) -> str:
    """Return an error's kind, and its message's first line where no user's text can be in it."""
    kind = type(exc).__name__
    if not isinstance(exc, _TOLD_ERRORS):
        return f"{kind}, see the trainer's log"
    lines = str(exc).splitlines()
    return f"{kind}: {lines[0]}" if lines else kind

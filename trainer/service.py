"""The trainer service: requests from sway.training, one at a time, each committed when it has come to its end.

A training takes minutes to hours, and a consumer that does not poll is thrown out of its group: so the work runs on a
thread, and the consumer goes on polling its paused partition. Killed at any moment, the next start reads the request
again and finds what was done (trainer.request).
"""

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from schemas.errors import DecodeError
from schemas.records import TrainingRequest
from schemas.wire import Codec
from trainer.progress import Progress
from trainer.request import Decision

logger = logging.getLogger(__name__)

_POLL_S = 0.2
_RETRY_PAUSES_S = (1.0, 5.0, 30.0, 120.0)


class Stopped(Exception):  # noqa: N818 -- nothing is wrong
    """The service was asked to end while it trained; the training resumes the next time."""


class TrainerService:
    """Reads requests until stop() is called.

    group_id: trainers of one group share the requests; the topic has one partition, so one of them works.
    handle: brings a request to its end, and raises for what may work later.
    """

    def __init__(
        self,
        client_config: Mapping[str, str],
        group_id: str,
        topic: str,
        handle: Callable[[TrainingRequest], Decision],
        codec: Codec[TrainingRequest] | None = None,
        *,
        retry_pauses_s: tuple[float, ...] = _RETRY_PAUSES_S,
    ) -> None:
        self._topic = topic
        self._handle = handle
        self._codec = codec or Codec(TrainingRequest)
        self._retry_pauses_s = retry_pauses_s
        self._stopping = threading.Event()
        self._consumer = Consumer(
            {
                **client_config,
                "group.id": group_id,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "logger": logger,
            }
        )

    def stop(self) -> None:
        """Ask it to end; may be called from a signal handler."""
        self._stopping.set()

    def on_progress(self, progress: Progress) -> None:
        """Log a stage's beginning; raises Stopped when the service is to end. Give it to the RequestHandler."""
        if self._stopping.is_set():
            raise Stopped
        if progress.done <= 1:
            logger.info("%s: %d to do", progress.stage, progress.total)

    def run(self) -> None:
        """Handle requests until stop(). Raises KafkaException if the cluster refuses what it asks."""
        self._consumer.subscribe([self._topic])
        with ThreadPoolExecutor(1, "training") as worker:
            try:
                while not self._stopping.is_set():
                    message = self._poll()
                    if message is not None:
                        self._take(message, worker)
            finally:
                self._consumer.close()

    def _poll(self) -> Message | None:
        message: Message | None = self._consumer.poll(_POLL_S)
        error = None if message is None else message.error()
        if error is None:
            return message
        if error.fatal():
            raise KafkaException(error)
        logger.warning("%s: %s", self._topic, error.str())
        return None

    def _take(self, message: Message, worker: ThreadPoolExecutor) -> None:
        where = f"{message.topic()}[{message.partition()}]@{message.offset()}"
        try:
            request = self._codec.decode(message.value())
        except DecodeError as exc:
            logger.warning("%s is passed over, it is no TrainingRequest: %s", where, exc)
        else:
            logger.info("Request %s of %d examples (%s)", request.request_id, request.examples, where)
            if not self._work(worker.submit(self._until_done, request)):
                return  # not committed: it is read again
        self._commit(message)

    def _until_done(self, request: TrainingRequest) -> Any:
        """On the worker's thread: try until it comes to an end, in growing pauses."""
        tries = 0
        while True:
            try:
                decision = self._handle(request)
            except Stopped:
                raise
            except Exception:
                pause_s = self._retry_pauses_s[min(tries, len(self._retry_pauses_s) - 1)]
                tries += 1
                logger.exception("Request %s failed; again in %g s", request.request_id, pause_s)
                if self._stopping.wait(pause_s):
                    raise Stopped from None
            else:
                logger.info("Version %s %s", decision.version, decision.reason)
                return decision

    def _work(self, future: "Future[Any]") -> bool:
        """Keep the membership alive until the work has ended; say whether it came to its end."""
        while not future.done():
            self._consumer.pause(self._consumer.assignment())  # also what a rebalance has brought anew
            message = self._poll()
            if message is not None:  # it slipped in between: give it back
                self._consumer.seek(_position(message))
        try:
            future.result()
        except Stopped:
            return False
        self._consumer.resume(self._consumer.assignment())
        return True

    def _commit(self, message: Message) -> None:
        """Commit behind a request. Where that fails another trainer has it by now, and finds the work done."""
        next_offset = _position(message)
        next_offset.offset += 1
        try:
            self._consumer.commit(offsets=[next_offset], asynchronous=False)
        except KafkaException as exc:
            logger.warning("The request's offset was not committed: %s", exc.args[0].str())


def _position(message: Message) -> TopicPartition:
    return TopicPartition(message.topic() or "", message.partition() or 0, message.offset() or 0)

"""The trainer service: handles requests from sway.training one at a time, and commits completed ones.

A training takes minutes to hours, and a consumer that does not poll is removed from its group. The work therefore runs
on a thread while the consumer polls with its partition paused. After a crash, the next start reads the request again
and reuses its work (trainer.request).

The topic has one partition, so one trainer of a group is active and the others are on standby. Assignment is
cooperative-sticky: a new member does not take the partition from the active trainer. It is assigned the partition when
that trainer leaves or its session expires. A trainer that loses the partition stops its work, because the partition
then belongs to another trainer.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from clients.transient import is_transient
from schemas.errors import DecodeError, RegistryUnavailable
from schemas.records import TrainingRequest
from schemas.wire import Codec
from trainer.errors import ServiceError
from trainer.metrics import TrainerMetrics, phase_of
from trainer.progress import Progress, ProgressLines, Stopped
from trainer.request import Decision
from trainer.retry import PAUSES_S, Handler, Retrier

logger = logging.getLogger(__name__)

_POLL_S = 0.2
_COMMIT_S = 60.0  # the timeout of a commit
_CLOSE_S = 5.0
_STOP_S = 20.0
_WARN_AGAIN_S = 60.0
_REGISTRY_PAUSE_S = 1.0

WAITING = "waiting"


class TrainerService:
    """Handles requests until stop() is called.

    group_id: the consumer group; its members share the requests. handler: does the work. max_tries, retry_pauses_s: see
    trainer.retry. stop_s: the time that stop() leaves the work to end, in seconds.
    consumer: creates the consumer from its configuration.
    """

    def __init__(
        self,
        client_config: Mapping[str, str],
        group_id: str,
        topic: str,
        handler: Handler,
        codec: Codec[TrainingRequest] | None = None,
        *,
        max_tries: int = 8,
        retry_pauses_s: tuple[float, ...] = PAUSES_S,
        stop_s: float = _STOP_S,
        metrics: TrainerMetrics | None = None,
        consumer: Callable[[dict[str, Any]], Consumer] = Consumer,
    ) -> None:
        self.metrics = metrics or TrainerMetrics()
        self._topic = topic
        self._codec = codec or Codec(TrainingRequest)
        self._stop_s = stop_s
        self._stopping = threading.Event()
        self._stop_by_s: float | None = None
        self._cancelled = threading.Event()  # cancels the work: the service stops, or the partition is lost
        self._work: Future[Decision] | None = None
        self._closer: threading.Thread | None = None
        self._stage = ""
        self._lines = ProgressLines(logger.info)
        self._owns = False
        self._not_in_group: str | None = "starting"
        self._commits: list[KafkaError | None] = []
        self._warn_again_s: dict[int | str, float] = {}
        self._retrier = Retrier(
            handler, self._cancelled.wait, self.metrics, max_tries=max_tries, pauses_s=retry_pauses_s
        )
        self._consumer = consumer(
            {
                **client_config,
                "group.id": group_id,
                "partition.assignment.strategy": "cooperative-sticky",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "on_commit": self._on_commit,
                "error_cb": lambda error: self._warn(error.code(), error.str()),
                "log_level": 0,  # librdkafka would log an unreachable broker twenty times a second
            }
        )

    # --- from other threads -----------------------------------------------------------------------------

    def stop(self) -> None:
        """Request the end of run(); may be called from a signal handler."""
        if self._stop_by_s is None:
            self._stop_by_s = time.monotonic() + self._stop_s
        self._stopping.set()
        self._cancelled.set()

    def check(self) -> None:
        """Raise Stopped if the current work is cancelled. Long operations call it between steps."""
        if self._cancelled.is_set():
            raise Stopped

    def on_progress(self, progress: Progress) -> None:
        """Record and log progress, as the RequestHandler's callback. Raises Stopped if the work is cancelled."""
        self.check()
        phase = phase_of(progress.stage)
        if phase is not None:
            self.metrics.enter(phase)
        self._stage = progress.stage
        self._lines(progress)

    @property
    def not_ready_because(self) -> str | None:
        """Why no requests are handled, or None. A trainer on standby is ready."""
        if self._stopping.is_set():
            return "stopping"
        failing = self._retrier.failing
        return self._not_in_group if failing is None else f"trying again after {failing}"

    @property
    def has_ended(self) -> bool:
        """Whether no thread of the service is running.

        Otherwise only the exit of the process ends them, which loses nothing.
        """
        working = self._work is not None and not self._work.done()
        return not working and (self._closer is None or not self._closer.is_alive())

    # --- the loop ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Handle requests until stop(); return at most stop_s + 5 s after it (see has_ended).

        Raises ServiceError for a fatal error of the consumer.
        """
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )
        try:
            while not self._stopping.is_set():
                message = self._poll()
                if message is not None:
                    self._take(message)
        finally:
            self.stop()
            if self._work is not None and self._stop_by_s is not None:
                wait([self._work], max(0.0, self._stop_by_s - time.monotonic()))
            self._close()

    def _take(self, message: Message) -> None:
        where = f"{message.topic()}[{message.partition()}]@{message.offset()}"
        try:
            request = self._codec.decode(message.value())
        except RegistryUnavailable as exc:
            self._warn("Schema Registry", str(exc))
            self._read_again(message)
            done = False
        except DecodeError as exc:
            logger.warning("%s is skipped: it is no TrainingRequest: %s", where, exc)
            self.metrics.on_result("undecodable")
            done = True
        else:
            logger.info("Request %s of %d examples (%s)", request.request_id, request.examples, where)
            done = self._complete(request)
        if done:  # otherwise this or another trainer reads it again
            self._commit(message)
        self.metrics.enter(WAITING)
        if not self._stopping.is_set():
            self._consumer.resume(self._consumer.assignment())

    def _read_again(self, message: Message) -> None:
        """Seek back to this record and wait a second."""
        with suppress(KafkaException):  # the partition may be revoked
            self._consumer.seek(TopicPartition(self._topic, message.partition() or 0, message.offset() or 0))
        self._stopping.wait(_REGISTRY_PAUSE_S)

    def _complete(self, request: TrainingRequest) -> bool:
        """Run the work; return whether the request was completed, False if the work was cancelled."""
        self._stage = ""
        self._lines = ProgressLines(logger.info)
        self._work = work = Future[Decision]()
        self._cancelled.clear()  # may be set by a loss of the partition before this request
        if self._stopping.is_set():
            self._cancelled.set()
        threading.Thread(target=self._run_work, args=(work, request), name="training", daemon=True).start()
        self._wait_for_work()
        if not work.done():
            logger.warning("%s did not end within %g s and is abandoned", self._stage, self._stop_s)
            return False
        try:
            decision = work.result()
        except Stopped:
            logger.info("Request %s is interrupted and resumes later", request.request_id)
            return False
        logger.info("Version %s %s", decision.version, decision.reason)
        return True

    def _run_work(self, work: "Future[Decision]", request: TrainingRequest) -> None:
        try:
            work.set_result(self._retrier.run(request))
        except BaseException as exc:
            work.set_exception(exc)

    def _wait_for_work(self) -> None:
        """Poll, to stay in the group, until the work has ended or the deadline of stop() has passed."""
        while self._work is not None and not self._work.done() and not self._is_late():
            self._poll_paused()
            self._lines.tick()

    def _is_late(self) -> bool:
        return self._stop_by_s is not None and time.monotonic() > self._stop_by_s

    # --- Kafka ------------------------------------------------------------------------------------------

    def _poll(self) -> Message | None:
        message: Message | None = self._consumer.poll(_POLL_S)
        joined = bool(self._consumer.memberid())
        error = None if message is None else message.error()
        if error is None:
            self._set_membership(None if joined else "joining the group")
            return message
        if error.fatal():
            raise ServiceError(f"the trainer's consumer has a fatal error: {error.str()}")
        problem = error.str()
        if error.code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL:
            problem += "; the group has a trainer of an older release: stop it first"
        self._set_membership(problem)
        self._warn(error.code(), problem)
        return None

    def _warn(self, kind: int | str, problem: str) -> None:
        """Log a connection problem, at most once a minute per kind."""
        now_s = time.monotonic()
        if now_s >= self._warn_again_s.get(kind, now_s):
            logger.warning("%s: %s", self._topic, problem)
            self._warn_again_s[kind] = now_s + _WARN_AGAIN_S

    def _set_membership(self, problem: str | None) -> None:
        self._not_in_group = problem
        self.metrics.owner.set(self._owns)
        self.metrics.ready.set(self.not_ready_because is None)

    def _poll_paused(self) -> None:
        """Poll with all partitions paused."""
        self._consumer.pause(self._consumer.assignment())  # a rebalance may have assigned new ones
        message = self._poll()
        if message is None:
            return
        try:  # fetched before the pause: seek back to it
            self._consumer.seek(_position(message))
        except KafkaException:
            if self._owns:
                raise

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._owns = self._owns or bool(partitions)

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Cancel the current work: the next owner of the partition handles the same request."""
        if partitions:
            self._owns = False
            if not self._stopping.is_set():
                logger.warning("The partition of %s was revoked", self._topic)
            self._cancelled.set()

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        self._commits.append(error or next((part.error for part in partitions if part.error), None))

    def _commit(self, message: Message) -> None:
        """Commit the offset after a request. If that fails, the request is read again and its work is reused."""
        next_offset = _position(message)
        next_offset.offset += 1
        error: KafkaError | None = None
        while self._owns and not self._is_late():
            error = self._commit_once(next_offset)
            if error is None:
                return
            if not is_transient(error):
                break
        reason = "the partition was revoked" if error is None else error.str()
        logger.warning("The request's offset was not committed: %s", reason)

    def _commit_once(self, next_offset: TopicPartition) -> KafkaError | None:
        """Commit an offset; return Kafka's error or None.

        It polls while it waits, which serves rebalances and the commit's callback.
        """
        self._commits.clear()
        try:
            self._consumer.commit(offsets=[next_offset], asynchronous=True)
        except KafkaException as exc:
            error: KafkaError = exc.args[0]
            return error
        give_up_s = time.monotonic() + _COMMIT_S
        while not self._commits and not self._is_late() and time.monotonic() < give_up_s:
            self._poll_paused()
        return self._commits[0] if self._commits else KafkaError(KafkaError._TIMED_OUT)

    def _close(self) -> None:
        """Leave the group, on a thread: without a reachable broker this may block, so it is given at most 5 s."""
        self._closer = threading.Thread(target=self._consumer.close, name="close", daemon=True)
        self._closer.start()
        self._closer.join(_CLOSE_S)


def _position(message: Message) -> TopicPartition:
    return TopicPartition(message.topic() or "", message.partition() or 0, message.offset() or 0)

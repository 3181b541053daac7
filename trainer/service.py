"""The trainer service: requests from sway.training, one at a time, each committed when it has come to its end.

A training takes minutes to hours, and a consumer that does not poll is thrown out of its group: so the work runs on a
thread, and the consumer goes on polling its paused partition. Killed at any moment, the next start reads the request
again and finds what was done (trainer.request).

The topic has one partition, so of a group of trainers one works and the others stand by. Assignment is
cooperative-sticky: a trainer that joins takes nothing from the one that works, and has its partition when that one
leaves or its session is over. A trainer that loses the partition stops what it does: it is another's by then.
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
from trainer.trying import PAUSES_S, Handler, Trying

logger = logging.getLogger(__name__)

_POLL_S = 0.2
_COMMIT_S = 60.0  # for an answer to a commit
_CLOSE_S = 5.0
_STOP_S = 20.0
_WARN_AGAIN_S = 60.0
_REGISTRY_PAUSE_S = 1.0

WAITING = "waiting"


class TrainerService:
    """Reads requests until stop() is called.

    group_id: trainers of one group share the requests. handler: does the work. max_tries, retry_pauses_s: see
    trainer.trying. stop_s: how long stop() leaves to the work to end by itself.
    consumer: makes the consumer from its configuration.
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
        self._abandon = threading.Event()  # what is under way: the service stops, or another trainer has it
        self._work: Future[Decision] | None = None
        self._closer: threading.Thread | None = None
        self._stage = ""
        self._lines = ProgressLines(logger.info)
        self._owns = False
        self._not_in_group: str | None = "starting"
        self._commits: list[KafkaError | None] = []
        self._warn_again_s: dict[int | str, float] = {}
        self._trying = Trying(
            handler, self._abandon.wait, self.metrics, max_tries=max_tries, pauses_s=retry_pauses_s
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
                "log_level": 0,  # a broker that is away would be logged twenty times a second
            }
        )

    # --- from other threads -----------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask it to end; may be called from a signal handler."""
        if self._stop_by_s is None:
            self._stop_by_s = time.monotonic() + self._stop_s
        self._stopping.set()
        self._abandon.set()

    def check(self) -> None:
        """Raise Stopped if the work under way is to end; between steps that take long."""
        if self._abandon.is_set():
            raise Stopped

    def on_progress(self, progress: Progress) -> None:
        """Note and log what is being done; raises Stopped if it is to end. Give it to the RequestHandler."""
        self.check()
        phase = phase_of(progress.stage)
        if phase is not None:
            self.metrics.enter(phase)
        self._stage = progress.stage
        self._lines(progress)

    @property
    def not_ready_because(self) -> str | None:
        """Why no requests are taken, or None; a trainer that stands by is ready."""
        if self._stopping.is_set():
            return "stopping"
        failing = self._trying.failing
        return self._not_in_group if failing is None else f"trying again after {failing}"

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it runs any more. If not, only the end of the process ends it, which loses nothing."""
        working = self._work is not None and not self._work.done()
        return not working and (self._closer is None or not self._closer.is_alive())

    # --- the loop ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Handle requests until stop(); returns within stop_s and five seconds of it, see has_ended.

        Raises ServiceError if the cluster refuses what it asks.
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
            logger.warning("%s is passed over, it is no TrainingRequest: %s", where, exc)
            self.metrics.on_result("undecodable")
            done = True
        else:
            logger.info("Request %s of %d examples (%s)", request.request_id, request.examples, where)
            done = self._until_done(request)
        if done:  # else it is read again, by this trainer or by another
            self._commit(message)
        self.metrics.enter(WAITING)
        if not self._stopping.is_set():
            self._consumer.resume(self._consumer.assignment())

    def _read_again(self, message: Message) -> None:
        """Have the next poll bring this record again, after a second."""
        with suppress(KafkaException):  # the partition may be another trainer's by now
            self._consumer.seek(TopicPartition(self._topic, message.partition() or 0, message.offset() or 0))
        self._stopping.wait(_REGISTRY_PAUSE_S)

    def _until_done(self, request: TrainingRequest) -> bool:
        """Say whether the request came to its end; not where the work was abandoned."""
        self._stage = ""
        self._lines = ProgressLines(logger.info)
        self._work = work = Future[Decision]()
        self._abandon.clear()  # a loss of the partition before this request was read
        if self._stopping.is_set():
            self._abandon.set()
        threading.Thread(target=self._run_work, args=(work, request), name="training", daemon=True).start()
        self._wait_for_work()
        if not work.done():
            logger.warning("%s does not end within %g s and is abandoned", self._stage, self._stop_s)
            return False
        try:
            decision = work.result()
        except Stopped:
            logger.info("Request %s is left where it is; it resumes from there", request.request_id)
            return False
        logger.info("Version %s %s", decision.version, decision.reason)
        return True

    def _run_work(self, work: "Future[Decision]", request: TrainingRequest) -> None:
        try:
            work.set_result(self._trying.until_done(request))
        except BaseException as exc:
            work.set_exception(exc)

    def _wait_for_work(self) -> None:
        """Keep the membership alive until the work has ended, or was to end and has not for too long."""
        while self._work is not None and not self._work.done() and not self._is_late():
            self._hold()
            self._lines.tick()

    def _is_late(self) -> bool:
        return self._stop_by_s is not None and time.monotonic() > self._stop_by_s

    # --- Kafka ------------------------------------------------------------------------------------------

    def _poll(self) -> Message | None:
        message: Message | None = self._consumer.poll(_POLL_S)
        joined = bool(self._consumer.memberid())
        error = None if message is None else message.error()
        if error is None:
            self._show_membership(None if joined else "joining the group")
            return message
        if error.fatal():
            raise ServiceError(f"Kafka refuses the trainer's consumer: {error.str()}")
        problem = error.str()
        if error.code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL:
            problem += "; a trainer of an older release is in the group: stop it first"
        self._show_membership(problem)
        self._warn(error.code(), problem)
        return None

    def _warn(self, kind: int | str, problem: str) -> None:
        """Log a problem of a connection, and one of the same kind again after a while."""
        now_s = time.monotonic()
        if now_s >= self._warn_again_s.get(kind, now_s):
            logger.warning("%s: %s", self._topic, problem)
            self._warn_again_s[kind] = now_s + _WARN_AGAIN_S

    def _show_membership(self, problem: str | None) -> None:
        self._not_in_group = problem
        self.metrics.owner.set(self._owns)
        self.metrics.ready.set(self.not_ready_because is None)

    def _hold(self) -> None:
        """Poll without taking a record."""
        self._consumer.pause(self._consumer.assignment())  # also what a rebalance has brought anew
        message = self._poll()
        if message is None:
            return
        try:  # it slipped in between: give it back
            self._consumer.seek(_position(message))
        except KafkaException:
            if self._owns:
                raise

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._owns = self._owns or bool(partitions)

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Abandon what is under way: whoever gets the partition begins with the same request."""
        if partitions:
            self._owns = False
            if not self._stopping.is_set():
                logger.warning("The partition of %s is another trainer's now, or nobody's", self._topic)
            self._abandon.set()

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        self._commits.append(error or next((part.error for part in partitions if part.error), None))

    def _commit(self, message: Message) -> None:
        """Commit behind a request. Where that fails it is read again, and the work found done."""
        next_offset = _position(message)
        next_offset.offset += 1
        error: KafkaError | None = None
        while self._owns and not self._is_late():
            error = self._commit_once(next_offset)
            if error is None:
                return
            if not is_transient(error):
                break
        told = "the partition is another's" if error is None else error.str()
        logger.warning("The request's offset was not committed: %s", told)

    def _commit_once(self, next_offset: TopicPartition) -> KafkaError | None:
        """Return Kafka's error, None for none. Polls meanwhile, for a rebalance and for the answer itself."""
        self._commits.clear()
        try:
            self._consumer.commit(offsets=[next_offset], asynchronous=True)
        except KafkaException as exc:
            error: KafkaError = exc.args[0]
            return error
        give_up_s = time.monotonic() + _COMMIT_S
        while not self._commits and not self._is_late() and time.monotonic() < give_up_s:
            self._hold()
        return self._commits[0] if self._commits else KafkaError(KafkaError._TIMED_OUT)

    def _close(self) -> None:
        """Leave the group; without brokers that takes a while, and is not waited for."""
        self._closer = threading.Thread(target=self._consumer.close, name="close", daemon=True)
        self._closer.start()
        self._closer.join(_CLOSE_S)


def _position(message: Message) -> TopicPartition:
    return TopicPartition(message.topic() or "", message.partition() or 0, message.offset() or 0)

"""A fake consumer and a fake handler for the trainer service. They need no broker and train no model."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from schemas.records import OffsetRange, TrainingRequest
from schemas.wire import Codec
from tests.integration.conftest import wait_for
from trainer.request import PROMOTED, REJECTED, Decision
from trainer.service import TrainerService

TOPIC = "t.training"
PARTITION = TopicPartition(TOPIC, 0)
JOIN_S = 60.0


def request(number: int) -> TrainingRequest:
    ranges = [OffsetRange("t.examples", 0, number, number + 1)]
    return TrainingRequest(f"r{number}", ranges, examples=1, created_at=0, reason="labels")


class FakeMessage:
    def __init__(self, offset: int, value: bytes, error: KafkaError | None = None) -> None:
        self._offset = offset
        self._value = value
        self._error = error

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value


class FakeConsumer:
    """Consumer of a topic with one partition. Assignment and loss take effect in the next poll()."""

    def __init__(self, values: Sequence[bytes]) -> None:
        self.values = values
        self.committed = 0
        self.commit_errors: deque[KafkaError] = deque()
        self.poll_error: KafkaError | None = None
        """Error of every poll while it is set."""
        self.closed = False
        self.paused = False
        self._position = 0
        self._owned = False
        self._due: deque[Callable[[], None]] = deque()
        self._config: dict[str, Any] = {}

    def __call__(self, config: dict[str, Any]) -> Any:
        self._config = config
        return self

    def subscribe(self, topics: list[str], **callbacks: Callable[..., None]) -> None:
        assert topics == [TOPIC]
        self._callbacks = callbacks
        self.assign_partition()

    def assign_partition(self) -> None:
        """Assign the partition in the next poll."""
        self._due.append(self._assign)

    def lose_partition(self) -> None:
        """Take the partition away in the next poll."""
        self._due.append(self._lose)

    def poll(self, timeout_s: float) -> FakeMessage | None:
        if self._due:
            self._due.popleft()()
            return None
        if self.poll_error is not None:
            threading.Event().wait(0.002)
            return FakeMessage(0, b"", self.poll_error)
        if self._owned and not self.paused and self._position < len(self.values):
            self._position += 1
            return FakeMessage(self._position - 1, self.values[self._position - 1])
        # A poll without a record blocks for a while.
        threading.Event().wait(0.002)
        return None

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous
        assert self._owned
        error = self.commit_errors.popleft() if self.commit_errors else None
        if error is None:
            self.committed = offsets[0].offset
        self._due.append(lambda: self._config["on_commit"](error, offsets))

    def memberid(self) -> str | None:
        return "member"

    def assignment(self) -> list[TopicPartition]:
        return [PARTITION] if self._owned else []

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.paused = bool(partitions)

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.paused = False

    def seek(self, position: TopicPartition) -> None:
        if not self._owned:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self._position = position.offset

    def close(self) -> None:
        self.closed = True

    def _assign(self) -> None:
        self._owned, self._position, self.paused = True, self.committed, False
        self._callbacks["on_assign"](self, [PARTITION])

    def _lose(self) -> None:
        self._owned = False
        self._callbacks["on_lost"](self, [PARTITION])


class FakeHandler:
    """Handler that promotes each request after `work` and records its calls."""

    def __init__(self, work: Callable[[TrainingRequest], None] = lambda _: None) -> None:
        self.work = work
        self.handled: list[str] = []
        self.given_up: list[tuple[str, str]] = []
        self.discarded: list[str] = []
        self.storage = True

    def handle(self, request: TrainingRequest) -> Decision:
        self.handled.append(request.request_id)
        self.work(request)
        return Decision(f"v-{request.request_id}", PROMOTED, "better", {})

    def give_up(self, request: TrainingRequest, reason: str) -> Decision:
        self.given_up.append((request.request_id, reason))
        return Decision(f"v-{request.request_id}", REJECTED, reason, {})

    def discard_work(self, request: TrainingRequest) -> None:
        self.discarded.append(request.request_id)

    def storage_answers(self) -> bool:
        return self.storage


class RunningService:
    """A trainer service on its own thread. requests: number of requests in the topic, or the record values."""

    def __init__(self, handler: Any, *, requests: int | Sequence[bytes] = 1, **options: Any) -> None:
        codec = Codec(TrainingRequest)
        values = (
            [codec.encode(request(number)) for number in range(requests)]
            if isinstance(requests, int)
            else requests
        )
        self.consumer = FakeConsumer(values)
        options = {"retry_pauses_s": (0.0,), "max_tries": 3, **options}
        self.service = TrainerService({}, "g", TOPIC, handler, consumer=self.consumer, **options)
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.service.run()
        except Exception as exc:
            self.failure = exc

    def start(self) -> "RunningService":
        self._thread.start()
        return self

    def join(self) -> None:
        """Wait until run() has returned."""
        self._thread.join(JOIN_S)
        assert not self._thread.is_alive(), "run() has not returned"
        assert self.consumer.closed

    def stop(self) -> None:
        """Stop the service and wait until it has ended."""
        self.service.stop()
        self.join()
        assert self.failure is None, self.failure

    def count(self, result: str) -> float:
        """Return the number of requests with a result, as shown by the metrics."""
        value = self.service.metrics.registry.get_sample_value(
            "sway_trainer_requests_total", {"result": result}
        )
        assert value is not None
        return value


def fails_for(request_id: str, failure: BaseException) -> FakeHandler:
    """Return a handler whose work fails for one request."""

    def work(training_request: TrainingRequest) -> None:
        if training_request.request_id == request_id:
            raise failure

    return FakeHandler(work)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition. what: its name in the error after a minute."""
    wait_for(condition, what, 60)


def work_until_stopped(running: RunningService) -> None:
    """Work until the service raises Stopped."""
    while True:
        running.service.check()
        threading.Event().wait(0.002)

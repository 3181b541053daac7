"""The trainer service in its consumer group: loss of the partition, commits and readiness."""

import threading

from confluent_kafka import KafkaError

from schemas.records import TrainingRequest
from tests.unit.trainer.fakes import FakeHandler, RunningService, wait_until, work_until_stopped
from trainer.errors import ServiceError


def test_losing_the_partition_stops_the_work_without_a_commit() -> None:
    lost = threading.Event()

    def work(_: TrainingRequest) -> None:
        if not lost.is_set():
            running.consumer.lose_partition()
            work_until_stopped(running)

    handler = FakeHandler(work)
    running = RunningService(handler)
    running.start()
    wait_until(lambda: running.service.has_ended and bool(handler.handled), "end of the work")
    assert running.consumer.committed == 0
    lost.set()
    # No other trainer has handled the request in the meantime.
    running.consumer.assign_partition()
    wait_until(lambda: running.consumer.committed == 1, "commit")
    running.stop()
    assert handler.handled == ["r0", "r0"]


def test_a_request_done_by_another_trainer_is_not_repeated() -> None:
    lost = threading.Event()

    def work(training_request: TrainingRequest) -> None:
        while training_request.request_id == "r0":
            running.service.check()
            lost.wait(0.002)

    handler = FakeHandler(work)
    running = RunningService(handler, requests=2)
    running.start()
    wait_until(lambda: handler.handled == ["r0"], "first request")
    running.consumer.lose_partition()
    wait_until(lambda: not running.consumer.assignment(), "loss of the partition")
    # The other trainer has committed the first request.
    running.consumer.committed = 1
    running.consumer.assign_partition()
    wait_until(lambda: running.consumer.committed == 2, "commit of the second")
    running.stop()
    assert handler.handled == ["r0", "r1"]


def test_a_loss_while_idle_does_not_stop_later_requests() -> None:
    handler = FakeHandler()
    running = RunningService(handler, requests=1)
    values, running.consumer.values = running.consumer.values, []
    running.start()
    wait_until(lambda: bool(running.consumer.assignment()), "partition")
    running.consumer.lose_partition()
    wait_until(lambda: not running.consumer.assignment(), "loss of the partition")
    running.consumer.values = values
    running.consumer.assign_partition()
    wait_until(lambda: running.consumer.committed == 1, "commit")
    running.stop()
    assert handler.handled == ["r0"]


def test_a_commit_during_a_rebalance_is_repeated() -> None:
    running = RunningService(FakeHandler())
    running.consumer.commit_errors.extend([KafkaError(KafkaError.REBALANCE_IN_PROGRESS)] * 3)
    running.start()
    wait_until(lambda: running.consumer.committed == 1, "commit")
    running.stop()


def test_partitions_are_assigned_cooperatively() -> None:
    """A trainer that joins must not take the partition from the active one."""
    running = RunningService(FakeHandler())
    assert running.consumer._config["partition.assignment.strategy"] == "cooperative-sticky"


def test_a_fatal_kafka_error_ends_the_service() -> None:
    handler = FakeHandler(lambda _: work_until_stopped(running))
    running = RunningService(handler)
    running.start()
    wait_until(lambda: bool(handler.handled), "request")
    running.consumer.poll_error = KafkaError(KafkaError._FENCED, "fenced by another", fatal=True)
    running.join()
    assert isinstance(running.failure, ServiceError)
    assert "fenced by another" in str(running.failure)
    assert running.service.has_ended
    assert running.consumer.committed == 0


def test_readiness_shows_a_group_problem_until_it_ends() -> None:
    running = RunningService(FakeHandler(), requests=0)
    assert running.service.not_ready_because == "starting"
    running.start()
    wait_until(lambda: running.service.not_ready_because is None, "readiness")
    running.consumer.poll_error = KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL)
    wait_until(lambda: "older release" in (running.service.not_ready_because or ""), "reason")
    running.consumer.poll_error = None
    wait_until(lambda: running.service.not_ready_because is None, "readiness")
    running.stop()

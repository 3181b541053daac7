"""The worker's hand-over thread leads while it should, and recovers from errors."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # its stubs do not export it

from stream.exactly_once.units.errors import FatalTransactionError
from stream.handover.watch import HandoverThread
from stream.worker.metrics import WorkerMetrics
from tests.integration.conftest import Topics, wait_for
from tests.integration.handovers import PARTITIONS, Examples, audit, lead, requests


class Watched:
    """A hand-over thread on this test's topics, a switch for its leadership, and its metrics."""

    def __init__(self, topics: Topics, **extra: Any) -> None:
        self.should_lead = True
        self.metrics = WorkerMetrics()
        self.thread = HandoverThread(
            lambda: self.should_lead,
            lambda cancelled: lead(topics, min_examples=4, cancelled=cancelled),
            self.metrics,
            first_pause_s=0.1,
            **extra,
        )

    def shows(self, name: str, value: float) -> bool:
        return self.metrics.registry.get_sample_value(name) == value


@contextmanager
def watched(topics: Topics, **extra: Any) -> Iterator[Watched]:
    made = Watched(topics, **extra)
    made.thread.start()
    yield made
    made.thread.stop()
    assert made.thread.join(5), "the thread is still running"


def test_a_worker_hands_over_examples_while_it_should_lead(
    topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stream.handover.watch")
    with watched(topics) as worker:
        wait_for(lambda: "Cannot hand over examples" in caplog.text, "a warning about missing topics")
        topics.create("examples", partitions=PARTITIONS)
        topics.create("training")
        examples = Examples(topics)
        examples.write_transactions(1)
        wait_for(lambda: worker.shows("sway_handovers_total", 1), "the first request")
        assert worker.shows("sway_handover_leader", 1)

        worker.should_lead = False
        wait_for(lambda: worker.shows("sway_handover_leader", 0), "the end of the leadership")
        examples.write_transactions(1)
        worker.should_lead = True
        wait_for(lambda: worker.shows("sway_handovers_total", 2), "the second request")
    assert worker.shows("sway_handover_leader", 0)
    assert [(request.reason, request.examples) for request in requests(topics)] == [("labels", 4)] * 2
    audit(topics)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    about_topics = [message for message in warnings if "do not exist" in message]
    assert len(set(about_topics)) == len(about_topics)  # one for each set of missing topics


def test_a_fenced_worker_leads_again(topics: Topics) -> None:
    topics.create("examples", partitions=PARTITIONS)
    topics.create("training")
    examples = Examples(topics)
    with watched(topics) as worker:
        wait_for(lambda: worker.shows("sway_handover_leader", 1), "a leader")
        with lead(topics, min_examples=4) as other:
            examples.write_transactions(2)
            wait_for(lambda: worker.shows("sway_handovers_total", 2), "both requests, by the worker")
            other.read(5)
            with pytest.raises(FatalTransactionError):
                other.hand_over(forced=True)
    audit(topics)


def test_a_worker_sees_new_partitions_after_its_term(topics: Topics) -> None:
    topics.create("examples", partitions=1)
    topics.create("training")
    now_s = 0.0
    with watched(topics, clock=lambda: now_s) as worker:
        wait_for(lambda: worker.shows("sway_handover_leader", 1), "a leader")
        added = topics.admin.create_partitions([NewPartitions(topics.name("examples"), PARTITIONS)])
        added[topics.name("examples")].result(30)
        Examples(topics).write_transactions(1)
        now_s = 3601.0
        wait_for(lambda: worker.shows("sway_handovers_total", 1), "a request")
    audit(topics)

"""Records removed before they are read: retention, and topics that are deleted and recreated."""

import time

from confluent_kafka import TopicPartition

from stream.exactly_once.units.records import TopicPartition as Where
from tests.faults.audit import Audit
from tests.faults.case import case
from tests.faults.load import inputs
from tests.faults.process import ForkedWorker
from tests.faults.stage import Stage
from tests.integration.conftest import wait_for

_ENDS_S = 60.0  # including Faust's shutdown
_RESET = {"SWAY_LOST_OFFSET_RESET": "earliest"}


def _refuses(worker: ForkedWorker, *words: str) -> None:
    """Start a worker that must end with a line that contains these words."""
    worker.start()
    assert worker.wait(_ENDS_S) == 1
    line = worker.log_text().splitlines()[-1]
    assert line.startswith("sway: "), line
    for word in words:
        assert word in line, line


@case("retention passed the committed offset")
def retention_passed(stage: Stage) -> None:
    (worker,) = stage.create_topics().start("a")
    stage.feed()
    stage.wait_for_more(400)
    began = time.monotonic()
    worker.kill()
    committed = stage.committed()
    wait_for(lambda: len(stage.produced) > 1200, "1,200 inputs")
    stage.stop_feeding()
    lost = _delete_records(stage, committed, count=40)
    _refuses(worker, "removed by retention", "lost_offset_reset")

    stage.feed(source=inputs(seed=8))
    worker.start(**_RESET)
    stage.wait_until_caught_up(began)
    counted = {"sway_offset_resets": stage.partitions, "sway_lost_records": lost}
    # Answers may be visible before the metrics are updated.
    wait_for(lambda: {name: worker.metric(name) for name in counted} == counted, f"metrics {counted}")
    stage.notes["passed over"] = f"{lost} records, counted"


def _delete_records(stage: Stage, committed: dict[Where, int | None], count: int) -> int:
    """Delete `count` offsets after each committed offset of the events, as retention does; return the records lost."""
    topic = stage.topics.name("events")
    ends = {number: (committed[Where(topic, number)] or 0) + count for number in range(stage.partitions)}
    parts = [TopicPartition(topic, number, end) for number, end in ends.items()]
    for future in stage.topics.admin.delete_records(parts).values():
        future.result(30)
    gone = {
        where
        for where, _what in stage.produced
        if where[0] == topic and (committed[Where(topic, where[1])] or 0) <= where[2] < ends[where[1]]
    }
    stage.forget(gone)
    return len(gone)


@case("the topic of events deleted and made again")
def made_again(stage: Stage) -> Audit:
    (worker,) = stage.create_topics().start("a")
    stage.feed()
    stage.wait_for_more(600)
    stage.stop_feeding()
    wait_for(lambda: stage.answers.read() >= stage.due(), "an answer to each event")
    before, first = stage.due(), dict(stage.answers.seen)
    assert set(first.values()) == {1}

    began = time.monotonic()
    topic = stage.topics.name("events")
    stage.topics.admin.delete_topics([topic])[topic].result(30)
    stage.topics.create("events", partitions=stage.partitions)
    # The running worker ends, and so does each restart.
    assert worker.wait(_ENDS_S) == 1
    _refuses(worker, topic, "recreated", "lost_offset_reset")

    stage.produced.clear()
    stage.answers.seen.clear()
    worker.start(**_RESET).wait_until_ready()
    stage.feed(source=inputs(seed=8, users=10))
    wait_for(lambda: stage.answers.read() >= 600, "answers to the new topic's events")
    stage.recoveries_s.append(time.monotonic() - began)
    stage.stop_feeding()
    new = {where for where, _what in stage.produced if where[0] == topic}
    wait_for(lambda: stage.answers.read() >= len(new), "an answer to each event")
    assert worker.metric("sway_offset_resets") == stage.partitions
    assert worker.terminate() == 0
    stage.answers.read_to_the_end()
    found = stage.answers.seen
    return Audit(
        events=before + len(new),
        scores=len(stage.answers.scores),
        dead_letters=len(stage.answers.letters),
        lost=len(new - set(found)),
        duplicates=sum(count - 1 for where, count in found.items() if where in new),
    )

"""Metrics and log lines about another producer's open transaction in the input; the worker does not count as stuck."""

import time

from confluent_kafka import Producer

from schemas.records import BehaviorEvent
from schemas.wire import Codec
from tests.faults.process import ForkedWorker
from tests.integration.conftest import wait_for
from tests.integration.workers import Sway

NOW_MS = int(time.time() * 1000)


def event(number: int) -> BehaviorEvent:
    return BehaviorEvent(f"e{number}", "ann", "watch", NOW_MS, item_text="alien")


def test_an_open_input_transaction_is_reported_and_tolerated(sway: Sway) -> None:
    sway._new_worker = ForkedWorker
    worker = sway.create_topics(partitions=1).worker(SWAY_TIME__STUCK_AFTER_S=2).start()
    worker.wait_until_ready()
    events = sway.topics.name("events")
    labels = f'{{partition="0",topic="{events}"}}'
    other = Producer(
        {
            "bootstrap.servers": sway.topics.bootstrap_servers,
            "transactional.id": f"{sway.topics.prefix}-other",
        }
    )
    other.init_transactions(30)
    other.begin_transaction()
    codec = Codec(BehaviorEvent)
    for number in range(3):
        other.produce(events, codec.encode(event(number)), "ann", partition=0)
    assert other.flush(30) == 0
    sway.produce(event(3))
    sway.flush()

    wait_for(lambda: worker.metric(f"sway_lag_high_watermark_records{labels}") == 4, "four waiting records")
    wait_for(lambda: worker.metric(f"sway_open_transaction_seconds{labels}") > 2, "age of the transaction")
    assert worker.metric(f"sway_lag_records{labels}") == 0
    warning = f"{events}[0]: a transaction of another producer has been open at offset 0"
    wait_for(lambda: warning in worker.log_text(), "warning about the transaction")
    assert worker.page("/readyz") == (200, "ok\n")
    assert sway.scores() == []

    other.abort_transaction(30)
    sway.wait_for_answers(1)
    wait_for(lambda: worker.metric(f"sway_open_transaction_seconds{labels}") == 0, "end of the transaction")
    wait_for(lambda: worker.metric(f"sway_lag_high_watermark_records{labels}") == 0, "end of the lag")
    assert [score.event_id for score in sway.scores()] == ["e3"]
    assert worker.terminate() == 0
    assert f"{events}[0]: the transaction at offset 0 has ended" in worker.log_text()

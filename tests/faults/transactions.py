"""Transactions that abort or time out, and how long a reader waits for them."""

import time

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not export these
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from tests.faults.case import case
from tests.faults.inside import Inside
from tests.faults.load import inputs
from tests.faults.stage import Stage
from tests.integration.conftest import wait_for

_TIMEOUT_S = 5  # the stage's transaction timeout
_READING_S = 3  # the longest time between two reads of answers
_SWEEP_S = 1  # the broker's interval of aborting transactions, as set by sway.embedded


@case("a transaction that times out")
def times_out(stage: Stage) -> None:
    # Both workers write dead letters to one partition, so an open transaction of one blocks readers of the other's.
    stage.create_topics(**{"dead-letters": 1}).start("a")
    inside = Inside(pause_in_transaction_s=3 * _TIMEOUT_S, pauses=1, pause_topic="dead-letters")
    slow = stage.worker("b", inside).start()
    slow.wait_until_ready()
    stage.feed(source=inputs(bad_every=4))
    began = time.monotonic()
    wait_for(
        lambda: stage.answers.read() >= 0 and "the broker ends a transaction after" in slow.log_text(),
        "the transaction that timed out",
        timeout_s=60,
    )
    stage.notes["a reader waited"] = f"{stage.answers.longest_wait_s:.1f} s"
    assert 1 < stage.answers.longest_wait_s < _TIMEOUT_S + _SWEEP_S + _READING_S
    wait_for(lambda: slow.metric("sway_epochs") >= 2, "the worker to rejoin its group", timeout_s=60)
    stage.wait_until_caught_up(began)
    stage.check_offsets()


@case("a transaction that aborts is written again from memory", quick=True)
def aborts(stage: Stage) -> None:
    (worker,) = stage.create_topics().start("a")
    stage.feed()
    stage.wait_for_more(200)
    began = time.monotonic()
    limit_scores(stage, "100")  # larger than a transaction marker, smaller than any batch with a score
    wait_for(lambda: worker.log_text().count("writing the same unit again") >= 3, "aborted transactions")
    limit_scores(stage, "1000000")
    stage.wait_until_caught_up(began)
    stage.check_offsets()


def limit_scores(stage: Stage, max_message_bytes: str) -> None:
    """Set the largest batch that the topic of scores accepts."""
    alter(stage, stage.topics.name("scores"), {"max.message.bytes": max_message_bytes})


def alter(stage: Stage, topic: str, settings: dict[str, str]) -> None:
    """Change the configuration of a topic."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in settings.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for future in stage.topics.admin.incremental_alter_configs([resource]).values():
        future.result(30)
